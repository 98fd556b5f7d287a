/* Tables of items by a number, or by a text.

One that is zeroed is empty, and takes no memory until something is put in. An item is any pointer
but NULL; the table owns none. TaskVine's own tables are not used for ours: how one goes through
them differs between its releases. */

#ifndef VF_TABLE_H
#define VF_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct vf_table_place {
	uint64_t key;
	void *item; /* NULL: nothing is here */
	char *text; /* the table's own copy */
};

/* Of one table all keys are numbers, or all are texts. */
struct vf_table {
	struct vf_table_place *places;
	size_t n;
	unsigned bits; /* there are so many places, as a power of two; 0: none */
};

/* The item of a key; NULL: there is none. */
void *vf_table_find(const struct vf_table *table, uint64_t key);
void *vf_table_find_text(const struct vf_table *table, const char *text);

/* Put an item in, in the place of the key's former one. Returns 0, or -1 when memory is short:
nothing has changed. */
int vf_table_put(struct vf_table *table, uint64_t key, void *item);
int vf_table_put_text(struct vf_table *table, const char *text, void *item);

/* Take the item of a key out, and return it; NULL: there is none. */
void *vf_table_take(struct vf_table *table, uint64_t key);
void *vf_table_take_text(struct vf_table *table, const char *text);

/* All items, in no order: `at` is 0 at first. NULL: there is no other. Between two of these calls
nothing may be put in, or taken out. */
void *vf_table_next(const struct vf_table *table, size_t *at);
/* The key of the last one that was returned. */
uint64_t vf_table_key(const struct vf_table *table, size_t at);

/* The table is empty, and has no memory. */
void vf_table_free(struct vf_table *table);

#endif
