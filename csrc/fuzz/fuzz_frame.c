/* What goes out as a bundle says the same to whoever reads it by docs/architecture.md; encoding it
for TaskVine leaves no byte 0 and loses nothing; and whatever has to be decoded is refused, or is
what its encoding decodes to again. */

#include "vf_frame.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum {
	CALLS_MAX = 9,
	FUNCTIONS_MAX = 4,
};

static uint32_t number_at(const char *at)
{
	uint32_t number;
	memcpy(&number, at, sizeof number);
	return number;
}

static const char *take(struct fuzz_input *input, uint32_t *nbytes)
{
	uint32_t wanted = fuzz_choice(input, 256);
	const char *data = (const char *)input->data;
	*nbytes = wanted < input->nbytes ? wanted : (uint32_t)input->nbytes;
	input->data += *nbytes;
	input->nbytes -= *nbytes;
	return data;
}

static int is_same(const char *at, const char *data, size_t nbytes)
{
	return !nbytes || !memcmp(at, data, nbytes);
}

/* A bundle, read apart from the code. */
static void check_frame(const struct vf_buffer *frame, const struct vf_call *calls,
		uint32_t n_calls, const struct vf_terms *terms, const struct vf_function *functions,
		const int *was_delivered)
{
	const char *at = frame->data + VF_BUNDLE_HEADER_NBYTES;
	uint32_t n_functions = number_at(frame->data + 8);
	CHECK(!memcmp(frame->data, "VFB1", 4) && number_at(frame->data + 4) == n_calls);
	CHECK(number_at(frame->data + 12) == terms->slice_ms);
	CHECK(number_at(frame->data + 16) == terms->cores);
	CHECK(number_at(frame->data + 20) == terms->limit_ms);
	CHECK(number_at(frame->data + 24) == terms->flags && n_functions <= FUNCTIONS_MAX);
	const char *call = at + (size_t)n_functions * VF_BUNDLE_FUNCTION_NBYTES;
	const char *body = call + (size_t)n_calls * VF_BUNDLE_CALL_NBYTES;
	int is_carried[FUNCTIONS_MAX] = {0}, of[FUNCTIONS_MAX];
	for (uint32_t i = 0; i < n_functions; i++, at += VF_BUNDLE_FUNCTION_NBYTES) {
		int k = of[i] = at[0];
		CHECK(k >= 0 && k < FUNCTIONS_MAX);
		CHECK(!memcmp(at, functions[k].digest, VF_DIGEST_NBYTES));
		uint32_t nbytes = number_at(at + VF_DIGEST_NBYTES);
		is_carried[k] = nbytes != 0;
		CHECK(!nbytes || nbytes == functions[k].body_nbytes);
		CHECK(is_same(body, functions[k].body, nbytes));
		body += nbytes;
	}
	for (uint32_t i = 0; i < n_calls; i++, call += VF_BUNDLE_CALL_NBYTES) {
		const struct vf_call *sent = &calls[i];
		CHECK(number_at(call) < n_functions);
		int k = of[number_at(call)];
		CHECK(sent->function == &functions[k]);
		if (!was_delivered[k] || sent->with_body)
			CHECK(is_carried[k] || !functions[k].body_nbytes);
		CHECK(number_at(call + 4) == sent->nbytes && number_at(call + 8) == sent->kind);
		while (vf_payload_has_buffers(sent->kind) &&
				(size_t)(body - frame->data) % VF_ALIGNMENT)
			CHECK(*body++ == 0);
		CHECK(is_same(body, sent->payload, sent->nbytes));
		body += sent->nbytes;
	}
	for (uint32_t i = 0; i < n_calls; i++, body += VF_BUNDLE_NUMBER_NBYTES) {
		uint64_t number;
		memcpy(&number, body, sizeof number);
		CHECK(number >> VF_LOSSES_SHIFT == calls[i].losses);
		CHECK((number & ((UINT64_C(1) << VF_LOSSES_SHIFT) - 1)) == calls[i].number);
	}
	CHECK(body == frame->data + frame->nbytes);
}

static void check_encoding(const struct vf_buffer *frame, uint64_t memory_mb)
{
	struct vf_buffer encoded = {0}, decoded = {0};
	CHECK(!vf_frame_encode(&encoded, frame) && strlen(encoded.data) == encoded.nbytes);
	CHECK(!vf_frame_decode(&decoded, encoded.data) && decoded.nbytes == frame->nbytes);
	CHECK(is_same(decoded.data, frame->data, frame->nbytes));
	CHECK(!vf_frame_limit(&encoded, encoded.data, memory_mb));
	char *end;
	CHECK(*encoded.data == *VF_COMMAND_LIMITED);
	CHECK(strtoull(encoded.data + 1, &end, 10) == memory_mb && *end == ' ');
	CHECK(!vf_frame_decode(&decoded, end + 1) && decoded.nbytes == frame->nbytes);
	CHECK(is_same(decoded.data, frame->data, frame->nbytes));
	vf_buffer_free(&encoded);
	vf_buffer_free(&decoded);
}

static void pack(struct fuzz_input input)
{
	static uint64_t stamp;
	static const uint8_t kinds[] = {VF_PAYLOAD_NONE, VF_PAYLOAD_PICKLE, VF_PAYLOAD_PARSL,
			VF_PAYLOAD_BUFFERS, VF_PAYLOAD_BUFFERS + VF_PAYLOAD_CHUNK,
			VF_PAYLOAD_BUFFERS + VF_PAYLOAD_FILES,
			VF_PAYLOAD_PICKLE + VF_PAYLOAD_FILES};
	struct vf_function functions[FUNCTIONS_MAX];
	int was_delivered[FUNCTIONS_MAX];
	struct vf_call calls[CALLS_MAX], *order[CALLS_MAX];
	uint32_t n_calls = fuzz_choice(&input, CALLS_MAX + 1);
	struct vf_terms terms = {fuzz_choice(&input, 256) << 24, fuzz_choice(&input, 256),
			fuzz_choice(&input, 256) << 8, fuzz_choice(&input, 2)};
	for (int k = 0; k < FUNCTIONS_MAX; k++) {
		functions[k] = (struct vf_function){0};
		memset(functions[k].digest, k, sizeof functions[k].digest);
		functions[k].body = take(&input, &functions[k].body_nbytes);
		functions[k].delivered = was_delivered[k] = (int)fuzz_choice(&input, 2);
	}
	for (uint32_t i = 0; i < n_calls; i++) {
		order[i] = &calls[i];
		calls[i] = (struct vf_call){
				.function = &functions[fuzz_choice(&input, FUNCTIONS_MAX)],
				.kind = kinds[fuzz_choice(&input, sizeof kinds)],
				.with_body = (uint8_t)fuzz_choice(&input, 2),
				.losses = (uint8_t)fuzz_choice(&input, 256),
				.number = (uint64_t)fuzz_choice(&input, 256) << 48};
		calls[i].payload = take(&input, &calls[i].nbytes);
	}
	struct vf_buffer frame = {0};
	CHECK(!vf_frame_pack(&frame, order, n_calls, &terms, ++stamp));
	check_frame(&frame, calls, n_calls, &terms, functions, was_delivered);
	check_encoding(&frame, stamp << fuzz_choice(&input, 40));
	vf_buffer_free(&frame);
}

/* What somebody else has encoded, or has not. */
static void decode(const struct fuzz_input *input)
{
	struct vf_buffer decoded = {0};
	char *text = malloc(input->nbytes + 1);
	CHECK(text);
	memcpy(text, input->nbytes ? (const void *)input->data : "", input->nbytes);
	text[input->nbytes] = 0;
	if (!vf_frame_decode(&decoded, text)) {
		CHECK(decoded.nbytes <= strlen(text));
		check_encoding(&decoded, 1);
	}
	vf_buffer_free(&decoded);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
	struct fuzz_input input = {data, nbytes};
	struct vf_buffer frame = {.data = (char *)data, .nbytes = nbytes};
	pack(input);
	decode(&input);
	check_encoding(&frame, 1);
	return 0;
}
