/* The files of calls that TaskVine moves, as a call comes, is sent, and has come back: inputs and
outputs that workers cannot reach by themselves, and temporary files.

An output is brought back under a name that nothing else has; the submitting side puts it in its
place. */

#ifndef VF_FILES_H
#define VF_FILES_H

#include <stdint.h>

struct vf_bundle;
struct vf_call;
struct vf_config;
struct vf_file;
struct vf_inputs;
struct vf_replicas;
struct vf_temps;
struct vine_task;

struct vf_files {
	const struct vf_config *config;
	struct vf_replicas *replicas;
	struct vf_inputs *inputs;
	struct vf_temps *temps;
};

/* A call has come; it has come back for good, having failed or not. */
void vf_files_begin(struct vf_files *files, struct vf_call *call);
void vf_files_end(struct vf_files *files, struct vf_call *call, int failed);

/* A worker's copies of what a call reads are not what they were: nobody is to get them any more. */
void vf_files_spoiled(struct vf_files *files, struct vf_call *call);

/* Whether a call can be sent. */
struct vf_files_verdict {
	enum {
		VF_FILES_GO,
		VF_FILES_UNKNOWN, /* an input takes long to look at: the call is to wait */
		VF_FILES_WAIT,    /* a temporary file is being made: the call waits for it */
		VF_FILES_FAILED,
	} what;
	const struct vf_file *file; /* because of which it has failed */
	const char *why;            /* valid until the next call is checked */
};

/* Look at the files of a call that is to be sent: it fails if an input cannot be read, or was found
to be out of reach since the call was submitted, or if a temporary file will never be there. */
struct vf_files_verdict vf_files_check(struct vf_files *files, struct vf_call *call);

/* Give the files of all calls of a bundle to its task; temporary files that are made, once TaskVine
has the task (vf_temps_mount()). Returns 0, or -1 when that is impossible. */
int vf_files_mount(struct vf_files *files, struct vf_bundle *bundle, struct vine_task *task);

/* Before the bundle's task is deleted. */
void vf_files_unmount(struct vf_files *files, struct vf_bundle *bundle);

#endif
