/* Files of TaskVine's that nobody needs any more, and some worker is about to get: a worker that is
told to delete what it fetches aborts (7.14.5), with all that it runs. */

#ifndef VF_LEFTOVER_H
#define VF_LEFTOVER_H

struct vf_config;
struct vf_leftover;
struct vine_file;

struct vf_leftovers {
	const struct vf_config *config;
	struct vf_leftover *first;
};

/* Undeclare a file, at once or when no worker fetches it any more. `cached_name` is TaskVine's name
for it; NULL: no worker has had it. */
void vf_leftover_undeclare(
		struct vf_leftovers *leftovers, struct vine_file *file, const char *cached_name);

/* Each turn. */
void vf_leftover_settle(struct vf_leftovers *leftovers);

/* After the manager has been deleted. */
void vf_leftover_free(struct vf_leftovers *leftovers);

#endif
