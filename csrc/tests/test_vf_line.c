/* Which lines of a worker's TaskVine may read. */

#include "vf_line.h"

#include <string.h>

#include "check.h"

static const char *const SOUND[] = {
		"alive",
		"end",
		"",
		"taskvine",
		"info tasks_running -1",
		"cache-invalid name 0",
		"cache-invalid name 12 id",
		"cache-invalid name 67108864",
		"cache-invalid name", /* TaskVine ends the connection for it */
		"cache-update name 1 2 0 0 0 0 X",
		"cache-update name -1 2 1125899906842624 -1 -1 -1 X",
		"cache-update name",
		"transfer-hostport localhost 9123",
		"transfer-hostport localhost",
		"transfer-hostport",
		"transfer-port 0",
		"transfer-port 65535",
		"transfer-port x",
		"stdout 7 0",
		"stdout 7 2000000000",
		"file name 0 0644 0",
		"file name 5000000000 0644",
		"symlink name 4096",
		"dir name 0755 0",
		"error name 2",
};

static const char *const UNSOUND[] = {
		"cache-invalid name -1",
		"cache-invalid name -1 id",
		"cache-invalid\tname  -2147483648",
		"cache-invalidname -1", /* which is "name" to TaskVine */
		"cache-invalid name 4294967295", /* -1 to TaskVine */
		"cache-invalid name 9223372036854775807",
		"cache-invalid name 99999999999999999999999",
		"cache-invalid name 67108865",
		"cache-update name 1 2 -1 0 0 0 X",
		"cache-update name 1 2 9223372036854775807 0 0 0 X",
		"transfer-hostport localhost -1",
		"transfer-hostport localhost 65536",
		"transfer-port -1",
		"transfer-port 4294967305",
		"taskvine 99 host Linux x86_64 7.14.5",
		"taskvine -1",
		"stdout 7 -1",
		"stdout 7 9223372036854775807",
		"file name -1 0644 0",
		"file name 9223372036854775807 0644",
		"symlink name -1",
		"symlink name 4097",
};

static void test_lines(void)
{
	for (size_t i = 0; i < sizeof SOUND / sizeof SOUND[0]; i++)
		CHECK(vf_line_is_sound(SOUND[i]));
	for (size_t i = 0; i < sizeof UNSOUND / sizeof UNSOUND[0]; i++)
		CHECK(!vf_line_is_sound(UNSOUND[i]));
}

/* TaskVine has room for 256 bytes of a host's name, with the one that ends it. */
static void test_names_of_hosts(void)
{
	char line[VINE_LINE_MAX];
	for (int length = 254; length < 4000; length += length < 257 ? 1 : 1000) {
		snprintf(line, sizeof line, "transfer-hostport  %0*d 9", length, 0);
		CHECK(vf_line_is_sound(line) == (length < 256));
		snprintf(line, sizeof line, "transfer-hostport%0*d", length, 0);
		CHECK(vf_line_is_sound(line) == (length < 256));
	}
}

static void test_resources(void)
{
	CHECK(vf_line_is_amount("cores 4") && vf_line_is_amount("disk -5"));
	CHECK(vf_line_is_amount("tag 0") && vf_line_is_amount("memory 1125899906842624"));
	CHECK(!vf_line_is_amount("cores") && !vf_line_is_amount("") && !vf_line_is_amount("c"));
	CHECK(!vf_line_is_amount("cores x") && !vf_line_is_amount("4"));
	CHECK(!vf_line_is_amount("cores 9223372036854775807"));
	CHECK(!vf_line_is_amount("memory -9223372036854775807"));
}

static void test_what_is_said_of_a_file(void)
{
	char name[VINE_LINE_MAX];
	int64_t nbytes;
	CHECK(vf_line_cached("cache-update buffer-1 4 0 123 0 5 6 X", name, &nbytes));
	CHECK(!strcmp(name, "buffer-1") && nbytes == 123);
	CHECK(!vf_line_cached("cache-update buffer-1 4 0", name, &nbytes));
}

int main(void)
{
	test_lines();
	test_names_of_hosts();
	test_resources();
	test_what_is_said_of_a_file();
	return 0;
}
