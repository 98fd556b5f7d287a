#include "vf_sizing.h"

#include <math.h>

#include "vf_bundle.h"
#include "vf_frame.h"

/* A new sample moves the average by this much: a handful of bundles suffices to follow a change. */
static const double LEARNING_RATE = 0.3;

/* What the engine needs to send one more bundle and take it back, about (docs/performance.md). */
static const double DISPATCH_NS = 3e5;

/* After each bundle that came back, a function's next bundle may be this many times larger. */
static const uint32_t LIMIT_GROWTH = 8;

/* Work w sent as k bundles is done after about k * DISPATCH_NS + w / k, which is least for bundles
of sqrt(w * DISPATCH_NS): with many slots and little work, fewer bundles than slots. */
static double worthwhile(const struct vf_sizing_choice *choice)
{
	double mean_ns = choice->n ? choice->calls[0]->function->mean_ns : -1;
	return mean_ns > 0 ? sqrt((double)choice->n_waiting * mean_ns * DISPATCH_NS) : 0;
}

/* A suspect, too, whose bundle was handed back. */
static int travels_alone(const struct vf_call *call)
{
	return call->solo || call->losses >= VF_BUNDLE_SUSPECT_LOSSES;
}

/* As near to the target as whole calls come: two of 12 ms are nearer to 20 ms than one. */
static int fits(const struct vf_sizing_choice *choice, const struct vf_call *call)
{
	const struct vf_function *function = call->function;
	return !travels_alone(call) && !travels_alone(choice->calls[0]) &&
			choice->n < function->limit &&
			choice->expected_ns + function->mean_ns / 2 <= choice->rule.target_ns &&
			choice->nbytes + VF_BUNDLE_CALL_NBYTES + call->nbytes <=
			choice->rule.max_nbytes;
}

int vf_sizing_choose(struct vf_sizing_choice *choice, struct vf_call_list *waiting)
{
	uint32_t slots = choice->slots ? choice->slots : 1;
	uint64_t share = (choice->n_waiting + slots - 1) / slots;
	double worthwhile_ns = worthwhile(choice);
	struct vf_call *call;

	while ((call = waiting->head)) {
		const struct vf_function *function = call->function;
		if (choice->n >= VF_SIZING_MAX_CALLS)
			return 0;
		if (choice->n && choice->n >= share &&
				choice->expected_ns + function->mean_ns > worthwhile_ns)
			return 0;
		if (choice->n && !fits(choice, call))
			return 0;
		vf_call_list_pop(waiting);

		if (!vf_call_send(call)) {
			vf_call_list_push(&choice->cancelled, call);
			continue;
		}

		choice->calls[choice->n++] = call;
		choice->nbytes += VF_BUNDLE_CALL_NBYTES + call->nbytes;
		if (function->mean_ns < 0) {
			choice->expected_ns = -1;
			return 0; /* nothing is known about it: no other call waits behind it */
		}
		choice->expected_ns += function->mean_ns;
		if (choice->n == 1)
			worthwhile_ns = worthwhile(choice);
	}
	return 1;
}

void vf_sizing_learn(struct vf_function *function, uint32_t n, uint64_t total_ns)
{
	double mean = (double)total_ns / n;
	if (function->mean_ns < 0)
		function->mean_ns = mean;
	else
		function->mean_ns += LEARNING_RATE * (mean - function->mean_ns);

	if (function->limit < VF_SIZING_MAX_CALLS)
		function->limit *= LIMIT_GROWTH;
}
