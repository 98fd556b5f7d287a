#include "vf_cut.h"

#include "vf_hooks.h"
#include "vf_tls.h"

/* TaskVine removes a worker that it cannot read from before it reads from another one: so there is
one at a time. */
static _Thread_local const struct link *cut;
static _Thread_local const char *cut_data; /* where the part of it lies that has come */
static _Thread_local int is_on;

void vf_cut_begin(void)
{
	cut = NULL;
	is_on = 1;
}

void vf_cut_end(void)
{
	cut = NULL;
	is_on = 0;
}

void vf_cut_note(const struct link *link)
{
	if (is_on) {
		cut = link;
		cut_data = NULL;
	}
}

int vf_cut_is(const struct link *link)
{
	return cut && cut == link;
}

void vf_cut_forget(void)
{
	cut = NULL;
}

ssize_t __wrap_link_read(struct link *link, char *data, size_t count, time_t stoptime)
{
	VF_FIRED(link_read);
	ssize_t nbytes = __real_link_read(link, data, count, stoptime);
	if (nbytes < 0 || (size_t)nbytes != count) {
		vf_cut_note(link);
		cut_data = data;
	}
	/* TaskVine ends what has come with a 0, at -1 if it is told of a failure. */
	return nbytes < 0 && is_on ? 0 : nbytes;
}

/* A short output comes with the message that its task has ended, and what is behind that message is
looked for next: its end, then. It may be asked of a link that has been closed (vf_border.c). */
int __wrap_link_buffer_empty(struct link *link)
{
	VF_FIRED(link_buffer_empty);
	return !link ||
			(!vf_cut_is(link) && __real_link_buffer_empty(link) &&
					!vf_tls_pending(link_fd(link)));
}

int __wrap_vine_manager_get_output_files(struct vine_manager *manager,
		struct vine_worker_info *worker, struct vine_task *task)
{
	VF_FIRED(vine_manager_get_output_files);
	/* A long output has been asked for just now. */
	const char *output = vine_task_get_stdout(task);
	if (cut && (!output || output == cut_data))
		return VINE_FAILURE_WORKER;
	int result = __real_vine_manager_get_output_files(manager, worker, task);
#if VF_TASKVINE < 717
	/* After either the worker is removed and freed; but after this one TaskVine goes on as if
	it were there. */
	if (result == VINE_FAILURE_MANAGER)
		result = VINE_FAILURE_WORKER;
#endif
	return result;
}
