#include "vf_queue.h"

#include <stddef.h>

static struct vf_spec *spec_of(const struct vf_heap_node *node)
{
	return (struct vf_spec *)((char *)node - offsetof(struct vf_spec, order));
}

static struct vf_group *group_of(const struct vf_heap_node *node)
{
	return (struct vf_group *)((char *)node - offsetof(struct vf_group, order));
}

static int goes_before(const struct vf_spec *a, const struct vf_spec *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	return a->waiting.head->submitted_ns < b->waiting.head->submitted_ns;
}

static int spec_before(const struct vf_heap_node *a, const struct vf_heap_node *b)
{
	return goes_before(spec_of(a), spec_of(b));
}

static int group_before(const struct vf_heap_node *a, const struct vf_heap_node *b)
{
	return goes_before(vf_queue_first(group_of(a)), vf_queue_first(group_of(b)));
}

void vf_queue_init(struct vf_queue *queue)
{
	*queue = (struct vf_queue){.groups.before = group_before};
}

struct vf_spec *vf_queue_first(const struct vf_group *group)
{
	return spec_of(group->specs.first);
}

static void enter(struct vf_queue *queue, struct vf_group *group)
{
	group->specs.before = spec_before;
	group->previous = NULL;
	group->next = queue->any;
	if (queue->any)
		queue->any->previous = group;
	queue->any = group;
}

static void leave(struct vf_queue *queue, struct vf_group *group)
{
	*(group->previous ? &group->previous->next : &queue->any) = group->next;
	if (group->next)
		group->next->previous = group->previous;
	group->scored = 0;
	atomic_store_explicit(&group->too_large_ns, 0, memory_order_relaxed);
}

/* Another call becomes the first of its specification. */
static void begin(struct vf_queue *queue, struct vf_call *call)
{
	struct vf_spec *spec = call->spec;
	struct vf_group *group = spec->group;
	if (!group->n && !group->taken)
		enter(queue, group);
	else if (!group->taken)
		vf_heap_remove(&queue->groups, &group->order);
	if (spec->waiting.n)
		vf_heap_remove(&group->specs, &spec->order);
}

static void end(struct vf_queue *queue, struct vf_spec *spec)
{
	struct vf_group *group = spec->group;
	vf_heap_add(&group->specs, &spec->order);
	group->n++;
	if (!group->taken)
		vf_heap_add(&queue->groups, &group->order);
}

void vf_queue_push(struct vf_queue *queue, struct vf_call *call)
{
	struct vf_spec *spec = call->spec;
	if (spec->waiting.n) {
		vf_call_list_push(&spec->waiting, call);
		spec->group->n++;
		return;
	}
	begin(queue, call);
	vf_call_list_push(&spec->waiting, call);
	end(queue, spec);
}

void vf_queue_push_front(struct vf_queue *queue, struct vf_call *call)
{
	begin(queue, call);
	vf_call_list_push_front(&call->spec->waiting, call);
	end(queue, call->spec);
}

struct vf_group *vf_queue_take(struct vf_queue *queue)
{
	if (!queue->groups.first)
		return NULL;
	struct vf_group *group = group_of(queue->groups.first);
	vf_heap_remove(&queue->groups, &group->order);
	group->taken = 1;
	return group;
}

void vf_queue_put(struct vf_queue *queue, struct vf_group *group)
{
	group->taken = 0;
	if (group->n)
		vf_heap_add(&queue->groups, &group->order);
	else
		leave(queue, group);
}

struct vf_spec *vf_queue_next(struct vf_queue *queue, struct vf_group *group, uint64_t n)
{
	struct vf_spec *spec = vf_queue_first(group);
	group->n -= n;
	if (n)
		vf_heap_remove(&group->specs, &spec->order);
	if (n && spec->waiting.n)
		vf_heap_add(&group->specs, &spec->order);
	if (!group->n)
		return NULL;
	spec = vf_queue_first(group);
	const struct vf_heap_node *other = queue->groups.first;
	return other && goes_before(vf_queue_first(group_of(other)), spec) ? NULL : spec;
}
