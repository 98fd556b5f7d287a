/* Whatever a worker answers to a bundle, each of its calls ends once or waits again, with the
record that is its own; and what cannot be believed changes nothing.

The first byte is the number of calls, the second says how the others came: as they are, or as a
frame that a library has encoded, or as one that came by itself. */

#include "vf_return.c"

#include "fuzz.h"
#include "vf_done.h"
#include "vf_loop.h"
#include "vf_queue.h"

enum {
	CALLS_MAX = 8,
	LONG_NBYTES = VF_INLINE_NBYTES + 8, /* of an output that comes by itself */
	AWAY_NS = 5000,
};

enum form {
	AS_IT_IS,
	ENCODED,
	LONG,
	N_FORMS,
};

static struct vf_loop loop;
static struct vf_function functions[2];
static struct vf_group group;
static struct vf_spec spec;
static struct vf_call calls[CALLS_MAX];
static int n_ended[CALLS_MAX], n_waiting[CALLS_MAX];

static void begin(uint32_t n_calls)
{
	static int is_begun;
	if (!is_begun++)
		CHECK(!vf_loop_init(&loop));
	loop.config.max_losses = 3;
	group = (struct vf_group){0};
	spec = (struct vf_spec){.group = &group};
	for (size_t i = 0; i < 2; i++)
		functions[i] = (struct vf_function){.mean_ns = -1, .limit = 1};
	for (uint32_t i = 0; i < n_calls; i++) {
		calls[i] = (struct vf_call){.function = &functions[i / 2 % 2],
				.spec = &spec,
				.number = i,
				.submitted_ns = 1};
		atomic_store(&calls[i].state, VF_CALL_SENT);
		n_ended[i] = n_waiting[i] = 0;
	}
}

/* The output as TaskVine would have received it. */
static char *output_of(const struct fuzz_input *input, enum form form)
{
	if (form == ENCODED) {
		struct vf_buffer encoded = {0};
		struct vf_buffer frame = {.data = (char *)input->data, .nbytes = input->nbytes};
		CHECK(!vf_frame_encode(&encoded, &frame));
		char *output = malloc(encoded.nbytes + 1);
		CHECK(output);
		memcpy(output, encoded.data, encoded.nbytes + 1);
		vf_buffer_free(&encoded);
		return output;
	}
	size_t received = input->nbytes;
	if (form == LONG && received < LONG_NBYTES)
		received = LONG_NBYTES;
	char *output = malloc(received + 1);
	CHECK(output);
	memset(output, 0, received + 1);
	if (input->nbytes)
		memcpy(output, input->data, input->nbytes);
	return output;
}

static void count_waiting(void)
{
	struct vf_group *taken;
	while ((taken = vf_queue_take(&loop.waiting.queue))) {
		struct vf_spec *first = vf_queue_first(taken);
		struct vf_call *call = vf_call_list_pop(&first->waiting);
		CHECK(atomic_load(&call->state) == VF_CALL_QUEUED);
		n_waiting[call->number]++;
		vf_queue_next(&loop.waiting.queue, taken, 1);
		vf_queue_put(&loop.waiting.queue, taken);
	}
	loop.waiting.n = 0;
}

static uint64_t number_at(const char *at, size_t nbytes)
{
	uint64_t number = 0;
	memcpy(&number, at, nbytes);
	return number;
}

/* The records of a frame that was taken, read apart from the code. */
static void check_outcomes(const struct vf_bundle *bundle)
{
	const char *at = bundle->frame + VF_RESULT_HEADER_NBYTES;
	uint64_t n_records = number_at(bundle->frame + 4, 4);
	uint64_t frame_nbytes = number_at(bundle->frame + 8, 8);
	uint64_t end = bundle->output_at ? bundle->output_at : frame_nbytes;
	uint32_t n = 0;
	CHECK(!memcmp(bundle->frame, "VFR1", 4));
	CHECK(frame_nbytes <= bundle->frame_nbytes && end <= frame_nbytes);
	for (uint32_t i = 0; i < n_records && i < bundle->n_calls; i++) {
		uint32_t status = (uint32_t)number_at(at, 4);
		uint32_t nbytes = (uint32_t)number_at(at + 4, 4);
		if (status != VF_STATUS_UNKNOWN_FUNCTION && status != VF_STATUS_INPUT_SPOILED) {
			CHECK(n < bundle->n_outcomes);
			const struct vf_outcome *outcome = &bundle->outcomes[n++];
			CHECK(outcome->call == &calls[i]);
			CHECK(outcome->record.status == status && outcome->record.nbytes == nbytes);
			CHECK(outcome->record.payload == at + VF_RESULT_RECORD_NBYTES);
			CHECK(status <= VF_STATUS_TIMED_OUT && status != VF_STATUS_ENGINE);
		}
		at += VF_RESULT_RECORD_NBYTES + nbytes;
	}
	CHECK(n == bundle->n_outcomes);
	if (bundle->n_calls)
		CHECK((size_t)(at - bundle->frame) == end);
}

static void take_done(void)
{
	vf_done_over(&loop.done);
	struct vf_bundle *bundle = vf_done_take_within(&loop.done, 0);
	while (bundle) {
		struct vf_bundle *next = (struct vf_bundle *)bundle->link.next;
		for (uint32_t i = 0; i < bundle->n_outcomes; i++) {
			const struct vf_record *record = &bundle->outcomes[i].record;
			n_ended[bundle->outcomes[i].call->number]++;
			/* All of it is there to be read. */
			for (uint32_t k = 0; k < record->nbytes; k++)
				(void)*(volatile const char *)(record->payload + k);
		}
		if (!bundle->engine_result && bundle->news == VF_NODE_NONE)
			check_outcomes(bundle);
		vf_bundle_free(bundle);
		bundle = next;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
	struct fuzz_input input = {data, nbytes};
	uint32_t n_calls = fuzz_choice(&input, CALLS_MAX);
	enum form form = fuzz_choice(&input, N_FORMS);
	begin(n_calls);
	struct vf_call *sent[CALLS_MAX];
	for (uint32_t i = 0; i < n_calls; i++)
		sent[i] = &calls[i];
	struct vf_bundle *bundle = vf_bundle_create(n_calls, sent);
	struct vf_worker worker = {0};
	CHECK(bundle);
	bundle->task = vine_task_create(":");
	bundle->sent_ns = 1;
	bundle->returned_ns = 1 + AWAY_NS;
	struct vine_task *task = bundle->task;
	char *output = output_of(&input, form);
	size_t received = vf_output_nbytes(output);
	struct vf_result_header header;
	if (!open_frame(bundle, output, &header) && !read_frame(&loop.returns, bundle, &header)) {
		CHECK(bundle->frame != output || bundle->frame_nbytes <= received);
		if (bundle->frame != output)
			free(output);
		return_answered(&loop.returns, bundle, &header, &worker);
		vf_end_bundle(&loop.end, bundle);
	} else {
		CHECK(!bundle->n_outcomes && !loop.waiting.n);
		if (bundle->frame != output)
			free(bundle->frame);
		bundle->frame = NULL;
		char text[TEXT_NBYTES];
		describe_bad_frame(text, task, output);
		free(output);
		return_lost(&loop.returns, bundle, VINE_RESULT_UNKNOWN, text);
	}
	vine_task_delete(task);
	for (size_t i = 0; i < 2; i++) /* no more is believed than can be */
		CHECK(functions[i].mean_ns <= AWAY_NS);
	count_waiting();
	take_done();
	for (uint32_t i = 0; i < n_calls; i++)
		CHECK(n_ended[i] + n_waiting[i] == 1);
	free(worker.node);
	return 0;
}
