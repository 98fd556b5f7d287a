/* Files that TaskVine moves for calls: inputs and outputs that workers cannot reach by themselves.

A file is declared to TaskVine once, however many bundles need it (vf_declare.c), and again when it has changed, or when no worker got it
(vf_unfetched.c). An output is brought back under a name that nothing else has; the submitting side puts it in its place. */

#ifndef VF_FILES_H
#define VF_FILES_H

#include <stdint.h>
#include <time.h>

#include "vf_look.h"

struct hash_table;
struct itable;
struct vf_temp;
struct vf_bundle;
struct vf_call;
struct vf_datum;
struct vf_loop;
struct vf_worker;
struct vine_file;
struct vine_task;
struct vine_worker_info;

enum vf_file_kind {
	VF_FILE_INPUT = 0,
	VF_FILE_URL = 1, /* an input that workers fetch themselves */
	VF_FILE_OUTPUT = 2,
	VF_FILE_READ = 3, /* a temporary file (vf_temps.h) */
	VF_FILE_MADE = 4, /* a temporary file that the call makes */
};

struct vf_file {
	const char *source; /* path here, or URL with options of curl (vinefast/data/urls.py), or what the user calls it */
	const char *name;   /* path in the sandbox of the bundle, unlike that of any other call's file */
	int kind;
	struct vf_temp *temp;
	struct vf_look look; /* at an input, by the submitting side; `asked_ms` is 0: it has not looked */
	uint64_t begun_turn;          /* the manager thread's: when the call came */
	struct vf_declared *declared; /* and what an input is to TaskVine, while the call is here */

	/* Of a vinefast.CachedFile. */
	const char *key;   /* one declaration for all files of a key; NULL, as for other files: the source is the key */
	const char *label; /* what workers call its content; NULL: a name of its own */
	int level;         /* vine_cache_level_t */
	int unpack;        /* it is a tarball, and calls see the directory */
	int linked;        /* calls see a symbolic link */
	uint64_t version;  /* of what was there when the call was submitted */
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
	char *name; /* that workers know it by */
	struct vine_file *file;
	struct vf_datum *datum;
	struct timespec modified;
	int64_t nbytes;
	uint64_t inode, version;
	uint64_t seen_turn; /* when it was last looked at */
	struct vine_file *archive; /* that `file` is unpacked from, or NULL */
	char *reason;       /* why a worker did not get it; NULL: none has said so */
	uint64_t failed_ns; /* when it said so */
	int final;          /* that is not to be tried again */
	uint32_t n_failed;  /* declarations of this source before this one that failed, in a row */
	uint32_t n_users; /* calls, and bundles under way */
	int stale;        /* the file has changed: only these know it */
	int spoiled;      /* a call has written to it on its worker */
	struct vf_declared *newer, *older; /* while nobody uses it */
};

struct vf_shelf {
	struct hash_table *by_source;
	struct itable *by_file; /* the same, and stale ones, by TaskVine's files and their sources */
	uint64_t stamp;         /* of the names that we make, so that those of another program are different */
	uint32_t n_names;
	struct vf_declared *newest, *oldest; /* of those that nobody uses */
	uint32_t n_idle;
};

/* What a bundle has to give back. */
struct vf_mounts {
	uint32_t n_inputs, n_outputs;
	struct vf_declared **inputs;
	struct vine_file **outputs;
};

/* Whether it is here, or at a URL, and travels to workers. */
int vf_files_is_input(const struct vf_file *file);

/* A call has come; it has come back for good, having failed or not. */
void vf_files_begin(struct vf_loop *loop, struct vf_call *call);
void vf_files_end(struct vf_loop *loop, struct vf_call *call, int failed);

/* A worker's copies of what a call reads are not what they were: nobody is to get them any more. */
void vf_files_spoiled(struct vf_loop *loop, struct vf_call *call);

/* What a file that a call reads is in the cluster; NULL: nothing yet. */
const struct vf_datum *vf_files_datum(const struct vf_file *file);

/* Take out those of the calls of which an input cannot be read, or was found to be out of reach since they were submitted, which fail,
or is not there yet, or takes long to look at; returns how many are left, in order. */
uint32_t vf_files_check(struct vf_loop *loop, uint32_t n_calls, struct vf_call **calls);

/* Calls that were taken out for an input that took long to look at wait again, if some look has ended. */
void vf_files_go_on(struct vf_loop *loop);

/* A poller's `is_there`: TaskVine need only look at what it is to send. */
int vf_files_is_there(void *loop, struct vine_worker_info *worker, struct vine_file *file);

/* Fail a call whose inputs do not reach any worker, though they can be read here. */
void vf_files_fail(struct vf_loop *loop, struct vf_call *call);

/* Give the files of all calls of a bundle to its task. Returns 0, or -1 when that is impossible. */
int vf_files_mount(struct vf_loop *loop, struct vf_bundle *bundle, struct vine_task *task);

/* Before the bundle's task is deleted. */
void vf_files_unmount(struct vf_loop *loop, struct vf_bundle *bundle);

/* After the manager has been deleted. */
void vf_files_free(struct vf_shelf *shelf);

/* Fail a call because of one of its files. */
void vf_files_fail_for(struct vf_loop *loop, struct vf_call *call, const struct vf_file *file, const char *why);

/* ---- vf_declare.c ---- */

/* Tell TaskVine of an input; `now` is what it is now, `own_name` whether TaskVine's name of it is taken. NULL when that is impossible. */
struct vf_declared *vf_declare(struct vf_loop *loop, const struct vf_file *file, const struct vf_look *now, uint32_t n_failed, int own_name);

/* Workers may delete it. */
void vf_declare_end(struct vf_loop *loop, struct vf_declared *input);

void vf_declared_free(struct vf_declared *input);

/* ---- vf_unfetched.c: inputs that do not reach a worker ---- */

/* A poller's `unsent`, `invalidated` and `fetching`. */
void vf_unfetched_unsent(void *loop, struct vine_task *task);
int vf_unfetched_note(void *loop, const char *cachename, const char *reason);
int vf_unfetched_wait(void *loop, const char *source);

/* Why a call that was submitted before that was known is not to try for a file; NULL: it is. */
const char *vf_unfetched_reason(const struct vf_loop *loop, const struct vf_call *call, const struct vf_file *file);

/* Whether a bundle waits for an input that a worker failed to get, or could not be sent. */
int vf_unfetched_any(const struct vf_bundle *bundle);

/* Whether the inputs of a bundle do not fit on a worker's disk, while there is another worker whose disk may be large enough. */
int vf_unfetched_too_large(const struct vf_loop *loop, const struct vf_bundle *bundle, const struct vf_worker *worker);

/* Fail the calls of a bundle that waits so for whose files there is no hope, and queue the others again; before vf_files_unmount(). */
void vf_unfetched_return(struct vf_loop *loop, struct vf_bundle *bundle);

#endif
