#include "vf_taskids.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "taskvine.h"

enum {
	/* TaskVine takes numbers for libraries by itself, within vine_wait(). */
	SPARE = 1 << 20,
};

void vf_taskids_begin(struct vf_taskids *ids)
{
	memset(ids, 0, sizeof *ids);
	ids->last = INT_MAX - SPARE;
}

void vf_taskids_end(struct vf_taskids *ids)
{
	vf_table_free(&ids->libraries);
}

void vf_taskids_sending(struct vf_taskids *ids, struct vine_task *task)
{
	if (vine_task_get_library_provided(task))
		vf_table_put(&ids->libraries, (uint64_t)vine_task_get_id(task), ids);
}

void vf_taskids_ended(struct vf_taskids *ids, struct vine_task *library)
{
	vf_table_take(&ids->libraries, (uint64_t)vine_task_get_id(library));
}

static int compare(const void *one, const void *other)
{
	const int64_t *a = one, *b = other;
	return (*a > *b) - (*a < *b);
}

static size_t collect(const struct vf_table *table, int64_t *used, size_t n)
{
	for (size_t at = 0; vf_table_next(table, &at);)
		used[n++] = (int64_t)vf_table_key(table, at);
	return n;
}

/* The widest gap between numbers in use; without memory the one behind the former count, which has
lasted longest. */
static void find_gap(const struct vf_taskids *ids, const struct vf_table *bundles, int64_t *first,
		int64_t *last)
{
	size_t n = ids->libraries.n + bundles->n;
	int64_t *used = malloc((n + 2) * sizeof *used);
	*first = 1;
	*last = INT_MAX - SPARE;
	if (!used)
		return;
	used[0] = 0;
	n = collect(bundles, used, collect(&ids->libraries, used, 1));
	used[n++] = INT_MAX;
	qsort(used, n, sizeof *used, compare);
	int64_t widest = 0;
	for (size_t i = 1; i < n; i++) {
		if (used[i] - used[i - 1] > widest) {
			widest = used[i] - used[i - 1];
			*first = used[i - 1] + 1;
			/* In a narrow one, libraries may still meet others. */
			*last = used[i] - (widest > 4 * SPARE ? SPARE : widest / 4 + 1);
		}
	}
	free(used);
}

void vf_taskids_prepare(struct vf_taskids *ids, struct vine_manager *manager,
		const struct vf_table *bundles)
{
	int next = vine_set_task_id_min(manager, 0);
	if (next > 0 && next <= ids->last)
		return;
	int64_t first;
	find_gap(ids, bundles, &first, &ids->last);
	if (next > 0 && first < next) {
		/* The count goes up alone, but for the step behind the largest of all. */
		struct vine_task *task = vine_task_create(":");
		if (!task) {
			ids->last = next; /* at the next task */
			return;
		}
		vine_set_task_id_min(manager, INT_MAX);
		int id = vine_submit(manager, task);
		if (id)
			vine_cancel_by_task_id(manager, id);
		else
			vine_task_delete(task);
	}
	vine_set_task_id_min(manager, (int)first);
	ids->renewed++;
}
