/* Libraries that end by themselves are counted, until there is no hope. */

#include "vf_library.h"

#include "check.h"
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

	/* No library, as in regular mode: none is installed anew. */
	CHECK(library.is_counted);
	vf_library_keep(&library);
	CHECK(!library.is_counted);
	return 0;
}
