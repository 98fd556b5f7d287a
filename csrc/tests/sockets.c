#define _GNU_SOURCE
#include "sockets.h"

#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "check.h"

int come(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
			.sin_port = htons((uint16_t)port),
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address));
	return fd;
}

int can_be_read(int fd, int timeout_ms)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};
	return poll(&one, 1, timeout_ms) > 0;
}

int take_one(int listening, int timeout_ms)
{
	CHECK(can_be_read(listening, timeout_ms));
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}
