/* Which calls of a bundle fail, since an input did not reach a worker, and because of which
file. */

#include "vf_unfetched.h"

#include <string.h>

#include "check.h"
#include "vf_bundle.h"
#include "vf_file.h"

enum {
	CALLS = 3,
	FILES = 3,
};

static struct vf_call calls[CALLS];
static struct {
	struct vf_file_list files;
	struct vf_file items[FILES];
} lists[CALLS];
static struct vf_declared declared[2 * CALLS], *inputs[2 * CALLS];
static struct vf_bundle *bundle;

/* Each call has an input, an output and a URL: the bundle's inputs are those of the first call, of
the second one, and so on. */
static void begin(void)
{
	struct vf_call *all[CALLS];
	for (uint32_t i = 0; i < CALLS; i++) {
		lists[i].files.n = FILES;
		struct vf_file *items = lists[i].files.items;
		items[0] = (struct vf_file){.kind = VF_FILE_INPUT};
		items[1] = (struct vf_file){.kind = VF_FILE_OUTPUT};
		items[2] = (struct vf_file){.kind = VF_FILE_URL};
		calls[i] = (struct vf_call){.files = &lists[i].files};
		all[i] = &calls[i];
	}
	for (uint32_t i = 0; i < 2 * CALLS; i++) {
		declared[i] = (struct vf_declared){0};
		inputs[i] = &declared[i];
	}
	CHECK((bundle = vf_bundle_create(CALLS, all)));
	bundle->mounts.inputs = inputs;
	bundle->mounts.n_inputs = 2 * CALLS;
}

static void end(void)
{
	bundle->mounts.inputs = NULL;
	vf_bundle_free(bundle);
}

/* The place of the file that each call fails for; -1: it does not. */
static void judge_all(int expected[CALLS], const char *why)
{
	uint32_t n_inputs = 0;
	for (uint32_t i = 0; i < CALLS; i++) {
		const struct vf_file *file;
		const char *said = vf_unfetched_judge(bundle, &calls[i], &n_inputs, &file);
		CHECK((said != NULL) == (expected[i] >= 0));
		CHECK(!said || (file == &lists[i].files.items[expected[i]] && strstr(said, why)));
	}
	CHECK(n_inputs == 2 * CALLS);
}

static void test_only_a_final_reason_fails_a_call(void)
{
	begin();
	CHECK(!vf_unfetched_any(bundle));
	declared[1].reason = "no such host"; /* the URL of the first call */
	declared[3].reason = "not found";    /* and of the second one */
	declared[3].final = 1;
	CHECK(vf_unfetched_any(bundle));
	judge_all((int[]){-1, 2, -1}, "not found");
	/* Others need not wait for another try. */
	CHECK(calls[0].solo && calls[1].solo && !calls[2].solo);
	end();
}

static void test_what_could_not_be_sent_twice_fails_for_its_largest_input(void)
{
	begin();
	for (uint32_t i = 0; i < 2 * CALLS; i++)
		declared[i].nbytes = i;
	vf_unfetched_unsent(bundle);
	CHECK(vf_unfetched_any(bundle));
	judge_all((int[]){-1, -1, -1}, "");
	vf_unfetched_unsent(bundle);
	CHECK(calls[0].losses == 2 && calls[0].solo);
	judge_all((int[]){2, 2, 2}, "broke");
	end();
}

static void test_what_has_nothing_to_be_sent_is_no_case_of_it(void)
{
	begin();
	bundle->mounts.n_inputs = 0;
	vf_unfetched_unsent(bundle);
	CHECK(!vf_unfetched_any(bundle) && !calls[0].losses);
	end();
}

int main(void)
{
	test_only_a_final_reason_fails_a_call();
	test_what_could_not_be_sent_twice_fails_for_its_largest_input();
	test_what_has_nothing_to_be_sent_is_no_case_of_it();
	return 0;
}
