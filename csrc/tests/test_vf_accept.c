/* Workers are accepted as long as there are descriptors above those of the program, and then they
wait, which takes no time of TaskVine's. */

#include "vf_accept.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "sockets.h"
#include "link.h"

enum {
	LIMIT = 64,
	RESERVE = LIMIT / 8,
	LONG_MS = 2000, /* TaskVine alone takes 5 s */
};

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int connect_to(struct link *server)
{
	char host[LINK_ADDRESS_MAX];
	int port;
	CHECK(link_address_local(server, host, &port));
	return come(port);
}

/* Where a link listens that names no address. */
static const char *place_of(struct link *server)
{
	static char text[INET6_ADDRSTRLEN];
	struct sockaddr_storage address;
	socklen_t nbytes = sizeof address;
	CHECK(server && !getsockname(link_fd(server), (struct sockaddr *)&address, &nbytes));
	const void *number = address.ss_family == AF_INET ?
			(const void *)&((struct sockaddr_in *)&address)->sin_addr :
			(const void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
	CHECK(inet_ntop(address.ss_family, number, text, sizeof text));
	link_close(server);
	return text;
}

static int has_ipv6(void)
{
	struct sockaddr_in6 loopback = {
			.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	int yes = fd >= 0 && !bind(fd, (struct sockaddr *)&loopback, sizeof loopback);
	if (fd >= 0)
		close(fd);
	return yes;
}

static void links_listen_where_they_are_told(void)
{
	CHECK(!strcmp(place_of(link_serve(0)), "0.0.0.0"));
	CHECK(vf_accept_at("127.0.0.1") && !strcmp(place_of(link_serve(0)), "127.0.0.1"));
	CHECK(vf_accept_at("127.0.0.2") && !strcmp(place_of(link_serve(0)), "127.0.0.2"));
	/* One that names its own keeps that. */
	CHECK(!strcmp(place_of(link_serve_address("127.0.0.1", 0)), "127.0.0.1"));
	CHECK(vf_accept_at("0.0.0.0") && !strcmp(place_of(link_serve(0)), "0.0.0.0"));
	CHECK(vf_accept_at("192.0.2.1") && !link_serve(0)); /* nobody's */
	CHECK(!vf_accept_at("localhost") && !strcmp(place_of(link_serve(0)), "0.0.0.0"));
	if (has_ipv6()) {
		CHECK(!setenv("CCTOOLS_IP_MODE", "AUTO", 1));
		CHECK(!strcmp(place_of(link_serve(0)), "::"));
		CHECK(vf_accept_at("::1") && !strcmp(place_of(link_serve(0)), "::1"));
		CHECK(vf_accept_at("127.0.0.1") &&
				!strcmp(place_of(link_serve(0)), "::ffff:127.0.0.1"));
		CHECK(!unsetenv("CCTOOLS_IP_MODE"));
		/* TaskVine alone says which kind it is. */
		CHECK(vf_accept_at("::1") && !link_serve(0));
	}
	CHECK(vf_accept_at(NULL) && !strcmp(place_of(link_serve(0)), "0.0.0.0"));
}

/* Without a limit or a place that can be had, a worker comes in nevertheless. */
static void what_the_system_refuses_keeps_nobody_out(void)
{
	static const struct {
		const char *name;
		int n;
	} refused[] = {{"getrlimit", 0}, {"fcntl", 1}};
	struct link *server = link_serve_address("127.0.0.1", 0);
	CHECK(server);
	for (int i = 0; i < 2; i++) {
		int client = connect_to(server);
		CHECK(can_be_read(link_fd(server), LONG_MS));
		faults_fail(refused[i].name, refused[i].n, EMFILE);
		int fd = vf_accept_one(link_fd(server), NULL, NULL);
		CHECK(faults_has_failed() && fd >= 0 && !vf_accept_errno());
		CHECK(!close(fd) && !close(client));
	}
	link_close(server);
}

int main(void)
{
	links_listen_where_they_are_told();
	what_the_system_refuses_keeps_nobody_out();
	struct rlimit limit;
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	struct link *server = link_serve_address("127.0.0.1", 0);
	CHECK(server && !vf_accept_pause_ms(now_ms()) && !vf_accept_is_listening(server));
	/* Nobody there. */
	CHECK(!link_accept(server, 0) && !vf_accept_errno() && !vf_accept_pause_ms(now_ms()));

	int clients[LIMIT];
	for (int i = 0; i < LIMIT; i++)
		clients[i] = connect_to(server);
	/* The clients' descriptors lie above the limit from here on. */
	for (int i = 0; i < LIMIT; i++) {
		int fd = fcntl(clients[i], F_DUPFD, LIMIT);
		CHECK(fd >= LIMIT && !close(clients[i]));
		clients[i] = fd;
	}
	limit.rlim_cur = LIMIT;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));

	struct link *accepted[LIMIT];
	int n = 0;
	int64_t start_ms = now_ms();
	while ((accepted[n] = link_accept(server, time(0) + 5))) {
		CHECK(link_fd(accepted[n]) >= RESERVE && link_fd(accepted[n]) < LIMIT);
		CHECK(fcntl(link_fd(accepted[n]), F_GETFD) & FD_CLOEXEC);
		n++;
	}
	CHECK(n > LIMIT - RESERVE - RESERVE && n <= LIMIT - RESERVE);
	CHECK(vf_accept_errno() == EMFILE && now_ms() - start_ms < LONG_MS);
	CHECK(vf_accept_is_listening(server) && !vf_accept_is_listening(accepted[0]));
	CHECK(vf_accept_pause_ms(now_ms()) > 0 && !vf_accept_pause_ms(now_ms() + LONG_MS));

	/* The program still opens what it needs, and another worker comes in when one has left. */
	int own = open("/dev/null", O_RDONLY);
	CHECK(own >= 0 && own < RESERVE && !close(own));
	link_close(accepted[--n]);
	accepted[n] = link_accept(server, time(0) + 5);
	CHECK(accepted[n] && !vf_accept_errno());
	while (n >= 0)
		link_close(accepted[n--]);
	for (int i = 0; i < LIMIT; i++)
		close(clients[i]);
	link_close(server);
	return 0;
}
