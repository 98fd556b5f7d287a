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

static void test_it_takes_no_memory_before_there_is_a_call(void)
{
	int next = next_descriptor();
	faults_begin(FAULTS_ALL);
	CHECK(!vf_loop_init(&loop) && !faults_end());
	vf_loop_free(&loop);
	CHECK(next_descriptor() == next);
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
	test_it_takes_no_memory_before_there_is_a_call();
	test_no_descriptors();
	return 0;
}
