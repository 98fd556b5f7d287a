/* TaskVine's own link_poll() and debug(), as the linker replaced them: a sleep ends at a wake, and
of all messages one is looked at. */

#include "vf_border.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "category.h"
#include "check.h"
#include "faults.h"
#include "hash_table.h"
#include "rmsummary.h"
#include "debug.h"
#include "link.h"

enum {
	LONG_MS = 20000, /* far longer than any step of this test takes */
	N_MANAGERS = 3,
	N_ASKED = 20000,
};

static struct vf_wake wake;
static atomic_int turns, parked_turns, work;

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum vf_turn turn(void *arg, int connections)
{
	CHECK(arg == &wake && connections == 0);
	atomic_fetch_add(&turns, 1);
	if (atomic_load(&wake.parked))
		atomic_fetch_add(&parked_turns, 1);
	return atomic_exchange(&work, 0) ? VF_TURN_ACTIVE : VF_TURN_IDLE;
}

static void *sleep_in_taskvine(void *arg)
{
	struct link_info links[1] = {{.link = arg, .events = LINK_READ}};
	vf_border_own(&(struct vf_border){.turn = turn, .arg = &wake, .wake = &wake});
	link_poll(links, 1, LONG_MS);
	vf_border_own(NULL);
	return NULL;
}

static void test_wake(void)
{
	struct link *server = link_serve_address("127.0.0.1", 0);
	CHECK(server && vf_wake_open(&wake) == 0);
	pthread_t sleeper;
	int64_t start_ms = now_ms();

	CHECK(pthread_create(&sleeper, NULL, sleep_in_taskvine, server) == 0);
	while (!atomic_load(&parked_turns))
		;
	/* A wake without work does not end the sleep; one with work does. */
	int before = atomic_load(&turns);
	vf_wake_force(&wake);
	while (atomic_load(&turns) == before)
		;
	atomic_store(&work, 1);
	vf_wake_force(&wake);
	pthread_join(sleeper, NULL);
	CHECK(now_ms() - start_ms < LONG_MS / 2);

	/* Without a poller it is TaskVine's own, with its time-out. */
	struct link_info links[1] = {{.link = server, .events = LINK_READ}};
	before = atomic_load(&turns);
	CHECK(link_poll(links, 1, 10) == 0 && atomic_load(&turns) == before);
	link_close(server);
	vf_wake_close(&wake);
}

static int n_invalidated;

static int invalidated(void *arg, const char *cachename, const char *reason)
{
	CHECK(arg == &n_invalidated && !strcmp(cachename, "url-1") &&
			!strcmp(reason, "curl: (22)"));
	return ++n_invalidated;
}

static void test_debug(void)
{
	static const char FORMAT[] = "%s (%s) invalidated %s with error: %s";
	debug(D_VINE, FORMAT, "host", "addr", "url-1", "curl: (22)");
	CHECK(n_invalidated == 0);
	vf_border_own(&(struct vf_border){.invalidated = invalidated, .arg = &n_invalidated});
	debug(D_VINE, "%s (%s) is busy", "host", "addr");
	debug(D_VINE, "idle");
	CHECK(n_invalidated == 0);
	debug(D_VINE, FORMAT, "host", "addr", "url-1", "curl: (22)");
	CHECK(n_invalidated == 1);
	vf_border_own(NULL);
}

static enum vf_turn be_idle(void *arg, int connections)
{
	(void)arg, (void)connections;
	return VF_TURN_IDLE;
}

/* Without memory to sleep with it does not sleep, and hears what there is to hear. */
static void test_short_memory(void)
{
	struct link *server = link_serve_address("127.0.0.1", 0);
	CHECK(server && vf_wake_open(&wake) == 0);
	struct link_info links[1] = {{.link = server, .events = LINK_READ}};
	vf_border_own(&(struct vf_border){.turn = be_idle, .wake = &wake});
	int64_t start_ms = now_ms();
	faults_begin(FAULTS_ALL);
	CHECK(link_poll(links, 1, LONG_MS) == 0 && faults_end() == 1);
	CHECK(now_ms() - start_ms < LONG_MS / 2);
	CHECK(link_poll(links, 1, 10) == 0);
	vf_border_own(NULL);
	link_close(server);
	vf_wake_close(&wake);
}

static void *ask_for_resources(void *arg)
{
	const double *cores = arg;
	struct hash_table *categories = hash_table_create(0, 0);
	struct category *category = category_lookup_or_create(categories, "default");
	struct rmsummary *wanted = rmsummary_create(-1);
	wanted->cores = *cores;
	for (int i = 0; i < N_ASKED; i++) {
		const struct rmsummary *most = category_task_max_resources(
				category, wanted, CATEGORY_ALLOCATION_FIRST, -1);
		const struct rmsummary *least = category_task_min_resources(
				category, wanted, CATEGORY_ALLOCATION_FIRST, -1);
		CHECK(most->cores == *cores && least->cores == *cores);
	}
	rmsummary_delete(wanted);
	category_delete(categories, "default");
	hash_table_delete(categories);
	return NULL;
}

static void test_managers_of_several_threads_know_their_own_tasks(void)
{
	static const double cores[N_MANAGERS] = {1, 2, 3};
	pthread_t threads[N_MANAGERS];
	for (int i = 0; i < N_MANAGERS; i++)
		CHECK(pthread_create(&threads[i], NULL, ask_for_resources, (void *)&cores[i]) == 0);
	for (int i = 0; i < N_MANAGERS; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	test_managers_of_several_threads_know_their_own_tasks();
	test_wake();
	test_debug();
	test_short_memory();
	return 0;
}
