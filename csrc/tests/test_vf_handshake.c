/* Who connects is seen by TaskVine when he has said what a worker says first, knows the password if
there is one, and not before; those that say nothing, half of it, or what is wrong cost no time, and
no descriptors for long. */

#define _GNU_SOURCE
#include "vf_handshake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "vf_accept.h"
#include "vf_cut.h"
#include "vf_hooks.h"
#include "vf_border.h"

#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number
#define PROTOCOL TEXT(VINE_PROTOCOL)
#define FIRST_LINE "taskvine " PROTOCOL " host Linux machine 7"

enum {
	LONG_MS = 20000,
	MANY = 600, /* more than are kept aside */
	PROOF_MS = 5000,
	GREETING_MS = 60000,
};

static const char GREETING[] = FIRST_LINE "\ninfo worker-id a\nresources\ncores 1\nend\n";

static struct link *server;
static int64_t skew_ms; /* time passes faster in these tests */

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + skew_ms;
}

static int port(void)
{
	char host[LINK_ADDRESS_MAX];
	int number;
	CHECK(link_address_local(server, host, &number));
	return number;
}

static int come(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
			.sin_port = htons((uint16_t)port()),
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address));
	return fd;
}

static void say(int fd, const char *words)
{
	CHECK(send(fd, words, strlen(words), MSG_NOSIGNAL) == (ssize_t)strlen(words));
}

static void hear(void)
{
	vf_handshake_hear(link_fd(server), now_ms());
}

/* Whether somebody is ready within so long. */
static int becomes_ready(int ms)
{
	for (int64_t end_ms = now_ms() + ms; !vf_handshake_ready() && now_ms() < end_ms;) {
		hear();
		usleep(1000);
	}
	return vf_handshake_ready();
}

static int is_closed(int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};
	char byte;
	while (poll(&one, 1, 0) > 0) {
		ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
		if (n <= 0)
			return 1;
	}
	return 0;
}

static int count_open(void)
{
	int n = 0;
	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_greeting(void)
{
	static const char *const PARTS[] = {"task", "vine " PROTOCOL " host", " Linux machine 7\n",
			"resources\ncores 1\n", "en", "d\n"};
	vf_handshake_begin(NULL);
	CHECK(!link_accept(server, 0));
	int silent = come(), slow = come();
	for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) {
		CHECK(!becomes_ready(20) && !link_accept(server, 0));
		say(slow, PARTS[i]);
	}
	CHECK(becomes_ready(LONG_MS));
	struct link *link = link_accept(server, 0);
	char line[64];
	CHECK(link && link_readline(link, line, sizeof line, 0) && !strcmp(line, FIRST_LINE));
	link_close(link);
	CHECK(!link_accept(server, 0) && is_closed(slow) && !is_closed(silent));

	/* Whose time is up leaves, unless a worker speaks a way that is not known here. */
	int other = come(), half = come();
	say(other, "taskvine 99 host\n");
	say(half, "taskvine 99");
	CHECK(!becomes_ready(20));
	skew_ms += GREETING_MS;
	CHECK(becomes_ready(LONG_MS) && (link = link_accept(server, 0)) && !link_accept(server, 0));
	CHECK(is_closed(silent) && is_closed(half) && !is_closed(other));
	link_close(link);

	/* More than is looked at is a worker's or nobody's. */
	char many[5000];
	memset(many, 'x', sizeof many - 1);
	many[sizeof many - 1] = 0;
	int rubbish = come(), rich = come();
	say(rubbish, many);
	say(rich, "taskvine " PROTOCOL " host\ncache-update ");
	say(rich, many);
	CHECK(becomes_ready(LONG_MS) && (link = link_accept(server, 0)));
	for (int64_t end_ms = now_ms() + LONG_MS; !is_closed(rubbish) && now_ms() < end_ms;)
		hear();
	CHECK(is_closed(rubbish));
	link_close(link);

	/* One that has spoken and left is not for TaskVine, nor is one that left in silence. */
	int gone = come(), reset = come();
	say(reset, GREETING);
	CHECK(becomes_ready(LONG_MS));
	setsockopt(reset, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
			sizeof(struct linger));
	close(reset);
	close(gone);
	usleep(20000);
	CHECK(!link_accept(server, 0));
	close(silent), close(slow), close(other), close(half), close(rubbish), close(rich);
	vf_handshake_end();
}

static void test_requests(void)
{
	struct link *link;
	vf_handshake_begin(NULL);
	CHECK(!link_accept(server, 0));
	int browser = come(), script = come();
	say(browser, "GET / HTTP/1.1\r\n");
	CHECK(!becomes_ready(20));
	say(browser, "Host: here\r\n\r\n");
	CHECK(becomes_ready(LONG_MS) && (link = link_accept(server, 0)));
	link_close(link);
	say(script, "manager_status\n");
	CHECK(becomes_ready(LONG_MS) && (link = link_accept(server, 0)));
	link_close(link);
	close(browser), close(script);
	vf_handshake_end();
}

static void test_a_password_where_there_is_none(void)
{
	vf_handshake_begin(NULL);
	CHECK(!link_accept(server, 0));
	int worker = come();
	say(worker, "auth password sha1\nabc\n");
	CHECK(!becomes_ready(20) && is_closed(worker));
	CHECK(vf_handshake_with_password() == 1 && !vf_handshake_wrong_password());
	close(worker);
	vf_handshake_end();
}

struct visitor {
	const char *password;
	int number, is_welcome;
	atomic_int is_over;
};

static void *visit(void *arg)
{
	struct visitor *visitor = arg;
	struct link *link = link_connect("127.0.0.1", visitor->number, time(NULL) + 20);
	/* One that is closed at once has not come at all. */
	if (link)
		visitor->is_welcome = link_auth_password(link, visitor->password, time(NULL) + 20);
	link_close(link);
	atomic_store(&visitor->is_over, 1);
	return NULL;
}

static int is_welcome(const char *password)
{
	struct visitor visitor = {.password = password, .number = port()};
	pthread_t thread;
	CHECK(!pthread_create(&thread, NULL, visit, &visitor));
	while (!becomes_ready(1) && !atomic_load(&visitor.is_over))
		continue;
	pthread_join(thread, NULL);
	int ready = becomes_ready(visitor.is_welcome ? LONG_MS : 1);
	CHECK(ready == visitor.is_welcome);
	struct link *link = link_accept(server, 0);
	CHECK((link != NULL) == ready);
	if (link) {
		/* At once: it has been heard already. */
		CHECK(link_auth_password(link, "right\n", 0) &&
				!link_auth_password(link, "right\n", 0));
		link_close(link);
	}
	return ready;
}

static void test_password(void)
{
	vf_handshake_begin("right\n");
	CHECK(!link_accept(server, 0));
	int silent = come(), without = come(), half = come(), late = come();
	say(without, GREETING);
	say(half, "auth password sh");
	say(late, "auth password sha1\n");
	CHECK(is_welcome("right\n") && !is_welcome("wrong\n") && is_welcome("right\n"));
	char words[64];
	ssize_t n = recv(without, words, sizeof words, MSG_DONTWAIT);
	/* So a worker knows what it lacks. */
	CHECK(n > 5 && !memcmp(words, "auth ", 5) && is_closed(without));

	/* An answer that somebody else has given, as to a challenge of his own, is none. */
	say(late, "0123\n");
	CHECK(!becomes_ready(20));
	n = recv(late, words, sizeof words, MSG_DONTWAIT);
	CHECK(n == sizeof words);
	say(late, "0000000000000000000000000000000000000000\nok\n");
	CHECK(!becomes_ready(50) && is_closed(late));

	/* Nor is what the manager itself would answer to its own challenge: it answers to nobody
	who has not. */
	int mirror = come();
	say(mirror, "auth password sha1\n");
	CHECK(!becomes_ready(20));
	char heard[sizeof "auth password sha1\n" + 64 + 1] = "";
	CHECK(recv(mirror, heard, sizeof heard, MSG_DONTWAIT) == sizeof heard - 1);
	say(mirror, strchr(heard, '\n') + 1);
	CHECK(!becomes_ready(20) && recv(mirror, words, sizeof words, MSG_DONTWAIT) < 0);
	say(mirror, "0000000000000000000000000000000000000000\nok\n");
	CHECK(!becomes_ready(50));
	CHECK(recv(mirror, heard, sizeof heard, MSG_DONTWAIT) == sizeof "\nfailure\n" - 1 &&
			!strncmp(heard, "\nfailure\n", 9));
	CHECK(is_closed(mirror));
	close(mirror);

	CHECK(!is_closed(silent) && !is_closed(half));
	skew_ms += PROOF_MS;
	hear();
	CHECK(is_closed(silent) && is_closed(half));
	close(silent), close(without), close(half), close(late);
	vf_handshake_end();
}

static void test_many(void)
{
	struct link *link;
	int strangers[MANY];
	int before = count_open();
	vf_handshake_begin(NULL);
	CHECK(!link_accept(server, 0));
	for (int i = 0; i < MANY; i++) {
		strangers[i] = come();
		hear();
	}
	CHECK(count_open() < before + MANY + 300); /* the others wait in the kernel's queue */
	int worker = come();
	say(worker, GREETING);
	/* They are no longer young. */
	for (int i = 0; i < 10 && !vf_handshake_ready(); i++) {
		skew_ms += 300;
		hear();
	}
	CHECK(vf_handshake_ready() && (link = link_accept(server, 0)));
	link_close(link);
	int n_closed = 0;
	for (int i = 0; i < MANY; i++)
		n_closed += is_closed(strangers[i]);
	CHECK(n_closed >= MANY - 256 && n_closed < MANY && is_closed(strangers[0]) &&
			!is_closed(strangers[MANY - 1]));
	vf_handshake_end();
	for (int i = 0; i < MANY; i++) {
		CHECK(is_closed(strangers[i]));
		close(strangers[i]);
	}
	close(worker);
	CHECK(count_open() <= before);
}

static enum vf_turn turn(void *arg, int workers)
{
	(void)arg, (void)workers;
	return VF_TURN_IDLE;
}

/* A line that has begun comes to its end at once, or never. */
static void test_lines(void)
{
	struct vf_wake wake;
	struct link *link;
	char line[40];
	CHECK(!vf_wake_open(&wake));
	vf_border_own(&(struct vf_border){.turn = turn, .wake = &wake});
	CHECK(!link_accept(server, 0));
	int worker = come();
	say(worker, GREETING);
	say(worker, "alive\r\n");
	struct link_info links[1] = {{.link = server, .events = LINK_READ}};
	CHECK(link_poll(links, 1, LONG_MS) == 1 && links[0].revents == LINK_READ &&
			links[0].events == LINK_READ);
	CHECK((link = link_accept(server, 0)));
	for (int i = 0; i < 6; i++)
		CHECK(link_readline(link, line, sizeof line, LINK_FOREVER));
	CHECK(!strcmp(line, "alive"));
	say(worker, "re");
	/* It stays the rest of a line for as long as that may take, even if it may take forever to
	begin. */
	int64_t start_ms = now_ms();
	CHECK(!link_readline(link, line, sizeof line, LINK_FOREVER) &&
			now_ms() - start_ms < LONG_MS);
	/* TaskVine removes the worker then; whatever it sends is heard no more. */
	say(worker, "x\r");
	CHECK(!link_readline(link, line, sizeof line, LINK_FOREVER));
	vf_cut_forget();
	CHECK(!link_readline(link, line, sizeof line, LINK_FOREVER));
	vf_cut_forget();
	say(worker, "resources\n");
	CHECK(link_readline(link, line, sizeof line, LINK_FOREVER));
	CHECK(!link_readline(link, line, sizeof line, LINK_FOREVER));
	vf_cut_forget();
	/* A line that has not begun is what TaskVine says it is. */
	start_ms = now_ms();
	CHECK(!link_readline(link, line, sizeof line, time(NULL)) && now_ms() - start_ms < 1000);
	vf_cut_forget();
	say(worker, "01234567890123456789012345678901234567890123456789\n");
	CHECK(!link_readline(link, line, sizeof line, LINK_FOREVER));
	vf_cut_forget();
	CHECK(link_readline(link, line, sizeof line, LINK_FOREVER) && !strcmp(line, "0123456789"));
	close(worker);
	CHECK(!link_readline(link, line, sizeof line, LINK_FOREVER));
	vf_cut_forget();
	link_close(link);

	/* What looked like a request, and was none to TaskVine, ends with its connection: another's
	line has not begun. */
	int odd = come(), other = come();
	say(odd, "GET \n\n");
	CHECK(link_poll(links, 1, LONG_MS) == 1 && (link = link_accept(server, 0)));
	CHECK(link_readline(link, line, sizeof line, LINK_FOREVER));
	vine_worker_delete(vine_worker_create(link));
	say(other, GREETING);
	CHECK(link_poll(links, 1, LONG_MS) == 1 && (link = link_accept(server, 0)));
	for (int i = 0; i < 5; i++)
		CHECK(link_readline(link, line, sizeof line, LINK_FOREVER));
	start_ms = now_ms();
	CHECK(!link_readline(link, line, sizeof line, time(NULL)) && now_ms() - start_ms < 4000);
	link_close(link);
	close(odd), close(other);
	vf_border_own(NULL);
	vf_wake_close(&wake);
}

/* Who cannot be kept aside is closed, and comes again; what cannot be proven is not believed. */
static void test_short_memory(void)
{
	int n_failed = 1, before = count_open();
	for (int n = 0; n_failed; n++) {
		vf_handshake_begin("right\n");
		CHECK(!link_accept(server, 0));
		faults_begin(n);
		int ready = is_welcome("right\n");
		n_failed = faults_end();
		CHECK(ready || n_failed);
		CHECK(is_welcome("right\n"));
		vf_handshake_end();
		CHECK(count_open() <= before && (n_failed || n == 3));
	}
}

/* A challenge that could be guessed is none. */
static void test_no_chance(void)
{
	vf_handshake_begin("right\n");
	CHECK(!link_accept(server, 0));
	faults_fail("getrandom", 0, EINTR);
	CHECK(!is_welcome("right\n") && faults_has_failed());
	CHECK(is_welcome("right\n"));
	vf_handshake_end();
}

/* Those that nobody can wait for stay in the kernel's queue. */
static void test_no_epoll(void)
{
	vf_handshake_begin(NULL);
	int worker = come();
	say(worker, GREETING);
	faults_fail("epoll_create1", 0, ENOMEM);
	CHECK(!link_accept(server, 0));
	CHECK(faults_has_failed() && vf_accept_errno() == ENOMEM && !vf_handshake_ready());
	CHECK(becomes_ready(LONG_MS) && !vf_accept_errno());
	struct link *link = link_accept(server, 0);
	CHECK(link);
	link_close(link);
	close(worker);
	vf_handshake_end();
}

/* Without a descriptor nobody is accepted, for a while, and nobody is lost. */
static void test_no_descriptors(void)
{
	vf_handshake_begin(NULL);
	CHECK(!link_accept(server, 0));
	int worker = come();
	say(worker, GREETING);
	faults_close_descriptors();
	hear();
	CHECK(vf_accept_errno() == EMFILE && vf_accept_pause_ms(now_ms()) > 0);
	CHECK(!vf_handshake_ready() && vf_handshake_fd() < 0);
	faults_open_descriptors();
	CHECK(becomes_ready(LONG_MS) && !vf_accept_errno());
	/* Who has said nothing for a while makes room for one that comes. */
	int silent = come(), next = come();
	hear();
	int last = come();
	usleep(300000);
	faults_close_descriptors();
	vf_handshake_hear(link_fd(server), now_ms() + 300000);
	faults_open_descriptors();
	CHECK(is_closed(silent) && !close(silent) && !close(next) && !close(last));
	/* One that has gone before it was told takes no harm with it. */
	int gone = come();
	say(gone, "auth password");
	close(gone);
	hear();
	struct link *link = link_accept(server, 0);
	CHECK(link);
	link_close(link);
	close(worker);
	vf_handshake_end();
	hear(); /* nobody, since nobody is to be heard */
	CHECK(!vf_handshake_ready());
}

int main(void)
{
	struct rlimit limit;
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	server = link_serve_address("127.0.0.1", 0);
	CHECK(server);
	test_greeting();
	test_requests();
	test_a_password_where_there_is_none();
	test_password();
	test_many();
	test_lines();
	test_short_memory();
	test_no_chance();
	test_no_epoll();
	test_no_descriptors();
	link_close(server);
	return 0;
}
