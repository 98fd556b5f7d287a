/* Preloaded into the workers of this machine: they listen at one address, and not at all.

vine_worker has no option for that, and its transfer server gives any file of the user to whoever
gets past its password. Two variables of the environment do it, and go before the worker starts
anything: LD_PRELOAD, in which this library is the first, and VINEFAST_LISTEN, a number. Programs
between, a shell or vine_factory, pass them on. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NUMBER "VINEFAST_LISTEN"
#define LIBRARIES "LD_PRELOAD"

/* An IPv4 number as IPv6 has it; zero: this is no worker. */
static struct in6_addr chosen;

__attribute__((constructor)) static void take_variables(void)
{
	const char *number = getenv(NUMBER), *libraries = getenv(LIBRARIES);
	struct in_addr ipv4;
	if (!number || !libraries || !strstr(program_invocation_short_name, "vine_worker"))
		return;
	if (inet_pton(AF_INET, number, &ipv4) == 1) {
		chosen.s6_addr[10] = chosen.s6_addr[11] = 0xff;
		memcpy(chosen.s6_addr + 12, &ipv4, sizeof ipv4);
	} else if (inet_pton(AF_INET6, number, &chosen) != 1) {
		return;
	}
	const char *others = strchr(libraries, ':');
	if (others)
		setenv(LIBRARIES, others + 1, 1);
	else
		unsetenv(LIBRARIES);
	unsetenv(NUMBER);
}

int bind(int fd, const struct sockaddr *address, socklen_t nbytes)
{
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
	if (nbytes == sizeof ipv4 && address->sa_family == AF_INET &&
			IN6_IS_ADDR_V4MAPPED(&chosen)) {
		memcpy(&ipv4, address, sizeof ipv4);
		if (ipv4.sin_addr.s_addr == htonl(INADDR_ANY))
			memcpy(&ipv4.sin_addr, chosen.s6_addr + 12, sizeof ipv4.sin_addr);
		return (int)syscall(SYS_bind, fd, &ipv4, sizeof ipv4);
	}
	if (nbytes == sizeof ipv6 && address->sa_family == AF_INET6) {
		memcpy(&ipv6, address, sizeof ipv6);
		if (IN6_IS_ADDR_UNSPECIFIED(&ipv6.sin6_addr))
			ipv6.sin6_addr = chosen;
		return (int)syscall(SYS_bind, fd, &ipv6, sizeof ipv6);
	}
	return (int)syscall(SYS_bind, fd, address, nbytes);
}
