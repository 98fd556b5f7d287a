/* What is said first on a connection is told apart, as far as it has come. */

#include "vf_greeting.h"

#include <string.h>

#include "check.h"

static const char GREETING[] =
		"taskvine 12 host Linux machine 7\ninfo worker-id a\nresources\ncores 1\nend\n";

static void test_tls(void)
{
	static const char hello[] = "\x16\x03\x01\x00\x04\x01";
	CHECK(vf_greeting_is_tls(hello, 6) && !vf_greeting_is_tls(hello, 5));
	CHECK(vf_greeting_may_be_tls(hello, 1) && vf_greeting_may_be_tls("", 0));
	CHECK(!vf_greeting_may_be_tls("auth", 4) && !vf_greeting_may_be_tls("\x16\x02", 2));
	CHECK(vf_greeting_is_plain("auth password sha1\n", 19) && !vf_greeting_is_plain("GET ", 4));
	CHECK(vf_greeting_has_password("auth password sha1\n", 19));
	CHECK(!vf_greeting_has_password(GREETING, strlen(GREETING)));
}

static void test_whole(void)
{
	CHECK(vf_greeting_is_of_worker(GREETING, 9) && !vf_greeting_is_of_worker(GREETING, 8));
	for (size_t n = 0; n < strlen(GREETING); n++)
		CHECK(!vf_greeting_is_whole(GREETING, n));
	CHECK(vf_greeting_is_whole(GREETING, strlen(GREETING)));
	CHECK(vf_greeting_is_whole("GET / HTTP/1.1\r\n\r\n", 18));
	CHECK(!vf_greeting_is_whole("GET / HTTP/1.1\r\n", 16));
	CHECK(vf_greeting_is_whole("manager_status\n", 15));
}

int main(void)
{
	test_tls();
	test_whole();
	return 0;
}
