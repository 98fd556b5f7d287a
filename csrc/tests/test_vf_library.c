/* Libraries that end by themselves are counted, until there is no hope. */

#include "vf_library.h"

#include <errno.h>

#include "check.h"
#include "faults.h"
#include "taskvine.h"
#include "taskvine_private.h"
#include "vf_clock.h"
#include "vf_config.h"

static const uint64_t PAUSE_NS = 1000000000;

int main(void)
{
	struct vf_config config = {.library_pause_ns = PAUSE_NS, .max_library_failures = 2};
	struct vf_library library = {.config = &config};
	CHECK(!vf_library_is_paused(&library) && !vf_library_is_hopeless(&library));

	/* Several at once are one failure. */
	uint64_t at_ns = PAUSE_NS;
	for (int i = 0; i < 5; i++)
		vf_library_fail(&library, at_ns + (uint64_t)i);
	CHECK(library.failures == 1);
	for (int i = 0; i < 2; i++)
		vf_library_fail(&library, at_ns += 2 * PAUSE_NS);
	CHECK(library.failures == 3 && vf_library_is_hopeless(&library));

	/* One bundle that comes back is hope. */
	vf_library_begin_anew(&library);
	CHECK(!vf_library_is_hopeless(&library));
	vf_library_fail(&library, at_ns += 2 * PAUSE_NS);
	CHECK(!vf_library_is_hopeless(&library));

	/* TaskVine starts none for a while. */
	library.failed_ns = vf_now_ns();
	config.library_pause_ns = 3600 * PAUSE_NS;
	CHECK(vf_library_is_paused(&library));
	config.library_pause_ns = 0;
	library.failed_ns--;
	CHECK(!vf_library_is_paused(&library));

	/* One that nobody can remember is there for ever, and not freed too early. */
	struct vine_task *task = vine_task_create(":");
	faults_fail("malloc", 0, ENOMEM);
	vf_library_hold(&library, task, 1);
	CHECK(faults_has_failed() == (VF_TASKVINE < 715) && !library.ended);
	for (int i = 0; i < 1 + (VF_TASKVINE < 715); i++)
		vine_task_delete(task);

	/* No library, as in regular mode: none is installed anew. */
	CHECK(library.is_counted);
	vf_library_keep(&library);
	CHECK(!library.is_counted);
	return 0;
}
