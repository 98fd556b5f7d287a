/* Whatever line a worker says, TaskVine reads nothing from one that it may read which is more than
there is room for. The numbers are read here as TaskVine's sources read them, which has 32 bits for
some of them; a whole stream of lines is heard by fuzz_worker.c. */

#include "vf_line.h"

#include <stdio.h>
#include <string.h>

#include "debug.h"
#include "fuzz.h"

enum {
	HOST_NBYTES = 256,
	REASON_MAX = 64 << 20,
	LINK_MAX = 4096,
	PORT_MAX = 65535,
};

static const long long AMOUNT_MAX = 1LL << 50;

static int is_within(long long amount, long long most)
{
	return amount >= 0 && amount <= most;
}

/* Each message that a length or a place depends on. */
static void check_sound(const char *line)
{
	char name[VINE_LINE_MAX], other[VINE_LINE_MAX];
	int number = 0, type, level;
	long long amount = 0, ignored;
	if (sscanf(line, "cache-invalid %s %d", name, &number) == 2)
		CHECK(is_within(number, REASON_MAX));
	if (sscanf(line, "cache-update %s %d %d %lld", name, &type, &level, &amount) == 4)
		CHECK(is_within(amount, AMOUNT_MAX));
	if (sscanf(line, "transfer-hostport %s %d", name, &number) == 2)
		CHECK(strlen(name) < HOST_NBYTES && is_within(number, PORT_MAX));
	if (sscanf(line, "transfer-port %d", &number) == 1)
		CHECK(is_within(number, PORT_MAX));
	if (sscanf(line, "taskvine %d %s", &number, other) >= 1)
		CHECK(number == VINE_PROTOCOL);
	if (sscanf(line, "stdout %lld %lld", &ignored, &amount) == 2)
		CHECK(is_within(amount, AMOUNT_MAX));
	if (sscanf(line, "file %s %lld", name, &amount) == 2)
		CHECK(is_within(amount, AMOUNT_MAX));
	if (sscanf(line, "symlink %s %lld", name, &amount) == 2)
		CHECK(is_within(amount, LINK_MAX));
}

static void check_amount(const char *line)
{
	char name[VINE_LINE_MAX];
	long long amount;
	CHECK(sscanf(line, "%s %lld", name, &amount) == 2);
	CHECK(amount >= -AMOUNT_MAX && amount <= AMOUNT_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
	char line[VINE_LINE_MAX], name[VINE_LINE_MAX];
	int64_t said;
	if (nbytes >= sizeof line) /* TaskVine has no room for more */
		return 0;
	memcpy(line, nbytes ? (const void *)data : "", nbytes);
	line[nbytes] = 0;
	debug_flags_clear(); /* nobody is to be told */
	line[strcspn(line, "\n")] = 0;
	if (vf_line_is_sound(line))
		check_sound(line);
	if (vf_line_is_amount(line))
		check_amount(line);
	if (vf_line_cached(line, name, &said))
		CHECK(strlen(name) < sizeof name && strstr(line, name));
	return 0;
}
