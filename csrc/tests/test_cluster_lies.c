/* Workers that send what no worker should: the manager goes on, and so do the calls. */

#include "cluster.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "taskvine.h"

enum {
	WORDS_NBYTES = 16384,
	LONG_NBYTES = 3000,
	LONE_MS = 3000, /* less than a worker that is waited for may take */
	DRIP_US = 200000,
};

static struct cluster cluster;
static struct job jobs[3];

/* '@' stands for the task of the call, '~' for the library's, '*' for a long word. 7.14 takes the
seventh number for the task that is complete, later ones the eighth. */
static void lie(struct worker *worker, const char *said)
{
	char words[WORDS_NBYTES];
	size_t n = 0;
	for (; *said; said++) {
		size_t left = sizeof words - n;
		if (*said == '@')
			n += (size_t)snprintf(words + n, left, "%lld", worker_bundle(worker)->id);
		else if (*said == '~')
			n += (size_t)snprintf(words + n, left, "%lld", worker->library);
		else if (*said == '*')
			n += (size_t)snprintf(words + n, left, "%0*d", LONG_NBYTES, 0);
		else
			words[n++] = *said;
		CHECK(n < sizeof words);
	}
	/* It may have been disconnected already. */
	send(worker->fd, words, n, MSG_NOSIGNAL);
}

/* A worker that has a call, and its library. */
static struct worker *begin_with_liar(void)
{
	cluster_open(&cluster);
	cluster.function.limit = 1;
	cluster_start(&cluster);
	job_run(&cluster, &jobs[0], 0);
	struct worker *liar = cluster_join(&cluster, 1);
	cluster_bundle(&cluster, liar);
	return liar;
}

static void end_with_another(void)
{
	struct worker *other = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[1], 1);
	while (!jobs[1].n_back) {
		UNTIL(&cluster, worker_bundle(other) || jobs[1].n_back);
		if (worker_bundle(other))
			worker_answer(other, worker_bundle(other), 1, NULL);
	}
	UNTIL(&cluster, jobs[0].n_back == 1 && job_has_returned(&jobs[1]));
	job_end(&jobs[0]);
	job_end(&jobs[1]);
	cluster_close(&cluster);
}

static void test_who_lies_is_disconnected(void)
{
	static const char *const LIES[] = {
			"cache-invalid x -1\n*",
			"cache-invalid x 4294967295 X\n*",
			"cache-update x 1 1 -1 0 0 0 X\n",
			"transfer-hostport * 9\n",
			"transfer-port -1\n",
			"complete 0 0 -1 -1 1 2 @ @\n",
			"complete 0 0 9999999999 9999999999 1 2 @ @\nwords",
			"complete 0 0\n",
			"complete 0 0 2000 0 1 2 @ @\nstdout @ -1\n",
			"resources\ncores\nend\n",
			"resources\ncores 9223372036854775807\nend\n",
			"taskvine 99 a b c d\n",
			"available_results\n", /* which nobody has asked for */
			"nonsense\n",
			"*****\n",
	};
	for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++) {
		struct worker *liar = begin_with_liar();
		lie(liar, LIES[i]);
		UNTIL(&cluster, liar->fd < 0);
		end_with_another();
		CHECK(job_has_returned(&jobs[0]));
	}
}

/* TaskVine ends the connection, and looks for more in it. */
static void test_what_follows_the_last_message_is_not_looked_for(void)
{
	struct worker *liar = begin_with_liar();
	lie(liar, "task_status\nworker_status\nalive\n");
	UNTIL(&cluster, liar->fd < 0);
	end_with_another();

	cluster_open(&cluster);
	cluster_start(&cluster);
	job_run(&cluster, &jobs[0], 0);
	static const struct worker_script nothing = {0};
	struct worker *idle = cluster_join_by(&cluster, &nothing);
	lie(idle, "info idle-disconnect-request 1\nalive\nalive\n");
	UNTIL(&cluster, idle->was_told_to_exit);
	end_with_another();
}

/* The second time TaskVine would have freed it. */
static void test_a_task_is_complete_once(void)
{
	static const char *const TWICE[] = {
			"complete 0 0 0 0 1 2 @ @\ncomplete 0 0 0 0 1 2 @ @\n",
			"complete 0 0 0 0 1 2 @ @\ncomplete 0 0 3 3 1 2 @ @\nabcalive\n",
			"complete 0 0 0 0 1 2 @ @\ncomplete 0 0 9999999 0 1 2 @ @\n",
			"complete 3072 0 0 0 1 2 @ @\ncomplete 3072 0 0 0 1 2 @ @\n",
			"complete 0 0 0 0 1 2 ~ ~\ncomplete 0 0 0 0 1 2 ~ ~\n",
			"complete 2560 1 0 0 1 2 ~ ~\ncomplete 2560 1 0 0 1 2 ~ ~\n",
	};
	for (size_t i = 0; i < sizeof TWICE / sizeof TWICE[0]; i++) {
		struct worker *liar = begin_with_liar();
		lie(liar, TWICE[i]);
		for (int n = 0; n < 3; n++)
			cluster_turn(&cluster);
		CHECK(liar->fd >= 0);
		worker_leave(liar);
		end_with_another();
	}
}

/* What it has written is not sent, and so not to be waited for. */
static void test_a_task_that_nobody_knows_holds_up_nobody(void)
{
	struct worker *liar = begin_with_liar();
	lie(liar,
			"complete 0 0 99999999 0 1 2 1073741824 1073741824\n"
			"complete 0 0 5 5 1 2 1073741824 1073741824\nwordsalive\n");
	worker_answer(liar, worker_bundle(liar), 1, NULL);
	int64_t began_ms = vf_now_ms();
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	CHECK(vf_now_ms() - began_ms < LONE_MS && liar->fd >= 0);
	worker_leave(liar);
	end_with_another();
}

/* TaskVine would read so much of its own memory to send the file to the next one. */
static void test_the_length_of_a_buffer_is_known_here(void)
{
	char words[WORDS_NBYTES];
	cluster_open(&cluster);
	cluster_settings(&cluster)->inline_nbytes = 10;
	cluster_start(&cluster);
	job_run(&cluster, &jobs[0], 0);
	struct worker *liar = cluster_join(&cluster, 1);
	const struct worker_task *task = cluster_bundle(&cluster, liar);
	CHECK(task->n_inputs == 1);
	const char *name = task->inputs[0].cached_name;
	size_t nbytes = worker_file(liar, name)->nbytes;
	snprintf(words, sizeof words, "cache-update %s 4 0 %zu 0 0 0 X\n", name, nbytes);
	lie(liar, words);
	for (int n = 0; n < 3; n++)
		cluster_turn(&cluster);
	CHECK(liar->fd >= 0);
	snprintf(words, sizeof words, "cache-update %s 4 0 %zu 0 0 0 X\n", name, nbytes << 16);
	lie(liar, words);
	UNTIL(&cluster, liar->fd < 0);
	end_with_another();
	CHECK(job_has_returned(&jobs[0]));
}

/* Each line comes soon enough, or before the one ahead of it is read; but they do not end. */
static void test_a_message_without_end(int lines_at_once, useconds_t pause_us)
{
	static char words[WORDS_NBYTES];
	size_t n = 0;
	for (int i = 0; i < lines_at_once; i++)
		n += (size_t)snprintf(words + n, sizeof words - n, "cores 1\n");
	struct worker *liar = begin_with_liar();
	lie(liar, "resources\n");
	for (int64_t end_ms = vf_now_ms() + PATIENCE_MS; liar->fd >= 0 && vf_now_ms() < end_ms;) {
		send(liar->fd, words, n, MSG_NOSIGNAL);
		cluster_serve(&cluster);
		usleep(pause_us);
	}
	CHECK(liar->fd < 0);
	end_with_another();
}

int main(void)
{
	test_who_lies_is_disconnected();
	test_what_follows_the_last_message_is_not_looked_for();
	test_a_task_is_complete_once();
	test_a_task_that_nobody_knows_holds_up_nobody();
	test_the_length_of_a_buffer_is_known_here();
	test_a_message_without_end(1, DRIP_US);
	test_a_message_without_end(2000, 0);
	return 0;
}
