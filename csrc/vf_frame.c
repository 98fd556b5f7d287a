#include "vf_frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vinefast's frames are written in the host's byte order, which must be little-endian"
#endif

static char *put_u32(char *at, uint32_t value)
{
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static char *put_u64(char *at, uint64_t value)
{
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static uint32_t get_u32(const char *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static uint64_t get_u64(const char *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

/* Fill up with zeros to where a payload with buffers may begin. */
static char *align(const char *frame, char *at)
{
	while ((at - frame) % VF_ALIGNMENT)
		*at++ = 0;
	return at;
}

int vf_frame_pack(struct vf_buffer *out, struct vf_call *const *calls, uint32_t n_calls,
		const struct vf_terms *terms, uint64_t stamp)
{
	uint32_t n_functions = 0;
	size_t bodies = 0, payloads = 0, numbers = (size_t)n_calls * VF_BUNDLE_NUMBER_NBYTES;
	struct vf_function *last = NULL;

	/* A function that bundles need not carry is still carried when one of its calls asks for
	it. The stamp is doubled so that its lowest bit can say "carried" during this pass. */
	for (uint32_t i = 0; i < n_calls; i++) {
		struct vf_function *function = calls[i]->function;
		payloads += calls[i]->nbytes +
				(vf_payload_has_buffers(calls[i]->kind) ? VF_ALIGNMENT : 0);
		if (function == last && !calls[i]->with_body)
			continue;
		last = function;
		if (function->bundle_stamp >> 1 != stamp) {
			int carried = !function->delivered;
			function->bundle_stamp = stamp << 1 | carried;
			function->bundle_index = n_functions++;
			if (carried)
				bodies += function->body_nbytes;
		}
		if (calls[i]->with_body && !(function->bundle_stamp & 1)) {
			function->bundle_stamp |= 1;
			bodies += function->body_nbytes;
		}
	}

	size_t tables = VF_BUNDLE_HEADER_NBYTES + (size_t)n_functions * VF_BUNDLE_FUNCTION_NBYTES +
			(size_t)n_calls * VF_BUNDLE_CALL_NBYTES;
	out->nbytes = 0;
	if (vf_buffer_reserve(out, tables + bodies + payloads + numbers))
		return -1;

	char *at = out->data;
	memcpy(at, VF_BUNDLE_MAGIC, 4);
	at = put_u32(at + 4, n_calls);
	at = put_u32(at, n_functions);
	at = put_u32(at, terms->slice_ms);
	at = put_u32(at, terms->cores);
	at = put_u32(at, terms->limit_ms);
	at = put_u32(at, terms->flags);

	char *call_at = at + (size_t)n_functions * VF_BUNDLE_FUNCTION_NBYTES;
	char *body_at = out->data + tables;
	char *payload_at = body_at + bodies;
	uint32_t written = 0;
	for (uint32_t i = 0; i < n_calls; i++) {
		struct vf_function *function = calls[i]->function;
		if (function->bundle_index == written && written < n_functions) {
			int carried = function->bundle_stamp & 1;
			memcpy(at, function->digest, VF_DIGEST_NBYTES);
			at = put_u32(at + VF_DIGEST_NBYTES, carried ? function->body_nbytes : 0);
			if (carried) {
				memcpy(body_at, function->body, function->body_nbytes);
				body_at += function->body_nbytes;
			}
			written++;
		}
		call_at = put_u32(call_at, function->bundle_index);
		call_at = put_u32(call_at, calls[i]->nbytes);
		call_at = put_u32(call_at, calls[i]->kind);
		if (vf_payload_has_buffers(calls[i]->kind))
			payload_at = align(out->data, payload_at);
		if (calls[i]->nbytes) {
			memcpy(payload_at, calls[i]->payload, calls[i]->nbytes);
			payload_at += calls[i]->nbytes;
		}
	}
	for (uint32_t i = 0; i < n_calls; i++)
		payload_at = put_u64(payload_at,
				calls[i]->number | (uint64_t)calls[i]->losses << VF_LOSSES_SHIFT);
	out->nbytes = (size_t)(payload_at - out->data);
	return 0;
}

/* The two byte values that occur least; neither is 0, and neither is one of the codes behind an
escape. */
static void rarest_two(const uint64_t counts[256], int *first, int *second)
{
	int a = 3, b = 4;
	if (counts[b] < counts[a]) {
		a = 4;
		b = 3;
	}
	for (int value = 5; value < 256; value++) {
		if (counts[value] < counts[a]) {
			b = a;
			a = value;
		} else if (counts[value] < counts[b]) {
			b = value;
		}
	}
	*first = a;
	*second = b;
}

int vf_frame_encode(struct vf_buffer *out, const struct vf_buffer *frame)
{
	/* Zeros are the most frequent byte of small pickles, so they are exchanged for a value that
	is rare or absent, at no cost in length; only that value itself, and the escape, take two
	bytes. */
	uint64_t counts[256] = {0};
	for (size_t i = 0; i < frame->nbytes; i++)
		counts[(unsigned char)frame->data[i]]++;
	int zero, escape;
	rarest_two(counts, &zero, &escape);

	int escaped = counts[zero] != 0;
	size_t header = escaped ? 3 : 2;
	out->nbytes = 0;
	if (vf_buffer_reserve(out,
			    header + frame->nbytes + (escaped ? counts[zero] + counts[escape] : 0) +
					    1))
		return -1;

	char *at = out->data;
	*at++ = escaped ? VF_ENCODING_ESCAPED : VF_ENCODING_PLAIN;
	*at++ = (char)zero;
	if (escaped)
		*at++ = (char)escape;
	for (size_t i = 0; i < frame->nbytes; i++) {
		unsigned char value = (unsigned char)frame->data[i];
		if (value == 0) {
			*at++ = (char)zero;
		} else if (escaped && value == zero) {
			*at++ = (char)escape;
			*at++ = VF_ESCAPED_ZERO;
		} else if (escaped && value == escape) {
			*at++ = (char)escape;
			*at++ = VF_ESCAPED_ESCAPE;
		} else {
			*at++ = (char)value;
		}
	}
	out->nbytes = (size_t)(at - out->data);
	*at = 0;
	return 0;
}

int vf_frame_limit(struct vf_buffer *out, const char *command, uint64_t memory_mb)
{
	char words[32];
	size_t nbytes = (size_t)snprintf(
			words, sizeof words, VF_COMMAND_LIMITED "%" PRIu64 " ", memory_mb);
	size_t command_nbytes = strlen(command);
	int is_own = command == out->data;
	if (vf_buffer_reserve(out, nbytes + command_nbytes + 1))
		return -1;
	memmove(out->data + nbytes, is_own ? out->data : command, command_nbytes + 1);
	memcpy(out->data, words, nbytes);
	out->nbytes = nbytes + command_nbytes;
	return 0;
}

int vf_frame_decode(struct vf_buffer *out, const char *encoded)
{
	int escaped = encoded[0] == VF_ENCODING_ESCAPED;
	if ((!escaped && encoded[0] != VF_ENCODING_PLAIN) || !encoded[1] ||
			(escaped && !encoded[2]))
		return -1;
	char zero = encoded[1], escape = encoded[2];
	const char *from = encoded + (escaped ? 3 : 2);
	out->nbytes = 0;
	if (vf_buffer_reserve(out, strlen(from) + 1))
		return -1;
	char *at = out->data;
	for (; *from; from++) {
		if (escaped && *from == escape) {
			from++;
			if (*from != VF_ESCAPED_ZERO && *from != VF_ESCAPED_ESCAPE)
				return -1;
			*at++ = *from == VF_ESCAPED_ZERO ? zero : escape;
		} else {
			*at++ = *from == zero ? 0 : *from;
		}
	}
	out->nbytes = (size_t)(at - out->data);
	return 0;
}

int vf_result_open(const char *frame, size_t available, struct vf_result_header *header)
{
	if (!frame || available < VF_RESULT_HEADER_NBYTES || memcmp(frame, VF_RESULT_MAGIC, 4))
		return -1;
	header->n_records = get_u32(frame + 4);
	header->nbytes = get_u64(frame + 8);
	header->wait_ns = get_u64(frame + 16);
	header->run_ns = get_u64(frame + 24);
	header->slot = get_u32(frame + 32);
	header->pid = get_u32(frame + 36);
	header->slots = get_u32(frame + 40);
	header->has = (struct vf_resources){get_u32(frame + 44), get_u32(frame + 48),
			get_u32(frame + 52), get_u32(frame + 56)};
	header->replaced = get_u32(frame + 60);
	uint32_t output_nbytes = get_u32(frame + 64);
	header->output_dropped = output_nbytes == VF_OUTPUT_DROPPED;
	if (header->output_dropped)
		output_nbytes = 0;
	if (header->nbytes > available ||
			header->nbytes < (uint64_t)VF_RESULT_HEADER_NBYTES + output_nbytes)
		return -1;
	header->end = header->nbytes - output_nbytes;
	return 0;
}

int vf_result_next(const char *frame, const struct vf_result_header *header, uint64_t *offset,
		struct vf_record *record)
{
	if (header->end - *offset < VF_RESULT_RECORD_NBYTES)
		return -1;
	const char *at = frame + *offset;
	record->status = get_u32(at);
	record->nbytes = get_u32(at + 4);
	record->duration_ns = get_u64(at + 8);
	record->payload = at + VF_RESULT_RECORD_NBYTES;
	*offset += VF_RESULT_RECORD_NBYTES;
	if (header->end - *offset < record->nbytes)
		return -1;
	*offset += record->nbytes;
	return 0;
}
