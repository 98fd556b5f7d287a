/* A loop begins with all that it needs, or not at all. */

#include "vf_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"

static struct vf_loop loop;

/* Where the next descriptor would be: none has been left open below. */
static int next_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && !close(fd));
	return fd;
}

static void check_that_it_begins(int next)
{
	CHECK(!vf_loop_init(&loop));
	vf_loop_free(&loop);
	CHECK(next_descriptor() == next);
}

static void test_short_memory(void)
{
	int n_failed = 1, next = next_descriptor();
	for (int n = 0; n_failed; n++) {
		faults_begin(n);
		int failed = vf_loop_init(&loop);
		n_failed = faults_end();
		CHECK(!failed == !n_failed && (!failed || errno == ENOMEM));
		CHECK(failed ? next_descriptor() == next : n == 3);
		if (!failed)
			vf_loop_free(&loop);
		check_that_it_begins(next);
	}
}

static void test_no_descriptors(void)
{
	int next = next_descriptor();
	faults_close_descriptors();
	CHECK(vf_loop_init(&loop) == -1 && errno == EMFILE);
	faults_open_descriptors();
	check_that_it_begins(next);
}

int main(void)
{
	test_short_memory();
	test_no_descriptors();
	return 0;
}
