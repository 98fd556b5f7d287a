#include "vf_output.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vf_hooks.h"
#include "vf_wire.h"

/* Every free() of the extension looks here, so it must not cost a call. */
static _Thread_local const void *kept_block __attribute__((tls_model("initial-exec")));

/* The last bytes of a large block say how much was asked for: TaskVine keeps no length beside it.
They may lie behind what was asked for, so the compiler is not to know the block's size, which
_FORTIFY_SOURCE=3 would hold against them. */
static char *note_of(const void *block)
{
	char *start = (char *)block;
	__asm__("" : "+r"(start));
	return start + malloc_usable_size(start) - sizeof(size_t);
}

/* The size of a block of `nbytes` with its note. */
static size_t with_note(size_t nbytes)
{
	return (nbytes + sizeof nbytes + VF_ALIGNMENT - 1) / VF_ALIGNMENT * VF_ALIGNMENT;
}

void *__wrap_malloc(size_t nbytes)
{
	if (nbytes <= VF_INLINE_NBYTES || nbytes > PTRDIFF_MAX - 2 * VF_ALIGNMENT)
		return __real_malloc(nbytes);
	VF_FIRED(malloc);
	void *block = aligned_alloc(VF_ALIGNMENT, with_note(nbytes));
	if (block)
		memcpy(note_of(block), &nbytes, sizeof nbytes);
	return block;
}

size_t vf_output_nbytes(const char *output)
{
	size_t nbytes, room = malloc_usable_size((void *)output);
	if (room < with_note(VF_INLINE_NBYTES + 1))
		return 0;
	memcpy(&nbytes, note_of(output), sizeof nbytes);
	/* TaskVine asks for one byte more, for a 0. */
	return nbytes > VF_INLINE_NBYTES && nbytes <= room - sizeof nbytes ? nbytes - 1 : 0;
}

void __wrap_free(void *block)
{
	if (!block || block != kept_block)
		__real_free(block);
	else
		VF_FIRED(free);
}

void vf_output_delete(struct vine_task *task, const char *kept)
{
	kept_block = kept;
	vine_task_delete(task);
	kept_block = NULL;
}
