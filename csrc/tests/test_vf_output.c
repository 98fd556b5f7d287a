/* What a task has from TaskVine's malloc() outlives it if that is wanted: under the address
sanitizer, a block that was freed nevertheless ends this test. */

#include "vf_output.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "faults.h"
#include "taskvine.h"
#include "vf_frame.h"

enum {
	LARGE_NBYTES = 5 << 20,
	N_TASKS = 100,
};

static char *take_command(struct vine_task *task)
{
	char *command = (char *)vine_task_get_command(task);
	vf_output_delete(task, command);
	return command;
}

static void test_a_block_outlives_its_task(void)
{
	char *command = take_command(vine_task_create("kept"));
	CHECK(!strcmp(command, "kept"));
	free(command);
	/* Nothing is kept: the leak check of the sanitizer would find it. */
	vf_output_delete(vine_task_create("gone"), NULL);
}

static void test_large_blocks_begin_where_arrays_may(void)
{
	for (size_t nbytes = 1 << 10; nbytes <= LARGE_NBYTES; nbytes = nbytes * 2 + 1) {
		char *block = malloc(nbytes + 1);
		CHECK(block && (uintptr_t)block % VF_ALIGNMENT == 0);
		memset(block, 1, nbytes + 1);
		free(block);
	}
}

/* TaskVine asks for one byte more than it receives. */
static void test_the_length_of_an_output_is_known(void)
{
	for (size_t nbytes = 1; nbytes <= LARGE_NBYTES; nbytes += nbytes < 3000 ? 1 : nbytes + 1) {
		char *output = malloc(nbytes + 1);
		CHECK(output);
		memset(output, 0xff, nbytes + 1);
		CHECK(vf_output_nbytes(output) == (nbytes < 1024 ? 0 : nbytes));
		free(output);
	}
}

static void *take_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < N_TASKS; i++)
		free(take_command(vine_task_create("of this thread")));
	return NULL;
}

/* Two managers in one program take blocks at the same time. */
static void test_threads_do_not_keep_each_others(void)
{
	pthread_t other;
	CHECK(pthread_create(&other, NULL, take_many, NULL) == 0);
	take_many(NULL);
	pthread_join(other, NULL);
}

static void test_without_memory_there_is_no_block(void)
{
	faults_begin(FAULTS_OUTPUT);
	CHECK(!malloc(LARGE_NBYTES) && faults_end() == 1);
	char *block = malloc(LARGE_NBYTES);
	CHECK(block && vf_output_nbytes(block) == LARGE_NBYTES - 1);
	free(block);
}

int main(void)
{
	test_without_memory_there_is_no_block();
	test_a_block_outlives_its_task();
	test_large_blocks_begin_where_arrays_may();
	test_the_length_of_an_output_is_known();
	test_threads_do_not_keep_each_others();
	return 0;
}
