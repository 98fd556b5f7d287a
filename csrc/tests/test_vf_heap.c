/* What is added comes out in order, wherever it is taken from, at a cost that hardly grows with
what waits. */

#include "vf_heap.h"

#include <stddef.h>
#include <stdint.h>

#include "check.h"

enum {
	MANY = 30000,
};

struct item {
	struct vf_heap_node node;
	uint32_t key;
	int in;
};

static struct item items[MANY];
static uint64_t n_compared;

static struct item *item_of(const struct vf_heap_node *node)
{
	return (struct item *)((char *)node - offsetof(struct item, node));
}

static int before(const struct vf_heap_node *a, const struct vf_heap_node *b)
{
	n_compared++;
	return item_of(a)->key < item_of(b)->key;
}

static uint32_t seed = 1;

static uint32_t draw(void)
{
	return seed = seed * 1664525u + 1013904223u;
}

static void add(struct vf_heap *heap, struct item *item)
{
	vf_heap_add(heap, &item->node);
	item->in = 1;
}

static void take(struct vf_heap *heap, struct item *item)
{
	vf_heap_remove(heap, &item->node);
	item->in = 0;
}

/* Take all out; the number of comparisons per item. */
static double drain(struct vf_heap *heap)
{
	uint64_t n = 0;
	n_compared = 0;
	for (uint32_t last = 0; heap->first; n++) {
		struct item *first = item_of(heap->first);
		CHECK(first->in && first->key >= last);
		last = first->key;
		take(heap, first);
	}
	return (double)n_compared / (double)n;
}

int main(void)
{
	struct vf_heap heap = {.before = before};
	for (int order = 0; order < 3; order++) {
		for (uint32_t i = 0; i < MANY; i++) {
			items[i].key = order == 0 ? i : (order == 1 ? MANY - i : draw());
			add(&heap, &items[i]);
		}
		CHECK(drain(&heap) < 40);
		for (uint32_t i = 0; i < MANY; i++)
			CHECK(!items[i].in);
	}

	/* From anywhere, in any order. */
	for (uint32_t step = 0; step < 10 * MANY; step++) {
		struct item *item = &items[draw() % 500];
		if (item->in) {
			take(&heap, item);
		} else {
			item->key = draw() % 100;
			add(&heap, item);
		}
		uint32_t least = UINT32_MAX;
		for (uint32_t i = 0; step % 1000 == 0 && i < 500; i++)
			least = items[i].in && items[i].key < least ? items[i].key : least;
		CHECK(step % 1000 ||
				(heap.first ? item_of(heap.first)->key == least :
					      least == UINT32_MAX));
	}
	drain(&heap);
	return 0;
}
