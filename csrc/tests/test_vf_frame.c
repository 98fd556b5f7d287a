/* Frames: what is packed can be read back by the rules of docs/architecture.md, encoding is free of
NUL bytes and reversible, and a broken result frame is refused. */

#include "vf_frame.h"

#include <stdint.h>
#include <string.h>

#include "check.h"
#include "faults.h"

static const struct vf_terms NO_TERMS = {0};

static uint32_t u32_at(const char *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static struct vf_function function_of(char mark, const char *body)
{
	struct vf_function function = {.body = body,
			.body_nbytes = (uint32_t)strlen(body),
			.mean_ns = -1,
			.limit = 1};
	memset(function.digest, mark, sizeof function.digest);
	return function;
}

static void test_pack(void)
{
	struct vf_function f = function_of('f', "body of f"), g = function_of('g', "g");
	struct vf_call calls[4] = {
			{.function = &f, .payload = "one", .nbytes = 3, .kind = VF_PAYLOAD_PICKLE},
			{.function = &g,
					.payload = "",
					.nbytes = 0,
					.kind = VF_PAYLOAD_NONE,
					.number = 1234567,
					.losses = 2},
			{.function = &f, .payload = "two!", .nbytes = 4, .kind = VF_PAYLOAD_PARSL},
			{.function = &g, .payload = "x", .nbytes = 1, .kind = VF_PAYLOAD_PICKLE},
	};
	struct vf_call *order[4] = {&calls[0], &calls[1], &calls[2], &calls[3]};
	struct vf_buffer frame = {0};

	g.delivered = 1;
	CHECK(vf_frame_pack(&frame, order, 4, &(struct vf_terms){50, 7, 1500, 1}, 1) == 0);
	const size_t bodies = VF_BUNDLE_HEADER_NBYTES + 2 * VF_BUNDLE_FUNCTION_NBYTES +
			4 * VF_BUNDLE_CALL_NBYTES;
	const size_t numbers = bodies + strlen("body of f") + strlen("onetwo!x");
	CHECK(frame.nbytes == numbers + 4 * VF_BUNDLE_NUMBER_NBYTES);
	CHECK(u32_at(frame.data + numbers + VF_BUNDLE_NUMBER_NBYTES) == 1234567 &&
			u32_at(frame.data + numbers + VF_BUNDLE_NUMBER_NBYTES + 4) == 2u << 24);
	CHECK(!memcmp(frame.data, "VFB1", 4));
	CHECK(u32_at(frame.data + 4) == 4 && u32_at(frame.data + 8) == 2 &&
			u32_at(frame.data + 12) == 50 && u32_at(frame.data + 16) == 7 &&
			u32_at(frame.data + 20) == 1500 && u32_at(frame.data + 24) == 1);
	const char *functions = frame.data + VF_BUNDLE_HEADER_NBYTES;
	CHECK(functions[0] == 'f' && u32_at(functions + 16) == strlen("body of f"));
	CHECK(functions[20] == 'g' && u32_at(functions + 36) == 0);
	const uint32_t index[4] = {0, 1, 0, 1};
	for (int i = 0; i < 4; i++) {
		const char *call = functions + 40 + i * VF_BUNDLE_CALL_NBYTES;
		CHECK(u32_at(call) == index[i] && u32_at(call + 4) == calls[i].nbytes &&
				u32_at(call + 8) == calls[i].kind);
	}
	CHECK(!memcmp(frame.data + bodies, "body of fonetwo!x", 17));

	/* A later call of a delivered function asks for the body. */
	f.delivered = 1;
	calls[3].with_body = 1;
	CHECK(vf_frame_pack(&frame, order, 4, &(struct vf_terms){50, 0, 0, 0}, 2) == 0);
	CHECK(u32_at(frame.data + 44) == 0 && u32_at(frame.data + 64) == 1);
	CHECK(!memcmp(frame.data + bodies, "gonetwo!x", 9));

	CHECK(vf_frame_pack(&frame, NULL, 0, &NO_TERMS, 3) == 0);
	CHECK(frame.nbytes == VF_BUNDLE_HEADER_NBYTES && u32_at(frame.data + 4) == 0);
	vf_buffer_free(&frame);
}

static void test_pack_aligned(void)
{
	struct vf_function f = function_of('f', "body of f");
	struct vf_call calls[3] = {
			{.function = &f, .payload = "one", .nbytes = 3, .kind = VF_PAYLOAD_PICKLE},
			{.function = &f,
					.payload = "two!",
					.nbytes = 4,
					.kind = VF_PAYLOAD_BUFFERS},
			{.function = &f,
					.payload = "three",
					.nbytes = 5,
					.kind = VF_PAYLOAD_BUFFERS},
	};
	struct vf_call *order[3] = {&calls[0], &calls[1], &calls[2]};
	struct vf_buffer frame = {0};
	CHECK(vf_frame_pack(&frame, order, 3, &(struct vf_terms){50, 0, 0, 0}, 1) == 0);
	const size_t bodies = VF_BUNDLE_HEADER_NBYTES + VF_BUNDLE_FUNCTION_NBYTES +
			3 * VF_BUNDLE_CALL_NBYTES;
	CHECK(bodies + 12 == 96);
	CHECK(!memcmp(frame.data + bodies, "body of fone\0\0", 14));
	CHECK(!memcmp(frame.data + 128, "two!\0\0", 6) && !memcmp(frame.data + 192, "three", 5));
	CHECK(frame.nbytes == 197 + 3 * VF_BUNDLE_NUMBER_NBYTES);
	vf_buffer_free(&frame);
}

static void check_reversible(const char *data, size_t nbytes)
{
	struct vf_buffer frame = {.data = (char *)data, .nbytes = nbytes}, encoded = {0};
	CHECK(vf_frame_encode(&encoded, &frame) == 0);
	CHECK(strlen(encoded.data) == encoded.nbytes);

	struct vf_buffer decoded = {0};
	CHECK(vf_frame_decode(&decoded, encoded.data) == 0);
	CHECK(decoded.nbytes == nbytes && (nbytes == 0 || !memcmp(decoded.data, data, nbytes)));
	vf_buffer_free(&decoded);
	vf_buffer_free(&encoded);
}

static void test_limit(void)
{
	struct vf_buffer command = {0}, other = {0};
	struct vf_buffer frame = {.data = (char *)"a\0b", .nbytes = 3};
	CHECK(!vf_frame_encode(&command, &frame));
	CHECK(!vf_frame_limit(&other, command.data, 100));
	CHECK(!strncmp(other.data, "M100 ", 5) && !strcmp(other.data + 5, command.data));
	CHECK(other.nbytes == strlen(other.data));
	CHECK(!vf_frame_limit(&command, command.data, 100));
	CHECK(!strcmp(other.data, command.data) && other.nbytes == command.nbytes);
	CHECK(!vf_frame_limit(&command, VF_COMMAND_IN_FILE, UINT64_MAX));
	CHECK(!strcmp(command.data, "M18446744073709551615 F"));
	vf_buffer_free(&command);
	vf_buffer_free(&other);

	/* One that has to grow. */
	char long_command[5000];
	memset(long_command, 'x', sizeof long_command - 1);
	long_command[sizeof long_command - 1] = 0;
	CHECK(!vf_frame_limit(&command, "", 1) && !strcmp(command.data, "M1 "));
	CHECK(!vf_frame_limit(&command, long_command, 2) && command.capacity > 5000);
	CHECK(!strncmp(command.data, "M2 x", 4) && !strcmp(command.data + 3, long_command));
	vf_buffer_free(&command);
	faults_begin(FAULTS_ALL);
	CHECK(vf_frame_limit(&command, "F", 1) && faults_end() == 1 && !command.data);
}

static void test_encode(void)
{
	static char data[1 << 16];
	check_reversible("", 0);
	check_reversible(data, 100); /* zeros only */
	for (int i = 0; i < 256; i++)
		data[i] = (char)i;
	check_reversible(data, 256); /* each value once: an escape is needed */
	uint32_t random = 12345;
	for (size_t i = 0; i < sizeof data; i++) {
		random = random * 1664525u + 1013904223u;
		data[i] = (char)(random >> 24);
	}
	check_reversible(data, sizeof data);

	struct vf_buffer decoded = {0};
	CHECK(vf_frame_decode(&decoded, "") != 0);
	CHECK(vf_frame_decode(&decoded, "I") != 0);
	CHECK(vf_frame_decode(&decoded, "Traceback (most recent call last):") != 0);
	CHECK(vf_frame_decode(&decoded,
			      "E\x03\x04"
			      "abc\x04") != 0); /* cut in an escape */
	CHECK(vf_frame_decode(&decoded, "E\x03\x04\x03\x04\x01\x04\x02") == 0);
	CHECK(decoded.nbytes == 3 && !memcmp(decoded.data, "\0\x03\x04", 3));
	vf_buffer_free(&decoded);
}

static void test_result(void)
{
	char frame[72 + 16 + 5 + 16 + 3];
	memset(frame, 0, sizeof frame);
	memcpy(frame, "VFR1", 4);
	frame[4] = 2;
	frame[8] = sizeof frame;
	frame[72] = VF_STATUS_PICKLE;
	frame[76] = 5;
	frame[80] = 7;
	frame[40] = 3;
	frame[44] = 4;
	frame[48] = 1;
	frame[52] = 2;
	frame[56] = 6;
	frame[60] = 8;
	frame[64] = 3;
	memcpy(frame + 88, "hello", 5);
	struct vf_result_header header;
	struct vf_record record;
	uint64_t offset = VF_RESULT_HEADER_NBYTES;

	CHECK(vf_result_open(frame, sizeof frame, &header) == 0);
	CHECK(header.n_records == 2 && header.nbytes == sizeof frame && header.slots == 3);
	CHECK(header.has.cores == 4 && header.has.memory == 1 && header.has.disk == 2 &&
			header.has.gpus == 6);
	CHECK(vf_result_next(frame, &header, &offset, &record) == 0);
	CHECK(record.status == VF_STATUS_PICKLE && record.nbytes == 5 && record.duration_ns == 7 &&
			!memcmp(record.payload, "hello", 5));
	CHECK(vf_result_next(frame, &header, &offset, &record) == 0);
	CHECK(record.status == VF_STATUS_NONE && record.nbytes == 0);
	CHECK(vf_result_next(frame, &header, &offset, &record) != 0); /* one more than there is */
	CHECK(header.replaced == 8 && header.end == sizeof frame - 3 && offset == header.end);
	CHECK(!header.output_dropped);
	uint32_t output_nbytes = sizeof frame - 72 + 1; /* longer than what there is */
	memcpy(frame + 64, &output_nbytes, sizeof output_nbytes);
	CHECK(vf_result_open(frame, sizeof frame, &header) != 0);
	output_nbytes = VF_OUTPUT_DROPPED;
	memcpy(frame + 64, &output_nbytes, sizeof output_nbytes);
	CHECK(vf_result_open(frame, sizeof frame, &header) == 0 && header.output_dropped);
	CHECK(header.end == sizeof frame);
	memcpy(frame + 64, "\3\0\0", 4);

	CHECK(vf_result_open(frame, sizeof frame - 1, &header) != 0); /* cut short */
	CHECK(vf_result_open(NULL, 100, &header) != 0);
	frame[76] = 100; /* a record longer than its frame */
	offset = VF_RESULT_HEADER_NBYTES;
	CHECK(vf_result_open(frame, sizeof frame, &header) == 0);
	CHECK(vf_result_next(frame, &header, &offset, &record) != 0);
	frame[0] = 'X';
	CHECK(vf_result_open(frame, sizeof frame, &header) != 0);
}

/* A frame that there is no memory for is none, and the buffer is as it was. */
static void test_short_memory(void)
{
	struct vf_function f = function_of('f', "body of f");
	struct vf_call call = {.function = &f, .payload = "one", .nbytes = 3};
	struct vf_call *order[] = {&call};
	struct vf_buffer frame = {0}, text = {0}, back = {0};
	for (int n = 0; n < 2; n++) {
		faults_begin(FAULTS_ALL);
		CHECK(vf_frame_pack(&frame, order, 1, &NO_TERMS, 200) && faults_end() == 1);
		CHECK(!frame.data && !frame.capacity);
		CHECK(!vf_frame_pack(&frame, order, 1, &NO_TERMS, 201));
		size_t nbytes = frame.nbytes;
		faults_begin(FAULTS_ALL);
		CHECK(vf_frame_encode(&text, &frame) && faults_end() == 1 && !text.data);
		CHECK(!vf_frame_encode(&text, &frame));
		faults_begin(FAULTS_ALL);
		CHECK(vf_frame_decode(&back, text.data) && faults_end() == 1 && !back.data);
		CHECK(!vf_frame_decode(&back, text.data));
		CHECK(back.nbytes == nbytes && !memcmp(back.data, frame.data, nbytes));

		/* What is there stays where it is when more is wanted. */
		char *before = back.data;
		faults_begin(FAULTS_ALL);
		CHECK(vf_buffer_reserve(&back, 2 * back.capacity) && faults_end() == 1);
		CHECK(back.data == before && !memcmp(back.data, frame.data, nbytes));
		vf_buffer_free(&frame);
		vf_buffer_free(&text);
		vf_buffer_free(&back);
	}
}

int main(void)
{
	test_pack();
	test_pack_aligned();
	test_limit();
	test_encode();
	test_result();
	test_short_memory();
	/* Memory for a huge frame is given back once none has needed it for a while; what an
	ordinary one needs stays. */
	struct vf_buffer large = {0};
	struct vf_function one = {.body = "f", .body_nbytes = 1};
	static char payload[16 << 20];
	struct vf_call huge = {.function = &one, .payload = payload, .nbytes = sizeof payload};
	struct vf_call *only[] = {&huge};
	CHECK(!vf_frame_pack(&large, only, 1, &NO_TERMS, 100) && large.capacity >= sizeof payload);
	vf_buffer_trim(&large);
	CHECK(large.capacity >= sizeof payload);
	huge.nbytes = 100;
	CHECK(!vf_frame_pack(&large, only, 1, &NO_TERMS, 101));
	vf_buffer_trim(&large);
	CHECK(!large.data && !large.capacity);
	CHECK(!vf_frame_pack(&large, only, 1, &NO_TERMS, 102));
	vf_buffer_trim(&large);
	vf_buffer_trim(&large);
	CHECK(large.capacity);
	vf_buffer_free(&large);
	return 0;
}
