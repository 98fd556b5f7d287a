/* Inputs of calls, as they are now: looked at, and declared to TaskVine.

An input is declared once, however many calls read it (vf_declare.h), and again when it has changed,
or when no worker got it (vf_unfetched.h). However many calls read it, it is looked at once in a
turn. */

#ifndef VF_INPUTS_H
#define VF_INPUTS_H

#include <stdint.h>

#include "vf_file.h"
#include "vf_look.h"
#include "vf_table.h"

struct vf_call;
struct vf_counters;
struct vf_declare;
struct vine_worker_info;

struct vf_inputs {
	struct vf_counters *counters;
	struct vf_declare *declare;
	uint64_t turn;
	struct vf_looks looks;
	/* Looks are repeated in the next span, which began then; when one was made last. */
	uint64_t look_span, look_ns, look_turn;
	/* When a turn first asked what an input is: the last one that did. */
	uint64_t asked_turn;
	uint64_t asked_ns;
	struct vf_table by_source; /* those that are not stale */
	struct vf_declared *newest, *oldest; /* of those that nobody uses */
	uint32_t n_idle;
};

/* After the manager has been deleted. */
void vf_inputs_free(struct vf_inputs *inputs);

/* What an input of a call is now; NULL: that takes long to learn, and the wake of `looks` tells
when it is known. In the turn in which a call comes, that is what it was as it was submitted, unless
that is long before the turn. */
const struct vf_look *vf_inputs_look(
		struct vf_inputs *inputs, const struct vf_call *call, const struct vf_file *file);

/* As vf_looks_ended(). */
int vf_inputs_have_seen(struct vf_inputs *inputs);

/* Whether a declaration for this file alone is needed. */
int vf_inputs_is_alone(const struct vf_file *file);

/* The declaration of an input as it is now, for one more call or bundle; NULL when that is
impossible. And one of these needs it no longer. */
struct vf_declared *vf_inputs_use(
		struct vf_inputs *inputs, const struct vf_call *call, const struct vf_file *file);
void vf_inputs_release(struct vf_inputs *inputs, struct vf_declared *input);

/* The declaration that the next one to use the input may get; NULL: there is none. */
struct vf_declared *vf_inputs_find(const struct vf_inputs *inputs, const struct vf_file *file);

/* Whether a worker has an input that it may be sent: TaskVine need only look at what it is to
send. */
int vf_inputs_is_there(const struct vf_inputs *inputs, struct vine_worker_info *worker,
		const struct vine_file *file);

#endif
