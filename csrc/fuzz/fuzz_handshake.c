/* Whatever a stranger says, TaskVine is given those alone who have spoken as a worker does, and who
know the password if there is one; nobody is kept who has left, and no descriptor is lost.

The first byte says whether there is a password. In the others '\x01' stands for the answer to the
manager's challenge, which no fuzzer would guess, '\x02' for a moment in which the manager hears
what has come, '\x03' for one in which the stranger's time is up, and '\x04' for his end. */

#include "vf_handshake.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "sockets.h"
#include "vf_accept.h"
#include "vf_clock.h"
#include "vf_hooks.h"

enum {
	WORDS_MAX = 6000,
	HEARD_NBYTES = 512,
	CHALLENGE_LINE_NBYTES = 65, /* with its newline */
	LATE_MS = 100000,
};

static const char PASSWORD[] = "secret";

static struct link *server;
static int server_port;

static void begin(void)
{
	char host[LINK_ADDRESS_MAX];
	if (server)
		return;
	debug_flags_clear();
	CHECK((server = link_serve_address("127.0.0.1", 0)));
	CHECK(link_address_local(server, host, &server_port));
}

struct stranger {
	int fd;
	char said[WORDS_MAX]; /* since the manager has heard him */
	size_t n_said;
	char heard[HEARD_NBYTES];
	size_t n_heard;
	int has_answered; /* right */
	int64_t late_ms;
};

static void say(struct stranger *stranger)
{
	if (stranger->fd >= 0 && stranger->n_said) /* it may have been closed */
		send(stranger->fd, stranger->said, stranger->n_said, MSG_NOSIGNAL);
	stranger->n_said = 0;
}

static void hear(struct stranger *stranger)
{
	say(stranger);
	vf_handshake_hear(link_fd(server), vf_now_ms() + stranger->late_ms);
	ssize_t n;
	while (stranger->fd >= 0 && stranger->n_heard < sizeof stranger->heard &&
			(n = recv(stranger->fd, stranger->heard + stranger->n_heard,
					 sizeof stranger->heard - stranger->n_heard,
					 MSG_DONTWAIT)) > 0)
		stranger->n_heard += (size_t)n;
}

/* To the challenge, which follows the first line. */
static void answer(struct stranger *stranger)
{
	unsigned char digest[20];
	char words[128];
	const char *first = memchr(stranger->heard, '\n', stranger->n_heard);
	if (!first || stranger->heard + stranger->n_heard < first + 1 + CHALLENGE_LINE_NBYTES ||
			stranger->n_said + 2 * sizeof digest >= sizeof stranger->said)
		return;
	snprintf(words, sizeof words, "%s %.64s", PASSWORD, first + 1);
	dttools_sha1_buffer(words, strlen(words), digest);
	for (size_t i = 0; i < sizeof digest; i++) {
		snprintf(stranger->said + stranger->n_said, 3, "%02x", digest[i]);
		stranger->n_said += 2;
	}
	stranger->has_answered = 1;
}

static void leave(struct stranger *stranger)
{
	say(stranger);
	if (stranger->fd >= 0)
		close(stranger->fd);
	stranger->fd = -1;
}

/* TaskVine finds a whole line there, or has nothing to prove any more. */
static void check_given(struct link *link, int has_password, const struct stranger *stranger)
{
	char line[VINE_LINE_MAX];
	if (has_password)
		CHECK(stranger->has_answered && link_auth_password(link, PASSWORD, 0));
	else
		CHECK(link_readline(link, line, sizeof line, LINK_NOWAIT));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
	struct fuzz_input input = {data, nbytes};
	static struct stranger stranger;
	int has_password = (int)fuzz_choice(&input, 2);
	if (input.nbytes > WORDS_MAX)
		return 0;
	begin();
	int spare = dup(link_fd(server)); /* all descriptors from here on are free in the end */
	CHECK(spare >= 0 && !close(spare));
	vf_handshake_begin(has_password ? PASSWORD : NULL);
	CHECK(!link_accept(server, 0));
	stranger = (struct stranger){.fd = come(server_port)};
	CHECK(can_be_read(link_fd(server), 10000));
	hear(&stranger);
	for (size_t i = 0; i < input.nbytes; i++) {
		switch (input.data[i]) {
		case 1:
			hear(&stranger);
			answer(&stranger);
			break;
		case 2:
			hear(&stranger);
			break;
		case 3:
			stranger.late_ms = LATE_MS;
			hear(&stranger);
			break;
		case 4:
			leave(&stranger);
			break;
		default:
			stranger.said[stranger.n_said++] = (char)input.data[i];
			if (stranger.n_said == sizeof stranger.said)
				say(&stranger);
		}
	}
	hear(&stranger);
	struct link *link = link_accept(server, 0);
	if (link) {
		check_given(link, has_password, &stranger);
		link_close(link);
	}
	CHECK(!link_accept(server, 0));
	/* Who has not spoken to the end has until then, and no longer. */
	stranger.late_ms = LATE_MS;
	hear(&stranger);
	CHECK(vf_handshake_fd() < 0);
	vf_handshake_end();
	/* The system would keep each port for a minute else, and hundreds come in a second. */
	static const struct linger at_once = {.l_onoff = 1};
	if (stranger.fd >= 0)
		CHECK(!setsockopt(stranger.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
	leave(&stranger);
	int again = dup(link_fd(server));
	CHECK(again == spare && !close(again));
	return 0;
}
