#include "vf_table.h"

#include <stdlib.h>
#include <string.h>

enum {
	BITS_MIN = 4,
};

/* Places are tried one behind the other, from the one that a key is for. Nothing is ever marked as
deleted: what could not be found any more moves up. */

static size_t n_places(const struct vf_table *table)
{
	return table->bits ? (size_t)1 << table->bits : 0;
}

/* Numbers that follow each other, and addresses, are spread by the upper bits of a product; but at
some distances, after a single one, they would still lie in a few long runs. */
static size_t place_for(const struct vf_table *table, uint64_t key)
{
	for (int i = 0; i < 2; i++)
		key = (key ^ key >> 32) * 0x9E3779B97F4A7C15u;
	return (size_t)(key >> (64 - table->bits));
}

static size_t next_place(const struct vf_table *table, size_t i)
{
	return (i + 1) & (n_places(table) - 1);
}

static uint64_t key_of(const char *text)
{
	uint64_t key = 0, word;
	size_t left = strlen(text);
	for (; left >= sizeof word; left -= sizeof word, text += sizeof word) {
		memcpy(&word, text, sizeof word);
		key = (key ^ word) * 0xD6E8FEB86659FD93u;
		key ^= key >> 32;
	}
	word = left;
	memcpy(&word, text, left);
	key = (key ^ word ^ (uint64_t)left << 56) * 0xD6E8FEB86659FD93u;
	return key ^ key >> 32;
}

/* The place of a key, or the free one that it would get. There are places, some of them free. */
static struct vf_table_place *seek(const struct vf_table *table, uint64_t key, const char *text)
{
	size_t i = place_for(table, key);
	for (;; i = next_place(table, i)) {
		struct vf_table_place *place = &table->places[i];
		if (!place->item || (place->key == key && (!text || !strcmp(place->text, text))))
			return place;
	}
}

static int grow(struct vf_table *table)
{
	struct vf_table grown = {.bits = table->bits ? table->bits + 1 : BITS_MIN, .n = table->n};
	grown.places = calloc((size_t)1 << grown.bits, sizeof *grown.places);
	if (!grown.places)
		return -1;
	for (size_t i = 0; i < n_places(table); i++) {
		const struct vf_table_place *place = &table->places[i];
		if (!place->item)
			continue;
		size_t to = place_for(&grown, place->key);
		while (grown.places[to].item)
			to = next_place(&grown, to);
		grown.places[to] = *place;
	}
	free(table->places);
	*table = grown;
	return 0;
}

static void *find(const struct vf_table *table, uint64_t key, const char *text)
{
	return table->bits ? seek(table, key, text)->item : NULL;
}

/* gcc's analyzer loses sight of a text that it has seen in a place. */
#if defined __GNUC__ && !defined __clang__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

static int put(struct vf_table *table, uint64_t key, const char *text, void *item)
{
	struct vf_table_place *place = table->bits ? seek(table, key, text) : NULL;
	if (place && place->item) {
		place->item = item;
		return 0;
	}
	/* A quarter is left free, which keeps what is tried short. */
	if (!place || table->n >= n_places(table) / 4 * 3) {
		if (grow(table))
			return -1;
		place = seek(table, key, text);
	}
	if (text && !(place->text = strdup(text)))
		return -1;
	place->key = key;
	place->item = item;
	table->n++;
	return 0;
}

#if defined __GNUC__ && !defined __clang__
#pragma GCC diagnostic pop
#endif

static void *take(struct vf_table *table, uint64_t key, const char *text)
{
	struct vf_table_place *place = table->bits ? seek(table, key, text) : NULL;
	if (!place || !place->item)
		return NULL;
	void *item = place->item;
	free(place->text);
	size_t hole = (size_t)(place - table->places), mask = n_places(table) - 1;
	for (size_t i = next_place(table, hole); table->places[i].item; i = next_place(table, i)) {
		/* It stays if the hole is before the place that its key is for. */
		size_t from = place_for(table, table->places[i].key);
		if (((i - from) & mask) < ((i - hole) & mask))
			continue;
		table->places[hole] = table->places[i];
		hole = i;
	}
	table->places[hole] = (struct vf_table_place){0};
	table->n--;
	return item;
}

void *vf_table_find(const struct vf_table *table, uint64_t key)
{
	return find(table, key, NULL);
}

void *vf_table_find_text(const struct vf_table *table, const char *text)
{
	return find(table, key_of(text), text);
}

int vf_table_put(struct vf_table *table, uint64_t key, void *item)
{
	return put(table, key, NULL, item);
}

int vf_table_put_text(struct vf_table *table, const char *text, void *item)
{
	return put(table, key_of(text), text, item);
}

void *vf_table_take(struct vf_table *table, uint64_t key)
{
	return take(table, key, NULL);
}

void *vf_table_take_text(struct vf_table *table, const char *text)
{
	return take(table, key_of(text), text);
}

void *vf_table_next(const struct vf_table *table, size_t *at)
{
	while (*at < n_places(table)) {
		void *item = table->places[(*at)++].item;
		if (item)
			return item;
	}
	return NULL;
}

uint64_t vf_table_key(const struct vf_table *table, size_t at)
{
	return table->places[at - 1].key;
}

void vf_table_free(struct vf_table *table)
{
	for (size_t i = 0; i < n_places(table); i++)
		free(table->places[i].text);
	free(table->places);
	*table = (struct vf_table){0};
}
