/* How many calls travel together: decided from what is known about their functions, without
touching the engine.

A bundle aims at a run time (`target_ns`), takes no more than a fair share of what waits unless that
is not worth a bundle, and holds calls of an unknown function one at a time until their durations
are known. Experience comes back through vf_sizing_learn(). */

#ifndef VF_SIZING_H
#define VF_SIZING_H

#include <stddef.h>
#include <stdint.h>

#include "vf_call.h"

enum {
	VF_SIZING_MAX_CALLS = 4096,
};

struct vf_sizing_rule {
	double target_ns;  /* aim for this run time */
	size_t max_nbytes; /* payload bytes, exceeded only by a single call */
};

/* The calls of a bundle while they are chosen. */
struct vf_sizing_choice {
	struct vf_sizing_rule rule;
	uint64_t n_waiting; /* all waiting calls, and */
	uint32_t slots;     /* the slots that share them */
	struct vf_call **calls; /* room for VF_SIZING_MAX_CALLS */
	uint32_t n;
	size_t nbytes;
	double expected_ns; /* run time, negative when nothing is known */
	struct vf_call_list cancelled; /* those of what waited that will never run */
};

/* Move calls from the head of `waiting` into a choice, which begins with the first four members
alone. Tells whether more may come from another list: this one is empty then. */
int vf_sizing_choose(struct vf_sizing_choice *choice, struct vf_call_list *waiting);

/* A bundle has come back: `n` calls of `function` took `total_ns` together. */
void vf_sizing_learn(struct vf_function *function, uint32_t n, uint64_t total_ns);

#endif
