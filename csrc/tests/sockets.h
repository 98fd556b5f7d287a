/* Sockets on loopback, as the tests of what listens and of what encrypts use them. */

#ifndef SOCKETS_H
#define SOCKETS_H

/* A new connection to a port of this machine's. */
int come(int port);

/* Whether there is something to be read, or somebody to be accepted, within the time. */
int can_be_read(int fd, int timeout_ms);

/* Accept the next one, which has to come within the time. */
int take_one(int listening, int timeout_ms);

#endif
