/* Where sockets listen that name no address: at one of this machine's. The manager's links do so
(vf_accept), and those of this machine's workers, into which preload/listen.c goes, which is linked
with nothing else: so all of it is here. */

#ifndef VF_LISTEN_H
#define VF_LISTEN_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* Choose the address by its IPv4 or IPv6 number, kept as IPv6 has it; NULL, and the numbers
that mean any: all of the machine's. Tells whether it is a number. */
static inline int vf_listen_choose(struct in6_addr *chosen, const char *number)
{
	struct in_addr ipv4;
	memset(chosen, 0, sizeof *chosen);
	if (!number || inet_pton(AF_INET6, number, chosen) == 1)
		return 1;
	if (inet_pton(AF_INET, number, &ipv4) != 1)
		return 0;
	if (ipv4.s_addr != htonl(INADDR_ANY)) {
		chosen->s6_addr[10] = chosen->s6_addr[11] = 0xff;
		memcpy(chosen->s6_addr + 12, &ipv4, sizeof ipv4);
	}
	return 1;
}

/* What bind() is to be given for an address: that, or the chosen one in `place`; NULL, with errno,
if the chosen one is no address for such a socket, which would listen everywhere. */
static inline const struct sockaddr *vf_listen_place(const struct in6_addr *chosen,
		const struct sockaddr *address, socklen_t nbytes, struct sockaddr_storage *place)
{
	struct sockaddr_in *ipv4 = (struct sockaddr_in *)place;
	struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)place;
	if (IN6_IS_ADDR_UNSPECIFIED(chosen) || nbytes > sizeof *place)
		return address;
	memcpy(place, address, nbytes);
	if (nbytes == sizeof *ipv4 && address->sa_family == AF_INET &&
			ipv4->sin_addr.s_addr == htonl(INADDR_ANY)) {
		if (!IN6_IS_ADDR_V4MAPPED(chosen)) {
			errno = EAFNOSUPPORT;
			return NULL;
		}
		memcpy(&ipv4->sin_addr, chosen->s6_addr + 12, sizeof ipv4->sin_addr);
		return (const struct sockaddr *)place;
	}
	/* TaskVine's, with CCTOOLS_IP_MODE, take IPv4 as well. */
	if (nbytes == sizeof *ipv6 && address->sa_family == AF_INET6 &&
			IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr)) {
		ipv6->sin6_addr = *chosen;
		return (const struct sockaddr *)place;
	}
	return address;
}

#endif
