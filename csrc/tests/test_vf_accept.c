/* Workers are accepted as long as there are descriptors above those of the program, and then they
wait, which takes no time of TaskVine's. */

#include "vf_accept.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
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
	struct sockaddr_in address = {.sin_family = AF_INET,
			.sin_port = htons((uint16_t)port),
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address));
	return fd;
}

int main(void)
{
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
