/* An input is what it was when its call came, for the whole of that turn. */

#include "vf_inputs.h"

#include <unistd.h>

#include "check.h"
#include "vf_call.h"
#include "vf_counters.h"

static struct vf_counters counters;
static struct vf_inputs inputs = {.counters = &counters};

static void test_a_turn_that_takes_long_does_not_change_its_mind(void)
{
	struct vf_call call = {.submitted_ns = 1};
	struct vf_file file = {.kind = VF_FILE_INPUT, .source = "/no/such/file"};
	do { /* until the machine is not too busy */
		file.begun_turn = ++inputs.turn;
		vf_look_here("/dev/null", &file.look);
	} while (vf_inputs_look(&inputs, &call, &file) != &file.look);
	/* A call has been checked, others are, and then its files are mounted. */
	usleep(50000);
	CHECK(vf_inputs_look(&inputs, &call, &file) == &file.look);
	inputs.turn++;
	CHECK(vf_inputs_look(&inputs, &call, &file) != &file.look);
}

static void test_what_was_seen_long_before_the_turn_is_looked_at_again(void)
{
	inputs.turn++;
	struct vf_call call = {.submitted_ns = 1};
	struct vf_file file = {.kind = VF_FILE_INPUT,
			.source = "/no/such/file",
			.begun_turn = inputs.turn};
	vf_look_here("/dev/null", &file.look);
	usleep(50000);
	CHECK(vf_inputs_look(&inputs, &call, &file) != &file.look);
}

int main(void)
{
	test_a_turn_that_takes_long_does_not_change_its_mind();
	test_what_was_seen_long_before_the_turn_is_looked_at_again();
	vf_inputs_free(&inputs);
	return 0;
}
