/* The border to TaskVine holds with the engine that is linked here. */

#define _GNU_SOURCE
#include "vf_selftest.h"

#include <ftw.h>
#include <unistd.h>

#include "check.h"

/* TaskVine forgets its password, and what it has noted of a file that a worker had (7.14). */
/* The engine is built without frame pointers, so that the fast way finds no name to suppress. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vine_manager_put_input_file_if_needed\nleak:vine_set_password";
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status, (void)type, (void)where;
	return remove(path);
}

int main(void)
{
	char directory[] = "/tmp/vinefast-selftest-XXXXXX";
	char wrong[4096];
	CHECK(mkdtemp(directory));
	int failed = vf_selftest_run(directory, wrong, sizeof wrong);
	CHECK(nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
	fputs(wrong, stderr);
	CHECK(!failed);
	return 0;
}
