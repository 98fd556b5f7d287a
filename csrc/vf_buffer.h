/* A byte buffer that keeps its memory between frames. */

#ifndef VF_BUFFER_H
#define VF_BUFFER_H

#include <stddef.h>

struct vf_buffer {
	char *data;
	size_t nbytes, capacity;
	size_t most_nbytes; /* asked for since it was last trimmed */
};

/* Make room for so many bytes in all. Returns 0, or -1 when memory is short. */
int vf_buffer_reserve(struct vf_buffer *buffer, size_t nbytes);

/* Give memory back that a large frame needed, and none since the last call of this. */
void vf_buffer_trim(struct vf_buffer *buffer);

void vf_buffer_free(struct vf_buffer *buffer);

#endif
