/* Temporary files: what calls make on workers, and others read there or elsewhere. */

#include "cluster.h"

#include <string.h>
#include <unistd.h>

#include "taskvine.h"

enum {
	N = 8,
	N_TEMPS = 3,
};

static const uint32_t RAISED[] = {VF_STATUS_EXCEPTION};
static const char *const NAMES[N] = {"t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"};

static struct cluster cluster;
static struct job jobs[N];
static struct vf_temp temps[N_TEMPS];

static struct worker *join(void)
{
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .leaves_fetches = 1};
	return cluster_join_by(&cluster, &script);
}

static void open_cluster(void)
{
	cluster_open(&cluster);
	cluster.function.mean_ns = 1e9; /* each travels alone, and none waits behind another */
	for (int i = 0; i < N_TEMPS; i++)
		temps[i] = (struct vf_temp){.name = "the user's name"};
}

static struct worker *begin(void)
{
	open_cluster();
	cluster_start(&cluster);
	return join();
}

static void end(int n)
{
	cluster_close(&cluster);
	for (int i = 0; i < n; i++) {
		CHECK(jobs[i].n_back == 1);
		job_end(&jobs[i]);
	}
	for (int i = 0; i < N_TEMPS; i++)
		vf_temp_free(&temps[i]);
}

/* The i-th call makes one file, or none, and reads another, or none. */
static void submit(int i, struct vf_temp *made, struct vf_temp *read)
{
	static char names[N][8];
	snprintf(names[i], sizeof names[i], "m%d", i);
	job_begin(&cluster, &jobs[i], i);
	if (made)
		job_add_temp(&jobs[i], VF_FILE_MADE, made, names[i]);
	if (read)
		job_add_temp(&jobs[i], VF_FILE_READ, read, NAMES[i]);
	job_submit(&cluster, &jobs[i]);
}

/* A worker makes what its bundle is to make, and answers. */
static void make(struct worker *worker)
{
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(task->n_outputs == 1);
	worker_make(worker, task);
	worker_answer(worker, task, task->n_calls, NULL);
}

static void answer(struct worker *worker)
{
	struct worker_task *task = cluster_bundle(&cluster, worker);
	worker_answer(worker, task, task->n_calls, NULL);
}

/* The file that a worker has of the first input of what it is to do. */
static const struct worker_file *read_by(struct worker *worker)
{
	const struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(task->n_inputs >= 1);
	return worker_file(worker, task->inputs[0].cached_name);
}

static void check_failed(int i, const char *why)
{
	UNTIL(&cluster, jobs[i].n_back == 1);
	CHECK(jobs[i].engine_result == VINE_RESULT_INPUT_MISSING);
	CHECK(!strncmp(jobs[i].text, "the user's name: ", 17) && strstr(jobs[i].text, why));
}

static void let_go(int i)
{
	int before = cluster.n_temps_given;
	vf_loop_let_go(&cluster.loop, &temps[i]);
	UNTIL(&cluster, cluster.n_temps_given == before + 1);
}

static void test_readers_wait_until_it_is_there(void)
{
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	UNTIL(&cluster, worker_bundle(worker));
	submit(1, NULL, &temps[0]);
	submit(2, NULL, &temps[0]);
	cluster_turn(&cluster);
	make(worker);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	for (uint32_t n = 1; n < 3;) {
		struct worker_task *task = cluster_bundle(&cluster, worker);
		CHECK(!strcmp(read_by(worker)->data, "m0"));
		n += task->n_calls;
		worker_answer(worker, task, task->n_calls, NULL);
	}
	UNTIL(&cluster, job_has_returned(&jobs[1]) && job_has_returned(&jobs[2]));
	CHECK(COUNT(&cluster, temps_made) == 1 && worker->n_fetches == 0);

	/* What nobody needs any more leaves the worker. */
	CHECK(worker->n_unlinked == 0);
	let_go(0);
	UNTIL(&cluster, worker->n_unlinked == 1);
	end(3);
}

static void test_a_maker_that_fails_fails_its_readers(void)
{
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	submit(1, &temps[1], &temps[0]);
	submit(2, NULL, &temps[1]);
	cluster_turn(&cluster);
	worker_make(worker, task);
	worker_answer(worker, task, 1, RAISED);
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].status == VF_STATUS_EXCEPTION);
	check_failed(1, "the call that makes this temporary file has failed");
	check_failed(2, "has failed");
	submit(3, NULL, &temps[0]);
	check_failed(3, "has failed");
	/* One that nobody makes. */
	submit(4, NULL, &temps[2]);
	check_failed(4, "has failed");
	CHECK(COUNT(&cluster, temps_made) == 0);
	end(5);
}

/* It says that it has returned, and no worker has the file. */
static void test_what_was_not_made_fails_its_readers(void)
{
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	submit(1, NULL, &temps[0]);
	answer(worker);
	UNTIL(&cluster, jobs[0].n_back == 1);
	check_failed(1, "has failed");
	end(2);
}

/* One call makes all that is lost of what another needs. */
static void test_what_is_lost_is_made_again(void)
{
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	make(worker);
	UNTIL(&cluster, jobs[0].n_back == 1);
	submit(1, &temps[1], &temps[0]);
	make(worker);
	UNTIL(&cluster, jobs[1].n_back == 1);
	worker_leave(worker);
	UNTIL(&cluster, COUNT(&cluster, temps_lost) == 2);
	worker = join();
	cluster_turn(&cluster);
	CHECK(COUNT(&cluster, calls_remade) == 0); /* nobody needs it */

	submit(2, NULL, &temps[1]);
	make(worker);
	CHECK(!strcmp(read_by(worker)->data, "m0"));
	make(worker);
	CHECK(!strcmp(read_by(worker)->data, "m1"));
	answer(worker);
	UNTIL(&cluster, job_has_returned(&jobs[2]));
	CHECK(COUNT(&cluster, calls_remade) == 2 && COUNT(&cluster, temps_made) == 4);
	CHECK(cluster.n_back == 3); /* nobody waits for those that made it again */
	for (int i = 0; i < 2; i++)
		let_go(i);
	end(3);
}

static void test_what_cannot_be_made_again_fails_its_readers(void)
{
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	make(worker);
	UNTIL(&cluster, jobs[0].n_back == 1);
	worker_leave(worker);
	UNTIL(&cluster, COUNT(&cluster, temps_lost) == 1);
	worker = join();
	submit(1, NULL, &temps[0]);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, RAISED);
	check_failed(1, "has failed");
	CHECK(cluster.n_back == 2);
	end(2);
}

/* If that is wanted, also before anybody needs it. */
static void test_what_is_lost_may_be_made_at_once(void)
{
	open_cluster();
	cluster_settings(&cluster)->recover_at_once = 1;
	cluster_start(&cluster);
	struct worker *worker = join();
	for (int i = 0; i < 2; i++)
		submit(i, &temps[i], NULL);
	make(worker);
	make(worker);
	UNTIL(&cluster, jobs[0].n_back == 1 && jobs[1].n_back == 1);
	let_go(1);
	worker_leave(worker);
	worker = join();
	make(worker);
	UNTIL(&cluster, COUNT(&cluster, temps_made) == 3);
	CHECK(COUNT(&cluster, calls_remade) == 1);
	end(2);
}

/* Its worker is lost while a reader runs there. */
static void test_a_reader_that_loses_its_worker_waits_for_another_copy(void)
{
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	make(worker);
	UNTIL(&cluster, jobs[0].n_back == 1);
	submit(1, NULL, &temps[0]);
	cluster_bundle(&cluster, worker);
	cluster_lose(&cluster, worker);
	worker = join();
	make(worker);
	CHECK(!strcmp(read_by(worker)->data, "m0"));
	answer(worker);
	UNTIL(&cluster, job_has_returned(&jobs[1]));
	CHECK(COUNT(&cluster, calls_remade) == 1);
	end(2);
}

/* A call has written to it: no copy of it is what it was. */
static void test_what_a_reader_has_written_to_is_made_again(void)
{
	static const uint32_t was_changed[] = {VF_STATUS_INPUT_CHANGED};
	static const uint32_t is_spoilt[] = {VF_STATUS_INPUT_SPOILED};
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	make(worker);
	UNTIL(&cluster, jobs[0].n_back == 1);
	submit(1, NULL, &temps[0]);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, was_changed);
	UNTIL(&cluster, jobs[1].n_back == 1);
	submit(2, NULL, &temps[0]);
	make(worker);
	CHECK(COUNT(&cluster, calls_remade) == 1);
	CHECK(!strcmp(read_by(worker)->data, "m0"));
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, is_spoilt);
	make(worker);
	answer(worker);
	UNTIL(&cluster, job_has_returned(&jobs[2]));
	CHECK(COUNT(&cluster, calls_remade) == 2);
	end(3);
}

/* A worker holds a file, and another, which alone has room, is to run a call that reads it. */
static struct worker *begin_fetch(struct worker **holder)
{
	*holder = begin();
	submit(0, &temps[0], NULL);
	make(*holder);
	UNTIL(&cluster, jobs[0].n_back == 1);
	job_run(&cluster, &jobs[1], 1);
	cluster_bundle(&cluster, *holder);
	struct worker *other = join();
	UNTIL(&cluster, other->n_nodes == 1);
	for (int i = 2; i < 4; i++)
		submit(i, NULL, &temps[0]);
	UNTIL(&cluster, worker_fetch(other));
	CHECK(strstr(worker_fetch(other)->source, "workerip"));
	return other;
}

static int are_back(int first, int last)
{
	int n = 0;
	for (int i = first; i <= last; i++)
		n += job_has_returned(&jobs[i]);
	return n == last - first + 1;
}

static void answer_all(struct worker *one, struct worker *other, int first, int last)
{
	struct worker *workers[] = {one, other};
	while (!are_back(first, last)) {
		cluster_serve(&cluster);
		for (int i = 0; i < 2; i++) {
			if (worker_bundle(workers[i]))
				answer(workers[i]);
			if (worker_fetch(workers[i]))
				worker_fetched(workers[i], worker_fetch(workers[i]), 2);
		}
	}
}

static void test_a_reader_elsewhere_gets_it_from_its_holder(void)
{
	struct worker *holder, *other = begin_fetch(&holder);
	worker_fetched(other, worker_fetch(other), 2);
	answer_all(holder, other, 1, 3);
	/* There are two copies: that one is lost is no matter. */
	worker_leave(holder);
	UNTIL(&cluster, COUNT(&cluster, workers_connected) == 1);
	submit(4, NULL, &temps[0]);
	CHECK(read_by(other));
	answer(other);
	UNTIL(&cluster, job_has_returned(&jobs[4]));
	CHECK(COUNT(&cluster, temps_lost) == 0 && COUNT(&cluster, calls_remade) == 0);
	end(5);
}

/* It takes down whichever worker has what it reads: TaskVine offers it to nobody until that is made
again, as another file. */
static void test_a_reader_that_takes_down_each_holder_fails(void)
{
	struct worker *worker = begin();
	submit(0, &temps[0], NULL);
	make(worker);
	UNTIL(&cluster, jobs[0].n_back == 1);
	submit(1, NULL, &temps[0]);
	for (int losses = 1; losses <= 4; losses++) { /* max_losses, as cluster_open() sets it */
		CHECK(!strcmp(read_by(worker)->data, "m0"));
		CHECK(jobs[1].n_back == 0);
		cluster_lose(&cluster, worker);
		if (losses == 4)
			break;
		worker = join();
		make(worker);
	}
	UNTIL(&cluster, jobs[1].n_back == 1);
	CHECK(jobs[1].engine_result == VINE_RESULT_MAX_RETRIES);
	CHECK(strstr(jobs[1].text, "was lost"));
	end(2);
}

/* Then it goes where the file is, and that is no loss. */
static void test_a_reader_that_cannot_get_it_goes_to_its_holder(void)
{
	struct worker *holder, *other = begin_fetch(&holder);
	worker_not_fetched(other, worker_fetch(other), "error transferring file: broken pipe");
	worker_complete(other, cluster_bundle(&cluster, other), VINE_RESULT_FORSAKEN, 1, "", 0);
	answer_all(holder, other, 1, 3);
	CHECK(COUNT(&cluster, calls_lost) == 0);
	end(4);
}

/* A worker that is told to delete what it fetches would abort. */
static void test_what_is_fetched_is_deleted_after_that(int is_stopped)
{
	struct worker *holder, *other = begin_fetch(&holder);
	vf_loop_let_go(&cluster.loop, &temps[0]);
	for (int n = 1; n <= 2; n++) { /* without the file */
		answer(other);
		UNTIL(&cluster, jobs[2].n_back + jobs[3].n_back == n);
	}
	answer(holder);
	UNTIL(&cluster, job_has_returned(&jobs[1]) && cluster.n_temps_given == 1);
	cluster_turn(&cluster);
	CHECK(worker_fetch(other) && holder->n_unlinked == 0 && other->n_unlinked == 0);
	if (!is_stopped) {
		worker_fetched(other, worker_fetch(other), 2);
		UNTIL(&cluster, holder->n_unlinked == 1 && other->n_unlinked == 1);
	}
	end(4);
}

/* Workers may not fetch from each other: it comes here, and is sent from here. */
static void test_it_may_go_by_the_manager(void)
{
	char prefix[128];
	open_cluster();
	snprintf(prefix, sizeof prefix, "%s/temp", cluster.directory);
	cluster_settings(&cluster)->peer_transfers = 0;
	cluster_settings(&cluster)->temps_prefix = prefix;
	vine_disable_peer_transfers(cluster.manager);
	cluster_start(&cluster);
	struct worker *worker = join();
	submit(0, &temps[0], NULL);
	make(worker);
	UNTIL(&cluster, jobs[0].n_back == 1);
	char path[160];
	snprintf(path, sizeof path, "%s-1", prefix);
	CHECK(!access(path, F_OK));

	/* That its worker is lost is no matter. */
	worker_leave(worker);
	UNTIL(&cluster, COUNT(&cluster, workers_connected) == 0);
	worker = join();
	submit(1, NULL, &temps[0]);
	CHECK(!strcmp(read_by(worker)->data, "m0"));
	answer(worker);
	UNTIL(&cluster, job_has_returned(&jobs[1]));
	CHECK(COUNT(&cluster, calls_remade) == 0);
	let_go(0);
	UNTIL(&cluster, access(path, F_OK));

	/* It has not come. */
	submit(2, &temps[1], NULL);
	answer(worker);
	UNTIL(&cluster, jobs[2].n_back == 1);
	submit(3, NULL, &temps[1]);
	check_failed(3, "has failed");
	end(4);
}

/* How long transfers take is learned from those of temporary files between workers. */
static void test_the_rate_of_transfers_is_learned(void)
{
	open_cluster();
	cluster_settings(&cluster)->learn_bandwidth = 1;
	cluster_start(&cluster);
	struct worker *holder = join();
	submit(0, &temps[0], NULL);
	make(holder);
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(COUNT(&cluster, transfer_rate) == 0);
	job_run(&cluster, &jobs[1], 1);
	cluster_bundle(&cluster, holder);
	struct worker *other = join();
	UNTIL(&cluster, other->n_nodes == 1);
	for (int i = 2; i < 4; i++)
		submit(i, NULL, &temps[0]);
	UNTIL(&cluster, worker_fetch(other));
	worker_fetched(other, worker_fetch(other), 64 << 20); /* in a millisecond */
	UNTIL(&cluster, COUNT(&cluster, transfer_rate) > 1000000000);
	CHECK(COUNT(&cluster, transfer_rate) < 2000000000);
	answer_all(holder, other, 1, 3);
	end(4);
}

int main(void)
{
	test_readers_wait_until_it_is_there();
	test_a_maker_that_fails_fails_its_readers();
	test_what_was_not_made_fails_its_readers();
	test_what_is_lost_is_made_again();
	test_what_cannot_be_made_again_fails_its_readers();
	test_what_is_lost_may_be_made_at_once();
	test_a_reader_that_loses_its_worker_waits_for_another_copy();
	test_what_a_reader_has_written_to_is_made_again();
	test_a_reader_elsewhere_gets_it_from_its_holder();
	test_a_reader_that_takes_down_each_holder_fails();
	test_a_reader_that_cannot_get_it_goes_to_its_holder();
	test_what_is_fetched_is_deleted_after_that(0);
	test_what_is_fetched_is_deleted_after_that(1);
	test_it_may_go_by_the_manager();
	test_the_rate_of_transfers_is_learned();
	return 0;
}
