#include "vf_library.h"

#include <stdlib.h>

#include "taskvine_private.h"
#include "vf_clock.h"
#include "vf_config.h"

struct vf_ended {
	struct vf_ended *next;
	struct vine_task *task;
	uint64_t ended_ns;
};

void vf_library_hold(struct vf_library *library, struct vine_task *task, uint64_t now_ns)
{
	if (VF_TASKVINE >= 715) /* a function call has a hold of its own */
		return;
	/* Without memory to remember it, it stays for ever. */
	vine_task_addref(task);
	struct vf_ended *ended = malloc(sizeof *ended);
	if (!ended)
		return;
	*ended = (struct vf_ended){library->ended, task, now_ns};
	library->ended = ended;
}

void vf_library_let_go(struct vf_library *library, uint64_t oldest_ns)
{
	for (struct vf_ended **place = &library->ended, *ended; (ended = *place) != NULL;) {
		if (ended->ended_ns >= oldest_ns) {
			place = &ended->next;
			continue;
		}
		*place = ended->next;
		vine_task_delete(ended->task);
		free(ended);
	}
}

void vf_library_fail(struct vf_library *library, uint64_t now_ns)
{
	/* Several at once are one failure: of a file system, say. */
	uint64_t last_ns = library->failed_ns;
	library->failures += !last_ns || now_ns - last_ns > library->config->library_pause_ns;
	library->failed_ns = now_ns;
	library->is_counted = 1;
}

void vf_library_begin_anew(struct vf_library *library)
{
	library->failures = 0;
}

int vf_library_is_paused(const struct vf_library *library)
{
	return library->failed_ns &&
			vf_now_ns() - library->failed_ns <= library->config->library_pause_ns;
}

void vf_library_keep(struct vf_library *library)
{
	const struct vf_config *config = library->config;
	if (!library->is_counted)
		return;
	library->is_counted = 0;
	/* It counts anew from when a library is installed. */
	struct vine_task *template = config->library ?
			vine_manager_find_library_template(config->manager, config->library) :
			NULL;
	if (template)
		vine_manager_install_library(config->manager, template, config->library);
}

int vf_library_is_hopeless(const struct vf_library *library)
{
	return library->failures > library->config->max_library_failures;
}

const char *vf_library_why_hopeless(void)
{
	return "Libraries have ended by themselves more often in a row than max-library-retries "
	       "allows, and no call "
	       "came back in between. The tune parameter watch-library-logfiles brings what they "
	       "have written.";
}
