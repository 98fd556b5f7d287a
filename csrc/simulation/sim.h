/* What all of the simulation stands on: one seed, one virtual clock, one trace.

Nothing here or above it asks the machine for time, chance or threads: so a seed is a run, and the
digest of its trace proves it. */

#ifndef SIM_H
#define SIM_H

#include <stdint.h>
#include <stdio.h>

#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_S UINT64_C(1000000000)

struct sim {
	uint64_t seed, now_ns;
	uint64_t digest; /* of all that was traced */
	int is_tracing;
	uint64_t n_events;
	int wake_fd; /* of the loop's wake: the one descriptor that is really polled */
};

extern struct sim sim;
extern const char *sim_about; /* which code it is, for messages */

/* Begin with a seed; forget what was to happen. */
void sim_begin(uint64_t seed);
void sim_end(void);

/* Chance: any number, one below `n`, whether something with so many chances in a thousand happens,
a duration about which little is known. */
uint64_t sim_random(void);
uint32_t sim_below(uint32_t n);
int sim_chance(uint32_t per_mille);
uint64_t sim_between(uint64_t least, uint64_t most);

/* Have something happen later. Two at the same moment happen in the order of these calls. */
void sim_after(uint64_t delay_ns, void (*happen)(void *arg), void *arg);

/* Time goes by until something happens, or that moment. Tells whether something has. */
int sim_step(uint64_t until_ns);

/* What is done takes time. */
void sim_spend(uint64_t ns);

/* Part of the run, and of its digest. */
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A rule is broken: say so, with the seed, and end. */
_Noreturn void sim_broken(const char *rule, const char *format, ...)
		__attribute__((format(printf, 2, 3)));

/* Of links: descriptors that are none. */
enum {
	SIM_FD_BASE = 1 << 20,
};

/* Whether something has come on such a descriptor; its connection is shut down from here. Set by
the engine. */
extern int (*sim_is_readable)(int fd);
extern void (*sim_shutdown)(int fd);

/* The manager thread is about to sleep: others may find that they have something to do. */
extern void (*sim_sleeps)(void);

#endif
