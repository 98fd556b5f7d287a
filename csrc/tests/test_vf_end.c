/* Calls end with their bundle: what it tells of them, and which file is to blame. */

#include "vf_end.h"

#include <string.h>

#include "check.h"
#include "faults.h"
#include "taskvine.h"
#include "vf_loop.h"

enum {
	CALLS = 3,
};

static struct vf_loop loop;
static struct vf_call calls[CALLS];

static struct vf_bundle *take(void)
{
	vf_done_over(&loop.done);
	struct vf_bundle *bundle = vf_done_take_within(&loop.done, 0);
	CHECK(!bundle || !bundle->link.next);
	return bundle;
}

static struct vf_bundle *make(void)
{
	struct vf_call *all[CALLS];
	for (int i = 0; i < CALLS; i++) {
		calls[i] = (struct vf_call){0};
		all[i] = &calls[i];
	}
	struct vf_bundle *bundle = vf_bundle_create(CALLS, all);
	CHECK(bundle);
	return bundle;
}

static void test_all_calls_fail_but_those_that_nobody_waits_for(void)
{
	struct vf_bundle *bundle = make();
	calls[1].again = &calls[1];
	vf_end_failed(&loop.end, bundle, VINE_RESULT_MAX_RETRIES, "lost");
	CHECK(take() == bundle && bundle->n_outcomes == 2 && !strcmp(bundle->frame, "lost"));
	CHECK(bundle->engine_result == VINE_RESULT_MAX_RETRIES);
	CHECK(bundle->outcomes[0].call == &calls[0] && bundle->outcomes[1].call == &calls[2]);
	CHECK(bundle->outcomes[0].record.status == VF_STATUS_ENGINE);
	CHECK(VF_GET(&loop.counters, calls_returned) == 2);
	vf_bundle_free(bundle);

	bundle = make();
	for (int i = 0; i < CALLS; i++)
		calls[i].again = &calls[i];
	vf_end_failed(&loop.end, bundle, VINE_RESULT_CANCELLED, NULL);
	CHECK(!take()); /* it is freed */
}

static void check_reason(const char *expected)
{
	struct vf_bundle *bundle = take();
	CHECK(bundle && bundle->n_outcomes == 1 && bundle->outcomes[0].call == &calls[0]);
	CHECK(bundle->engine_result == VINE_RESULT_INPUT_MISSING);
	CHECK(!strcmp(bundle->frame, expected));
	vf_bundle_free(bundle);
}

static void test_the_reason_names_the_file(void)
{
	struct vf_file file = {.kind = VF_FILE_INPUT, .source = "/data/a \"b\".csv"};
	struct vf_file url = {.kind = VF_FILE_URL, .source = "http://a/b\" --max-time \"9"};
	calls[0] = (struct vf_call){0};
	vf_end_for_file(&loop.end, &calls[0], &file, "Permission denied");
	check_reason("/data/a \"b\".csv: Permission denied");
	vf_end_for_file(&loop.end, &calls[0], &url, "not found");
	check_reason("http://a/b: not found"); /* without curl's options */
	vf_end_for_file(&loop.end, &calls[0], NULL, "too large");
	check_reason("vinefast's own files: too large");
}

static void test_a_url_is_to_blame_before_a_file(void)
{
	static struct {
		struct vf_file_list files;
		struct vf_file items[3];
	} list = {.files.n = 3};
	struct vf_file *items = list.files.items;
	items[0] = (struct vf_file){.kind = VF_FILE_OUTPUT, .source = "out"};
	items[1] = (struct vf_file){.kind = VF_FILE_INPUT, .source = "in"};
	items[2] = (struct vf_file){.kind = VF_FILE_URL, .source = "http://a/b"};
	calls[0] = (struct vf_call){.files = &list.files};
	vf_end_without_inputs(&loop.end, &calls[0]);
	check_reason("http://a/b: no worker could get it");
	list.files.n = 2;
	vf_end_without_inputs(&loop.end, &calls[0]);
	check_reason("in: no worker could get it");
}

static void test_short_memory_keeps_a_call_until_it_can_be_told(void)
{
	struct vf_file file = {.kind = VF_FILE_INPUT, .source = "in"};
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		calls[0] = (struct vf_call){0};
		CHECK(vf_call_send(&calls[0]));
		faults_begin(n);
		vf_end_for_file(&loop.end, &calls[0], &file, "not there");
		n_failed = faults_end();
		struct vf_bundle *bundle = take();
		if (!bundle) {
			CHECK(n_failed && loop.waiting.lacks_memory && !loop.waiting.n);
			CHECK(vf_call_list_pop(&loop.waiting.held_up) == &calls[0]);
			CHECK(!loop.waiting.held_up.n && calls[0].state == VF_CALL_QUEUED);
			loop.waiting.lacks_memory = 0;
			continue;
		}
		/* Without the text, at the worst. */
		CHECK(bundle->n_outcomes == 1 && bundle->outcomes[0].call == &calls[0]);
		CHECK(!bundle->frame == !!n_failed);
		vf_bundle_free(bundle);
		CHECK(n >= 2);
	}
}

int main(void)
{
	CHECK(!vf_loop_init(&loop));
	test_all_calls_fail_but_those_that_nobody_waits_for();
	test_the_reason_names_the_file();
	test_a_url_is_to_blame_before_a_file();
	test_short_memory_keeps_a_call_until_it_can_be_told();
	vf_loop_free(&loop);
	return 0;
}
