/* Tells TaskVine of inputs. */

#ifndef VF_DECLARE_H
#define VF_DECLARE_H

#include <stdint.h>

#include "vf_file.h"
#include "vf_table.h"

struct vf_config;
struct vf_leftovers;
struct vf_replicas;

struct vf_declare {
	const struct vf_config *config;
	struct vf_replicas *replicas;
	struct vf_leftovers *leftovers;
	struct vf_table inputs; /* struct vf_declared by TaskVine's files and their sources */
	/* Of the names that we make, so that those of another program are different. */
	uint64_t stamp;
	uint32_t n_names;
};

/* Tell of an input; `now` is what it is now, `own_name` whether TaskVine's name of it is taken.
NULL when that is impossible. */
struct vf_declared *vf_declare_input(struct vf_declare *declare, const struct vf_file *file,
		const struct vf_look *now, uint32_t n_failed, int own_name);

/* Workers may delete it. */
void vf_declare_end(struct vf_declare *declare, struct vf_declared *input);

/* The input that is one of TaskVine's files, or has this source, which is the string itself, not a
copy of it; NULL: there is none. */
struct vf_declared *vf_declare_find(const struct vf_declare *declare, const void *file_or_source);

/* After the manager has been deleted: also those that some call or bundle still needs. */
void vf_declare_free(struct vf_declare *declare);

#endif
