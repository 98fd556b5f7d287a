/* How a call ends, and its bundle with it: done, or failed, and why. */

#ifndef VF_END_H
#define VF_END_H

struct vf_bundle;
struct vf_call;
struct vf_counters;
struct vf_done;
struct vf_eventlog;
struct vf_file;
struct vf_files;
struct vf_record;
struct vf_waiting;

struct vf_end {
	struct vf_counters *counters;
	struct vf_waiting *waiting; /* for the calls for whose end there is no memory */
	struct vf_files *files;
	struct vf_done *done;
	struct vf_eventlog *log;
};

/* A call has come back for good, with its bundle. Nobody waits for one that only made files
again. */
void vf_end_call(struct vf_end *end, struct vf_bundle *bundle, struct vf_call *call,
		const struct vf_record *record);

/* A bundle of which some calls have ended goes to the demux thread. Takes it over, as the next one
does. */
void vf_end_bundle(struct vf_end *end, struct vf_bundle *bundle);

/* Fail all calls of a bundle with the engine's result code. */
void vf_end_failed(
		struct vf_end *end, struct vf_bundle *bundle, int engine_result, const char *text);

/* Fail a call because of one of its files; NULL: of vinefast's own. When memory is short, it waits
again: whoever is to send it finds the same fault. */
void vf_end_for_file(struct vf_end *end, struct vf_call *call, const struct vf_file *file,
		const char *why);

/* Fail a call whose inputs do not reach any worker, though they can be read here. */
void vf_end_without_inputs(struct vf_end *end, struct vf_call *call);

#endif
