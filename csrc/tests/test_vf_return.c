/* What a worker has answered is not believed: under the address sanitizer, a byte that is read
beyond what TaskVine has received ends this test. */

#include "vf_return.c"

#include "check.h"
#include "vf_loop.h"

enum {
	N_BODY = 2000,
	N_FRAME = VF_RESULT_HEADER_NBYTES + VF_RESULT_RECORD_NBYTES + N_BODY,
};

static struct vf_loop loop;
static struct vf_function function = {.mean_ns = -1, .limit = 1};
static struct vf_call call;

static void put(char *at, uint64_t value, size_t nbytes)
{
	memcpy(at, &value, nbytes);
}

/* An output as TaskVine has received it: a frame with one record, which it need not be as long as
it says. */
static char *output_of(size_t received, uint64_t nbytes, uint32_t n_records, uint32_t record_nbytes)
{
	char *output = malloc(received + 1);
	char frame[N_FRAME] = "VFR1";
	CHECK(output);
	put(frame + 4, n_records, 4);
	put(frame + 8, nbytes, 8);
	put(frame + VF_RESULT_HEADER_NBYTES, VF_STATUS_PICKLE, 4);
	put(frame + VF_RESULT_HEADER_NBYTES + 4, record_nbytes, 4);
	put(frame + VF_RESULT_HEADER_NBYTES + 8, UINT64_MAX, 8); /* a duration */
	memset(output, 1, received);
	memcpy(output, frame, received < sizeof frame ? received : sizeof frame);
	output[received] = 0;
	return output;
}

/* Whether an output is a frame that can be opened, and its record be read. */
static int is_accepted(char *output)
{
	struct vf_call *calls = &call;
	struct vf_bundle *bundle = vf_bundle_create(1, &calls);
	struct vf_result_header header;
	CHECK(bundle);
	bundle->task = vine_task_create(":");
	bundle->returned_ns = 5000;
	int accepted = open_frame(bundle, output, &header) == 0 &&
			read_frame(&loop.returns, bundle, &header) == 0;
	if (accepted) {
		CHECK(bundle->n_outcomes == 1);
		const struct vf_record *record = &bundle->outcomes[0].record;
		CHECK(record->payload >= output);
		CHECK(record->payload + record->nbytes <= output + vf_output_nbytes(output));
	} else {
		CHECK(bundle->n_outcomes == 0);
	}
	if (bundle->frame != output)
		free(output);
	vine_task_delete(bundle->task);
	vf_bundle_free(bundle);
	return accepted;
}

static void test_lengths(void)
{
	CHECK(is_accepted(output_of(N_FRAME, N_FRAME, 1, N_BODY)));
	CHECK(function.mean_ns == 5000); /* no longer than the bundle was away */
	CHECK(is_accepted(output_of(N_FRAME + 100, N_FRAME, 1, N_BODY)));

	/* The frame. */
	CHECK(!is_accepted(output_of(N_FRAME, N_FRAME + 1, 1, N_BODY + 1)));
	CHECK(!is_accepted(output_of(N_FRAME - 1, N_FRAME, 1, N_BODY)));
	CHECK(!is_accepted(output_of(N_FRAME, UINT64_MAX, 1, N_BODY)));
	CHECK(!is_accepted(output_of(N_FRAME, UINT64_C(1) << 40, 1, UINT32_MAX)));
	CHECK(!is_accepted(output_of(N_FRAME, 63, 1, N_BODY)));
	CHECK(!is_accepted(output_of(N_FRAME, 0, 1, N_BODY)));

	/* Its records. */
	CHECK(!is_accepted(output_of(N_FRAME, N_FRAME, 2, N_BODY)));
	CHECK(!is_accepted(output_of(N_FRAME, N_FRAME, 1, N_BODY + 1)));
	CHECK(!is_accepted(output_of(N_FRAME, N_FRAME, 1, UINT32_MAX)));
	CHECK(!is_accepted(output_of(N_FRAME, VF_RESULT_HEADER_NBYTES + 8, 1, 0)));

	/* One that is too short not to be encoded: TaskVine has no length for it but that of a C
	string. */
	for (size_t received = 4; received < 1024; received++)
		CHECK(!is_accepted(output_of(received, N_FRAME, 1, N_BODY)));
}

static void test_what_is_no_frame(void)
{
	static const char *const outputs[] = {"", "I", "I\xff", "E\xff", "E\xff\xfe",
			"E\xff\xfe\xfe", "Traceback", "VFR1", "VF"};
	for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++)
		CHECK(!is_accepted(strdup(outputs[i])));
}

int main(void)
{
	CHECK(vf_loop_init(&loop) == 0);
	call.function = &function;
	test_lengths();
	test_what_is_no_frame();
	vf_loop_free(&loop);
	return 0;
}
