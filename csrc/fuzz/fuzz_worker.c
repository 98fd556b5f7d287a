/* Whatever a worker that has a call says, on a real connection to a real manager: the call comes
back once, and so does the next one, from another worker.

'@' stands for the task of the call and '~' for the library's, '\x03' for the right answer to the
call, and '\x02' for a pause in which the manager may hear what has been said. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cluster.h"
#include "fuzz.h"

enum {
	WORDS_MAX = 2000,
	NUMBER_NBYTES = 24,
	PAUSES_MAX = 8, /* of an input, which then takes milliseconds */
};

static struct cluster cluster;

static void end(void)
{
	cluster_close(&cluster);
}

static void begin(void)
{
	static int is_begun;
	if (is_begun++)
		return;
	cluster_open(&cluster);
	cluster_settings(&cluster)->library_pause_ns = 0;
	cluster_settings(&cluster)->max_library_failures = 1000000000;
	cluster_start(&cluster);
	atexit(end);
}

struct liar {
	struct worker *worker;
	long long task, library;
	char words[WORDS_MAX * NUMBER_NBYTES];
	size_t n;
	int n_pauses;
};

static void say(struct liar *liar)
{
	if (liar->n && liar->worker->fd >= 0) /* it may have been disconnected */
		send(liar->worker->fd, liar->words, liar->n, MSG_NOSIGNAL);
	liar->n = 0;
}

static void lie(struct liar *liar, uint8_t byte)
{
	char *at = liar->words + liar->n;
	switch (byte) {
	case '@':
		liar->n += (size_t)snprintf(at, NUMBER_NBYTES, "%lld", liar->task);
		return;
	case '~':
		liar->n += (size_t)snprintf(at, NUMBER_NBYTES, "%lld", liar->library);
		return;
	case 2:
		say(liar);
		/* Not for the manager: it waits for the rest of a line. */
		for (int i = 0; i < 3 && liar->n_pauses < PAUSES_MAX; i++)
			cluster_serve(&cluster);
		liar->n_pauses++;
		return;
	case 3:
		say(liar);
		if (worker_bundle(liar->worker) && liar->worker->fd >= 0)
			worker_answer(liar->worker, worker_bundle(liar->worker), 1, NULL);
		return;
	default:
		*at = (char)byte;
		liar->n++;
	}
}

static void check_back(const struct job *job)
{
	CHECK(job->n_back == 1);
	CHECK(job->status <= VF_STATUS_TIMED_OUT && job->status != VF_STATUS_NODE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
	static struct liar liar;
	static struct job jobs[2];
	static const struct worker_script automatic = {
			.cores = 1, .memory = 1000, .disk = 1000, .is_automatic = 1};
	if (nbytes > WORDS_MAX)
		return 0;
	begin();
	job_run(&cluster, &jobs[0], 0);
	liar.n = 0;
	liar.n_pauses = 0;
	liar.worker = cluster_join(&cluster, 1);
	liar.task = cluster_bundle(&cluster, liar.worker)->id;
	liar.library = liar.worker->library;
	for (size_t i = 0; i < nbytes; i++)
		lie(&liar, data[i]);
	say(&liar);
	/* More is not to be waited for. */
	if (liar.worker->fd >= 0)
		shutdown(liar.worker->fd, SHUT_WR);
	UNTIL(&cluster, liar.worker->fd < 0);
	worker_leave(liar.worker);
	struct worker *other = cluster_join_by(&cluster, &automatic);
	job_run(&cluster, &jobs[1], 1);
	UNTIL(&cluster, jobs[0].n_back && jobs[1].n_back);
	worker_leave(other);
	cluster_turn(&cluster);
	check_back(&jobs[0]);
	check_back(&jobs[1]);
	CHECK(job_has_returned(&jobs[1]));
	job_end(&jobs[0]);
	job_end(&jobs[1]);
	cluster.n_workers = 0;
	return 0;
}
