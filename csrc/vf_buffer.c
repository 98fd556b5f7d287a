#include "vf_buffer.h"

#include <stdlib.h>
#include <string.h>

enum {
	KEPT_NBYTES = 4 << 20, /* several times what an ordinary bundle needs */
};

void vf_buffer_free(struct vf_buffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof *buffer);
}

void vf_buffer_trim(struct vf_buffer *buffer)
{
	if (buffer->capacity > KEPT_NBYTES && buffer->most_nbytes < buffer->capacity / 4)
		vf_buffer_free(buffer);
	buffer->most_nbytes = 0;
}

int vf_buffer_reserve(struct vf_buffer *buffer, size_t nbytes)
{
	if (nbytes > buffer->most_nbytes)
		buffer->most_nbytes = nbytes;
	if (nbytes <= buffer->capacity)
		return 0;
	size_t capacity = buffer->capacity ? buffer->capacity : 4096;
	while (capacity < nbytes)
		capacity *= 2;
	char *data = realloc(buffer->data, capacity);
	if (!data)
		return -1;
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}
