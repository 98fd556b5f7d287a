/* One run: a loop of csrc's with the stand-in for TaskVine, workers, and a program that submits
calls, cancels some and stops; all by chance, from the seed. */

#ifndef SCENARIO_H
#define SCENARIO_H

#include <stdint.h>

struct result {
	uint64_t simulated_ns, digest, n_events;
	uint32_t n_calls;
};

/* Ends the process if a rule is broken. */
struct result scenario_run(uint64_t seed);

#endif
