/* The border to TaskVine holds with the engine that is linked here. */

#define _GNU_SOURCE
#include "vf_selftest.h"

#include <ftw.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"

/* TaskVine forgets its password, where its directory was before, and what it has noted of a file
that a worker had (7.14). */
/* The engine is built without frame pointers, so that the fast way finds no name to suppress. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vine_manager_put_input_file_if_needed\nleak:vine_set_password\n"
	       "leak:vine_set_runtime_info_path";
}

enum {
	N_BEFORE = 4, /* requests for memory, before its worker's thread */
};

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status, (void)type, (void)where;
	return remove(path);
}

/* What it lacks is said, and is no fault of TaskVine's that goes unseen. */
static void test_what_it_lacks_is_said(const char *directory)
{
	char wrong[4096];
	faults_close_descriptors();
	int failed = vf_selftest_run(directory, wrong, sizeof wrong);
	faults_open_descriptors();
	CHECK(failed && strstr(wrong, "No manager can be made in"));

	faults_begin(FAULTS_OUTPUT); /* of which its manager wants some */
	failed = vf_selftest_run(directory, wrong, sizeof wrong);
	CHECK(faults_end() && failed && strstr(wrong, "No manager can be made in"));

	for (int n = 0; n <= N_BEFORE; n++) {
		faults_begin(n);
		failed = vf_selftest_run(directory, wrong, sizeof wrong);
		CHECK(faults_end() == 1 && failed);
		CHECK(strstr(wrong,
				n < N_BEFORE ? "No manager can be made in" :
					       "No thread can be started"));
	}
}

int main(void)
{
	char directory[] = "/tmp/vinefast-selftest-XXXXXX";
	char wrong[4096];
	CHECK(mkdtemp(directory));
	test_what_it_lacks_is_said(directory);
	int failed = vf_selftest_run(directory, wrong, sizeof wrong);
	CHECK(nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
	fputs(wrong, stderr);
	CHECK(!failed);
	return 0;
}
