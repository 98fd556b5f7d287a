/* Preloaded into the workers of this machine: they listen at one address, and not at all.

vine_worker has no option for that, and its transfer server gives any file of the user to whoever
gets past its password. Two variables of the environment do it, and go before the worker starts
anything: LD_PRELOAD, in which this library is the first, and VINEFAST_LISTEN, a number. Programs
between, a shell or vine_factory, pass them on. */

#define _GNU_SOURCE

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../vf_listen.h"

#define NUMBER "VINEFAST_LISTEN"
#define LIBRARIES "LD_PRELOAD"

/* Zero: this is no worker. */
static struct in6_addr chosen;

__attribute__((constructor)) static void take_variables(void)
{
	const char *number = getenv(NUMBER), *libraries = getenv(LIBRARIES);
	if (!number || !libraries || !strstr(program_invocation_short_name, "vine_worker") ||
			!vf_listen_choose(&chosen, number))
		return;
	const char *others = strchr(libraries, ':');
	if (others)
		setenv(LIBRARIES, others + 1, 1);
	else
		unsetenv(LIBRARIES);
	unsetenv(NUMBER);
}

int bind(int fd, const struct sockaddr *address, socklen_t nbytes)
{
	struct sockaddr_storage place;
	address = vf_listen_place(&chosen, address, nbytes, &place);
	return address ? (int)syscall(SYS_bind, fd, address, nbytes) : -1;
}
