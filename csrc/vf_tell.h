/* The supervisor on a worker is told something: by a task that it answers itself, whose COMMAND is
for it alone (vf_wire.h). */

#ifndef VF_TELL_H
#define VF_TELL_H

struct vf_bundle;
struct vf_config;
struct vf_inflight;
struct vf_place;
struct vf_worker;

struct vf_tell {
	const struct vf_config *config;
	struct vf_inflight *inflight;
	struct vf_place *place;
};

/* `bundle`, which has no calls, comes back with the answer. Returns 0, or -1 when memory is short;
the bundle has been left alone then. */
int vf_tell_worker(const struct vf_tell *tell, struct vf_worker *worker, const char *command,
		struct vf_bundle *bundle);

#endif
