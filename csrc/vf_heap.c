#include "vf_heap.h"

#include <stddef.h>

/* Both without siblings; either may be NULL. */
static struct vf_heap_node *merge(
		const struct vf_heap *heap, struct vf_heap_node *a, struct vf_heap_node *b)
{
	if (!a || !b)
		return a ? a : b;
	if (heap->before(b, a)) {
		struct vf_heap_node *other = a;
		a = b;
		b = other;
	}
	b->previous = a;
	b->next = a->child;
	if (a->child)
		a->child->previous = b;
	a->child = b;
	return a;
}

/* Merge siblings two by two, and the pairs from the last one on. */
static struct vf_heap_node *merge_all(const struct vf_heap *heap, struct vf_heap_node *node)
{
	struct vf_heap_node *pairs = NULL, *all = NULL;
	while (node) {
		struct vf_heap_node *second = node->next, *rest = second ? second->next : NULL;
		node->next = node->previous = NULL;
		if (second)
			second->next = second->previous = NULL;
		struct vf_heap_node *pair = merge(heap, node, second);
		pair->next = pairs;
		pairs = pair;
		node = rest;
	}
	while (pairs) {
		struct vf_heap_node *rest = pairs->next;
		pairs->next = NULL;
		all = merge(heap, all, pairs);
		pairs = rest;
	}
	return all;
}

void vf_heap_add(struct vf_heap *heap, struct vf_heap_node *node)
{
	*node = (struct vf_heap_node){0};
	heap->first = merge(heap, heap->first, node);
}

void vf_heap_remove(struct vf_heap *heap, struct vf_heap_node *node)
{
	struct vf_heap_node *below = merge_all(heap, node->child);
	if (node == heap->first) {
		heap->first = below;
		return;
	}
	*(node->previous->child == node ? &node->previous->child : &node->previous->next) =
			node->next;
	if (node->next)
		node->next->previous = node->previous;
	heap->first = merge(heap, heap->first, below);
}
