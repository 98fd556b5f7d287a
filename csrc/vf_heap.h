/* A priority queue of any size that allocates nothing: its nodes are members of what waits in it.

A pairing heap: adding takes constant time, removing, also from the middle, logarithmic time on
average. */

#ifndef VF_HEAP_H
#define VF_HEAP_H

struct vf_heap_node {
	struct vf_heap_node *child, *next;
	struct vf_heap_node *previous; /* of the first child: its parent */
};

/* Whether `a` goes first. For two nodes in a heap this may not change. */
typedef int vf_heap_before(const struct vf_heap_node *a, const struct vf_heap_node *b);

struct vf_heap {
	struct vf_heap_node *first; /* NULL: it is empty */
	vf_heap_before *before;
};

void vf_heap_add(struct vf_heap *heap, struct vf_heap_node *node);

/* `node` is in the heap. */
void vf_heap_remove(struct vf_heap *heap, struct vf_heap_node *node);

#endif
