/* What is recorded of calls, bundles and workers is what has happened to them, and nothing is
without a file. */

#define _GNU_SOURCE
#include "vf_eventlog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "sockets.h"
#include "vf_bundle.h"
#include "vf_call.h"
#include "vf_clock.h"
#include "vf_counters.h"
#include "vf_hooks.h"
#include "vf_wire.h"
#include "vf_workers.h"

enum {
	MOST_NBYTES = 1 << 20,
	MANY = 100,
};

static char directory[] = "/tmp/vf-eventlog-XXXXXX";
static char path[64];
static char content[4 * MOST_NBYTES];
static size_t n_content;
static struct vf_counters counters;
static struct vf_function relax = {.name = "relax"}, fold = {.name = "fold"};

static void begin(struct vf_eventlog *log)
{
	*log = (struct vf_eventlog){.file = vf_eventfile_open(path, 64 << 20)};
	relax.number = fold.number = 0;
	CHECK(log->file);
}

static void end(struct vf_eventlog *log)
{
	vf_eventlog_close(log, &counters);
	CHECK(!log->file);
	FILE *file = fopen(path, "r");
	CHECK(file);
	n_content = fread(content, 1, sizeof content, file);
	CHECK(n_content < sizeof content && !fclose(file) && !unlink(path));
}

/* The next record of a kind at that place or behind it, and the place behind that one; NULL: there
is none. */
static void *next_of(uint16_t kind, size_t *at)
{
	while (*at < n_content) {
		struct vf_event *event = (void *)(content + *at);
		*at += event->nbytes;
		if (event->kind == kind)
			return event;
	}
	return NULL;
}

static void *only(uint16_t kind)
{
	size_t at = sizeof(struct vf_event_head);
	void *found = next_of(kind, &at);
	CHECK(found && !next_of(kind, &at));
	return found;
}

static struct vf_bundle *make(struct vf_call *calls, uint32_t n_calls)
{
	struct vf_bundle *bundle = vf_bundle_create(n_calls, NULL);
	CHECK(bundle);
	for (uint32_t i = 0; i < n_calls; i++)
		bundle->calls[i] = &calls[i];
	bundle->task_id = 77;
	bundle->sent_ns = 5000;
	bundle->stages = (struct vf_stages){.sent_nbytes = 400, .slot = 2, .pid = 99, .run_ns = 8};
	return bundle;
}

static void give(struct vf_bundle *bundle, struct vf_call *call, const char *payload,
		uint32_t nbytes, uint32_t status)
{
	bundle->outcomes[bundle->n_outcomes++] = (struct vf_outcome){.call = call,
			.record = {.status = status,
					.nbytes = nbytes,
					.duration_ns = 6,
					.payload = payload}};
}

static void test_workers(void)
{
	struct vf_eventlog log;
	int port;
	char place[32], host[LINK_ADDRESS_MAX];
	struct link *server = link_serve_address("127.0.0.1", 0);
	CHECK(server && link_address_local(server, host, &port));
	int fd = come(port);
	snprintf(place, sizeof place, "127.0.0.1:%d", port);
	struct vf_worker worker = {.fd = fd};
	begin(&log);
	vf_eventlog_run(&log, "{\"label\": \"x\"}");
	vf_eventlog_joined(&log, &worker);
	CHECK(worker.number == 1);
	worker.node = "{\"hostname\": \"h\"}";
	worker.slots = 4;
	vf_eventlog_node(&log, &worker);
	vf_eventlog_cached(&log, &worker, 1000, 20);
	vf_eventlog_left(&log, &worker);
	VF_COUNT(&counters, calls_sent, 3);
	vf_eventlog_turn(&log, &counters);
	vf_eventlog_turn(&log, &counters); /* not again so soon */
	end(&log);
	close(fd);
	link_close(server);

	struct vf_event_name *name = only(VF_EVENT_WORKER);
	CHECK(name->about.number == 1 && !strcmp(name->text, place) && name->about.at_ns);
	name = only(VF_EVENT_NODE);
	CHECK(name->about.event.of == VF_EVENT_OF_WORKER && name->about.slots == 4 &&
			strstr(name->text, "hostname"));
	name = only(VF_EVENT_RUN);
	CHECK(strstr(name->text, "label"));
	name = only(VF_EVENT_COUNTER_NAMES);
	CHECK(!strncmp(name->text, "calls_taken calls_sent ", 23));
	name = only(VF_EVENT_WORKER_LEFT);
	CHECK(name->about.number == 1 && name->about.event.of == VF_EVENT_OF_WORKER);
	only(VF_EVENT_STOPPED);
	struct vf_event_cached *cached = only(VF_EVENT_CACHED);
	CHECK(cached->nbytes == 1000 && cached->took_us == 20 && cached->worker == 1);
	struct {
		struct vf_event event;
		uint64_t at_ns;
		struct vf_snapshot counters;
	} *counted = only(VF_EVENT_COUNTERS);
	CHECK(counted->event.nbytes == sizeof *counted && counted->counters.calls_sent == 3);
}

static void test_calls(void)
{
	struct vf_eventlog log;
	struct vf_call calls[3] = {{.number = 5, .function = &relax, .submitted_ns = 2000},
			{.number = 6, .function = &fold, .submitted_ns = 9000, .losses = 2},
			{.number = 7, .function = &fold}};
	static char raised[VF_EVENT_PAYLOAD_NBYTES + 10] = "raised";
	struct vf_bundle *bundle = make(calls, 3);
	begin(&log);
	vf_eventlog_sent(&log, NULL); /* a library's task */
	vf_eventlog_sent(&log, bundle);
	give(bundle, &calls[0], "result", 6, VF_STATUS_PICKLE);
	give(bundle, &calls[1], raised, sizeof raised, VF_STATUS_EXCEPTION);
	give(bundle, &calls[2], "gone", 4, VF_STATUS_DIED);
	atomic_store(&calls[2].state, VF_CALL_CANCELLED);
	vf_eventlog_ended(&log, bundle);
	vf_eventlog_lost(&log, bundle, 9);
	bundle->n_outcomes = 0;
	vf_eventlog_ended(&log, bundle); /* it has not come back: who has given it up says so */
	end(&log);

	struct vf_event_sent *sent = only(VF_EVENT_SENT);
	CHECK(sent->task == 77 && sent->first_call == 5 && sent->n_calls == 3);
	CHECK(sent->event.nbytes == sizeof *sent); /* the numbers follow each other */
	CHECK(sent->nbytes == 400 && sent->function == 1 && sent->worker == VF_EVENT_NO_WORKER);
	struct vf_event_ended *ended = only(VF_EVENT_ENDED);
	CHECK(ended->n_calls == 3 && ended->n_sent == 3 && ended->task == 77);
	CHECK(ended->sent_ns == 5000 && ended->returned_ns && ended->run_ns == 8);
	CHECK(ended->slot == 2 && ended->pid == 99);
	struct vf_event_call *call = ended->calls;
	CHECK(call->number == 5 && call->function == 1 && call->queue_us == 3);
	CHECK(call->nbytes == 6 && call->duration_ns == 6 && call->status == VF_STATUS_PICKLE);
	call++;
	CHECK(call->number == 6 && call->function == 2 && !call->queue_us && call->losses == 2);
	call++;
	CHECK(call->number == 7 && call->is_cancelled);
	/* Nobody asks why a call has failed that was cancelled. */
	struct vf_event_failure *failure = only(VF_EVENT_FAILURE);
	CHECK(failure->number == 6 && failure->nbytes == sizeof raised);
	CHECK(failure->event.nbytes == sizeof *failure + VF_EVENT_PAYLOAD_NBYTES);
	CHECK(!strcmp(failure->payload, "raised"));
	struct vf_event_lost *lost = only(VF_EVENT_LOST);
	CHECK(lost->n_calls == 3 && lost->numbers[2] == 7 && lost->result == 9);
	vf_bundle_free(bundle);
}

static void test_made_again(void)
{
	struct vf_eventlog log, none = {0};
	struct vf_call call = {.number = 5, .function = &relax};
	vf_eventlog_remade(NULL, &call);
	vf_eventlog_remade(&none, &call);
	begin(&log);
	vf_eventlog_remade(&log, &call);
	end(&log);
	struct vf_event_remade *remade = only(VF_EVENT_REMADE);
	CHECK(remade->number == 5 && remade->at_ns);
}

/* A slot gives back what it has not begun. */
static void test_nothing_done(void)
{
	struct vf_eventlog log;
	struct vf_call call = {.number = 5, .function = &relax};
	struct vf_bundle *bundle = make(&call, 1);
	begin(&log);
	vf_eventlog_sent(&log, bundle);
	bundle->returned_ns = 6000;
	vf_eventlog_ended(&log, bundle);
	end(&log);
	struct vf_event_ended *ended = only(VF_EVENT_ENDED);
	CHECK(!ended->n_calls && ended->n_sent == 1 && ended->task == 77);
	CHECK(ended->returned_ns == 6000);
	vf_bundle_free(bundle);
}

static void test_what_the_engine_says(void)
{
	struct vf_eventlog log;
	struct vf_call call = {.number = 5, .function = &relax};
	struct vf_bundle *bundle = make(&call, 1);
	begin(&log);
	bundle->frame = strdup("no room");
	bundle->engine_result = 4;
	give(bundle, &call, NULL, 0, VF_STATUS_ENGINE);
	vf_eventlog_ended(&log, bundle);
	end(&log);
	struct vf_event_failure *failure = only(VF_EVENT_FAILURE);
	CHECK(failure->nbytes == 7 && !memcmp(failure->payload, "no room", 7));
	CHECK(((struct vf_event_ended *)only(VF_EVENT_ENDED))->result == 4);
	vf_bundle_free(bundle);
}

/* Failures may be many, and have long tracebacks: calls are not to make room for them. */
static void test_many_failures(void)
{
	struct vf_eventlog log;
	static struct vf_call calls[MANY];
	static char raised[VF_EVENT_PAYLOAD_NBYTES];
	struct vf_bundle *bundle = make(calls, MANY);
	begin(&log);
	for (uint32_t i = 0; i < MANY; i++) {
		calls[i] = (struct vf_call){.number = i, .function = &relax};
		give(bundle, &calls[i], raised, sizeof raised, VF_STATUS_EXCEPTION);
	}
	vf_eventlog_ended(&log, bundle);
	end(&log);
	size_t at = sizeof(struct vf_event_head), n = 0, n_kept = 0;
	struct vf_event_failure *failure;
	while ((failure = next_of(VF_EVENT_FAILURE, &at))) {
		CHECK(failure->number == n++ && failure->nbytes == sizeof raised);
		n_kept += failure->event.nbytes > sizeof *failure;
	}
	CHECK(n == MANY && n_kept == VF_EVENT_PAYLOADS_NBYTES / VF_EVENT_PAYLOAD_NBYTES);
	vf_bundle_free(bundle);
}

static void test_without_memory_or_a_file(void)
{
	struct vf_eventlog log;
	struct vf_call call = {.number = 5, .function = &relax};
	struct vf_worker worker = {.fd = -1, .node = ""};
	struct vf_bundle *bundle = make(&call, 1);
	give(bundle, &call, "x", 1, VF_STATUS_EXCEPTION);
	for (int has_file = 0; has_file < 2; has_file++) {
		log = (struct vf_eventlog){0};
		if (has_file) {
			begin(&log);
			faults_begin(FAULTS_ALL);
		}
		vf_eventlog_run(&log, "{}");
		vf_eventlog_joined(&log, &worker);
		CHECK(worker.number == 1);
		worker.number = 0;
		vf_eventlog_node(&log, &worker);
		vf_eventlog_sent(&log, bundle);
		vf_eventlog_ended(&log, bundle);
		vf_eventlog_lost(&log, bundle, 1);
		vf_eventlog_cached(&log, &worker, 1, 1);
		vf_eventlog_left(&log, &worker);
		vf_eventlog_turn(&log, &counters);
		if (has_file) {
			CHECK(faults_end() > 5);
			end(&log);
			CHECK(((struct vf_event_left_out *)only(VF_EVENT_LEFT_OUT))->n > 5);
		}
	}
	vf_eventlog_close(&log, &counters);
	vf_bundle_free(bundle);
}

static void test_numbers_that_do_not_follow_each_other_are_told(void)
{
	struct vf_eventlog log;
	struct vf_call calls[3] = {{.number = 5, .function = &relax},
			{.number = 6, .function = &relax}, {.number = 2, .function = &relax}};
	struct vf_bundle *bundle = make(calls, 3);
	begin(&log);
	vf_eventlog_sent(&log, bundle);
	end(&log);
	struct vf_event_sent *sent = only(VF_EVENT_SENT);
	CHECK(sent->first_call == 5 && sent->n_calls == 3);
	CHECK(sent->event.nbytes == sizeof *sent + 3 * sizeof sent->numbers[0]);
	CHECK(sent->numbers[0] == 5 && sent->numbers[1] == 6 && sent->numbers[2] == 2);
	vf_bundle_free(bundle);
}

static void test_a_file_that_cannot_be_written_says_why(void)
{
	struct vf_eventlog log = {.file = vf_eventfile_open("/nowhere/events", 1 << 20)};
	CHECK(log.file && !VF_GET(&counters, event_log_errno));
	int64_t until_ms = vf_now_ms() + 10000;
	while (!VF_GET(&counters, event_log_errno)) {
		vf_eventlog_run(&log, "{}");
		vf_eventlog_turn(&log, &counters);
		CHECK(vf_now_ms() < until_ms);
		usleep(1000);
	}
	CHECK(VF_GET(&counters, event_log_errno) == ENOENT);
	vf_eventlog_close(&log, &counters);
}

int main(void)
{
	CHECK(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/events", directory);
	test_workers();
	test_calls();
	test_made_again();
	test_nothing_done();
	test_what_the_engine_says();
	test_many_failures();
	test_without_memory_or_a_file();
	test_numbers_that_do_not_follow_each_other_are_told();
	test_a_file_that_cannot_be_written_says_why();
	CHECK(!rmdir(directory));
	return 0;
}
