#include "vf_bundle.h"

#include <math.h>

#include "vf_frame.h"

/* A new sample moves the average by this much: a handful of bundles suffices to follow a change. */
static const double LEARNING_RATE = 0.3;

/* What the engine needs to send one more bundle and take it back, about (docs/performance.md). */
static const double DISPATCH_NS = 3e5;

/* After each bundle that came back, a function's next bundle may be this many times larger. */
static const uint32_t LIMIT_GROWTH = 8;

static struct vf_call *next_of(struct vf_call *call)
{
	return (struct vf_call *)call->link.next;
}

void vf_call_list_push(struct vf_call_list *list, struct vf_call *call)
{
	call->link.next = NULL;
	if (list->tail)
		list->tail->link.next = &call->link;
	else
		list->head = call;
	list->tail = call;
	list->n++;
}

void vf_call_list_push_front(struct vf_call_list *list, struct vf_call *call)
{
	call->link.next = list->head ? &list->head->link : NULL;
	list->head = call;
	if (!list->tail)
		list->tail = call;
	list->n++;
}

struct vf_call *vf_call_list_pop(struct vf_call_list *list)
{
	struct vf_call *call = list->head;
	if (!call)
		return NULL;
	list->head = next_of(call);
	if (!list->head)
		list->tail = NULL;
	list->n--;
	return call;
}

/* Work w sent as k bundles is done after about k * DISPATCH_NS + w / k, which is least for bundles of sqrt(w * DISPATCH_NS): with many
slots and little work, fewer bundles than slots. */
static double worthwhile(const struct vf_call_list *waiting, uint64_t n_waiting)
{
	double mean_ns = waiting->head ? waiting->head->function->mean_ns : -1;
	return mean_ns > 0 ? sqrt((double)n_waiting * mean_ns * DISPATCH_NS) : 0;
}

uint32_t vf_bundle_choose(const struct vf_bundle_rule *rule, struct vf_call_list *waiting, uint64_t n_waiting, uint32_t slots,
		struct vf_call **calls, double *expected_ns, struct vf_call_list *cancelled)
{
	if (slots < 1)
		slots = 1;
	uint64_t share = (n_waiting + slots - 1) / slots;
	double worthwhile_ns = worthwhile(waiting, n_waiting);

	uint32_t n = 0;
	size_t nbytes = 0;
	struct vf_call *call;

	*expected_ns = 0;
	while (n < VF_BUNDLE_MAX_CALLS && (call = waiting->head)) {
		const struct vf_function *function = call->function;
		if (n && n >= share && *expected_ns + function->mean_ns > worthwhile_ns)
			break;
		/* As near to the target as whole calls come: two of 12 ms are nearer to 20 ms than one. */
		int fits = n == 0 || (!call->solo && !calls[0]->solo && n < function->limit && *expected_ns + function->mean_ns / 2 <= rule->target_ns &&
						     nbytes + VF_BUNDLE_CALL_NBYTES + call->nbytes <= rule->max_nbytes);
		if (!fits)
			break;
		vf_call_list_pop(waiting);

		if (!vf_call_send(call)) {
			vf_call_list_push(cancelled, call);
			continue;
		}

		calls[n++] = call;
		nbytes += VF_BUNDLE_CALL_NBYTES + call->nbytes;
		if (function->mean_ns < 0) {
			*expected_ns = -1;
			break; /* nothing is known about it: no other call waits behind it */
		}
		*expected_ns += function->mean_ns;
	}
	return n;
}

void vf_bundle_learn(struct vf_function *function, uint32_t n, uint64_t total_ns)
{
	double mean = (double)total_ns / n;
	if (function->mean_ns < 0)
		function->mean_ns = mean;
	else
		function->mean_ns += LEARNING_RATE * (mean - function->mean_ns);

	if (function->limit < VF_BUNDLE_MAX_CALLS)
		function->limit *= LIMIT_GROWTH;
}
