/* Files that TaskVine moves for calls: inputs and outputs that workers cannot reach by themselves.

A file is declared to TaskVine once, however many bundles need it, and again when it has changed. An output is brought back under a
name that nothing else has; the submitting side puts it in its place. */

#ifndef VF_FILES_H
#define VF_FILES_H

#include <stdint.h>
#include <time.h>

struct hash_table;
struct vf_temp;
struct vf_bundle;
struct vf_call;
struct vf_datum;
struct vf_loop;
struct vine_file;
struct vine_task;

enum vf_file_kind {
	VF_FILE_INPUT = 0,
	VF_FILE_URL = 1, /* an input that workers fetch themselves */
	VF_FILE_OUTPUT = 2,
	VF_FILE_READ = 3, /* a temporary file (vf_temps.h) */
	VF_FILE_MADE = 4, /* a temporary file that the call makes */
};

struct vf_file {
	const char *source; /* path here, or URL, or what the user calls it */
	const char *name;   /* path in the sandbox of the bundle, unlike that of any other call's file */
	int kind;
	struct vf_temp *temp;
	struct vf_declared *declared; /* the manager thread's: what an input is to TaskVine, while the call is here */
};

/* Made and freed by the submitting side, with the call's future. */
struct vf_files {
	uint32_t n;
	struct vf_file items[];
};

/* ---- the rest is the manager thread's ---- */

/* An input that TaskVine knows. */
struct vf_declared {
	char *source;
	struct vine_file *file;
	struct vf_datum *datum;
	struct timespec modified;
	int64_t nbytes;
	uint64_t inode;
	uint32_t n_users; /* calls, and bundles under way */
	int stale;        /* the file has changed: only these know it */
	struct vf_declared *newer, *older; /* while nobody uses it */
};

struct vf_shelf {
	struct hash_table *by_source;
	struct vf_declared *newest, *oldest; /* of those that nobody uses */
	uint32_t n_idle;
};

/* What a bundle has to give back. */
struct vf_mounts {
	uint32_t n_inputs, n_outputs;
	struct vf_declared **inputs;
	struct vine_file **outputs;
};

/* A call has come; it has come back for good. */
void vf_files_begin(struct vf_loop *loop, struct vf_call *call);
void vf_files_end(struct vf_loop *loop, struct vf_call *call);

/* What a file that a call reads is in the cluster; NULL: nothing yet. */
const struct vf_datum *vf_files_datum(const struct vf_file *file);

/* Take out those of the calls of which an input cannot be read, which fail, or is not there yet; returns how many are left, in order. */
uint32_t vf_files_check(struct vf_loop *loop, uint32_t n_calls, struct vf_call **calls);

/* Fail a call for the sake of one of its files. */
void vf_files_fail_call(struct vf_loop *loop, struct vf_call *call, const char *source, const char *why);

/* Fail a call whose inputs do not reach any worker, though they can be read here. */
void vf_files_fail(struct vf_loop *loop, struct vf_call *call);

/* Give the files of all calls of a bundle to its task. Returns 0, or -1 when that is impossible. */
int vf_files_mount(struct vf_loop *loop, struct vf_bundle *bundle, struct vine_task *task);

/* Before the bundle's task is deleted. */
void vf_files_unmount(struct vf_loop *loop, struct vf_bundle *bundle);

/* After the manager has been deleted. */
void vf_files_free(struct vf_shelf *shelf);

#endif
