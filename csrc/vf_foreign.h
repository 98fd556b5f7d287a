/* Workers that have come with another protocol of TaskVine's than the manager's.

They are sent away without a word, since the protocol has none for that: so whoever has started them
has to be told of it here. */

#ifndef VF_FOREIGN_H
#define VF_FOREIGN_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	VF_FOREIGN_MAX = 16,
	VF_FOREIGN_HOST_NBYTES = 256, /* as TaskVine has */
	VF_FOREIGN_RELEASE_NBYTES = 32,
};

/* What one has said of itself, in printable characters. */
struct vf_foreign_worker {
	int64_t protocol;
	/* Empty: it has not said it. */
	char host[VF_FOREIGN_HOST_NBYTES];
	char release[VF_FOREIGN_RELEASE_NBYTES]; /* of TaskVine */
};

/* The first one of each host, of so many hosts; what is there does not change any more. The manager
thread notes, any thread reads. */
struct vf_foreign {
	struct vf_foreign_worker workers[VF_FOREIGN_MAX];
	atomic_uint n;
};

/* One has greeted the manager with this line. */
void vf_foreign_note(struct vf_foreign *foreign, const char *greeting);

unsigned vf_foreign_count(const struct vf_foreign *foreign);

#endif
