/* TaskVine's own fatal(), as the linker replaced it: it ends one thread's work, not the process. */

#include "vf_fatal.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "check.h"
#include "debug.h"

static char reported[64];
static sem_t reports;

static void report(const char *message, void *arg)
{
	CHECK(arg == reported);
	strncpy(reported, message, sizeof reported - 1);
	sem_post(&reports);
}

static void *give_up(void *arg)
{
	vf_fatal_catch(report, arg);
	fatal("disk %s is %d %% full", "sda", 100);
	CHECK(!"fatal() returned");
	return NULL;
}

int main(void)
{
	pthread_t thread;
	CHECK(sem_init(&reports, 0, 0) == 0);
	CHECK(pthread_create(&thread, NULL, give_up, reported) == 0);
	CHECK(sem_wait(&reports) == 0);
	CHECK(!strcmp(reported, "disk sda is 100 % full"));
	/* It sleeps, and holds nothing. */
	CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, NULL) == 0);
	return 0;
}
