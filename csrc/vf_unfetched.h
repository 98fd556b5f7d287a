/* Inputs that do not reach a worker.

TaskVine's worker tells why it could not get a file, and TaskVine's manager only writes that to its
debug log, takes the task back and tries the next worker, for ever. Here the reason is kept with the
file: whoever waits for it tries once more under a fresh declaration (a worker does not try for a
name again), and fails with the reason if that is no better, or if the server of a URL has refused
it.

A worker that has no room for a file which the manager sends says nothing at all: it closes the
connection, comes back, and is sent the same file, for ever. So a call whose files could not be sent
twice fails. */

#ifndef VF_UNFETCHED_H
#define VF_UNFETCHED_H

#include <stdint.h>

struct vf_bundle;
struct vf_call;
struct vf_declare;
struct vf_file;
struct vf_inputs;
struct vf_worker;
struct vf_workers;

/* A worker failed to get a file. Tells whether it was from a URL. */
int vf_unfetched_note(const struct vf_declare *declare, const char *cachename, const char *reason);

/* How many workers are about to get a URL from its server; `source` is that of TaskVine's file
itself. */
int vf_unfetched_count(const struct vf_declare *declare, const char *source);

/* A bundle could not be sent to its worker. */
void vf_unfetched_unsent(struct vf_bundle *bundle);

/* Why a call that was submitted before that was known is not to try for a file; NULL: it is. */
const char *vf_unfetched_reason(const struct vf_inputs *inputs, const struct vf_call *call,
		const struct vf_file *file);

/* Whether a bundle waits for an input that a worker failed to get, or could not be sent. */
int vf_unfetched_any(const struct vf_bundle *bundle);

/* Whether the inputs of a bundle do not fit on a worker's disk, while there is another worker whose
disk may be large enough. */
int vf_unfetched_too_large(const struct vf_workers *workers, const struct vf_bundle *bundle,
		const struct vf_worker *worker);

/* Of such a bundle that has come back, before its files are given back: why a call of it is not to
be sent again, and because of which of its files (NULL: of what vinefast itself sends); NULL: it is.
The calls are asked about in their order, and `n_inputs` counts those of the calls before. */
const char *vf_unfetched_judge(const struct vf_bundle *bundle, struct vf_call *call,
		uint32_t *n_inputs, const struct vf_file **file);

#endif
