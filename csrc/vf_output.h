/* A task's output, taken over from TaskVine without a copy.

TaskVine reads the output of a task, which is a result frame, into a block that it gets from
malloc(), and gives it to free() when the task is deleted. The linker replaces these two, as
TaskVine's archives and this extension see them: so the block begins where arrays can be used as
they lie, its length can be asked for, which TaskVine does not tell, and it stays if
vf_output_delete() says so. */

#ifndef VF_OUTPUT_H
#define VF_OUTPUT_H

#include <stddef.h>

struct vine_task;

/* How many bytes TaskVine has received into an output; 0: no more than come with the completion
message, and they are a C string. */
size_t vf_output_nbytes(const char *output);

/* Delete a task but not `kept`, a block that belongs to it; free() it later, on any thread. */
void vf_output_delete(struct vine_task *task, const char *kept);

#endif
