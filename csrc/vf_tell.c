#include "vf_tell.h"

#include <float.h>

#include "taskvine.h"
#include "vf_bundle.h"
#include "vf_config.h"
#include "vf_inflight.h"
#include "vf_place.h"

int vf_tell_worker(const struct vf_tell *tell, struct vf_worker *worker, const char *command,
		struct vf_bundle *bundle)
{
	struct vine_task *task = vine_task_create(command);
	if (!task)
		return -1;
	vine_task_set_library_required(task, tell->config->library);
	vine_task_set_category(task, tell->config->library);
	vine_task_set_priority(task, DBL_MAX);
	if (vf_inflight_submit(tell->inflight, tell->config->manager, bundle, task))
		return -1;
	vf_place_begin(tell->place, bundle);
	vf_place_bundle(tell->place, bundle, worker);
	return 0;
}
