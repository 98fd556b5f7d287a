#include "vf_output.h"

#include <stdint.h>
#include <stdlib.h>

#include "vf_frame.h"
#include "vf_hooks.h"

enum {
	ALIGNED_NBYTES = 1024, /* TaskVine sends a longer output by itself, and then it is a frame as it is */
};

/* Every free() of the extension looks here, so it must not cost a call. */
static _Thread_local const void *kept_block __attribute__((tls_model("initial-exec")));

void *__wrap_malloc(size_t nbytes)
{
	if (nbytes <= ALIGNED_NBYTES || nbytes > PTRDIFF_MAX)
		return __real_malloc(nbytes);
	VF_FIRED(malloc);
	return aligned_alloc(VF_ALIGNMENT, (nbytes + VF_ALIGNMENT - 1) / VF_ALIGNMENT * VF_ALIGNMENT);
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
