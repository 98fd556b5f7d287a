/* A table finds what was put in, under numbers and texts alike, whatever was taken out meanwhile,
and without memory is as it was. */

#include "vf_table.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "faults.h"

enum {
	MANY = 500,
	STEPS = 200000,
	SPREAD = 10000,
};

static char items[MANY];
static char *held[MANY]; /* what should be in the table: one of `items`, or NULL */
static uint32_t seed = 1;

static uint32_t draw(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* As task ids are, and addresses, and what has but a few bits of difference at the top. */
static uint64_t counted(uint32_t i)
{
	return i;
}

static uint64_t address(uint32_t i)
{
	return 0x7f0000000000u + 4096ull * i;
}

static uint64_t high(uint32_t i)
{
	return (uint64_t)i << 55 | i % 3;
}

static uint32_t n_held(void)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < MANY; i++)
		n += held[i] != NULL;
	return n;
}

/* All that it holds is met once, and nothing else. */
static void check_all(const struct vf_table *table, uint64_t (*key_of)(uint32_t i))
{
	char met[MANY] = {0};
	char *item;
	uint32_t n = 0;
	for (size_t at = 0; (item = vf_table_next(table, &at)); n++) {
		size_t i = (size_t)(item - items);
		CHECK(i < MANY && held[i] == item && !met[i]);
		CHECK(!key_of || vf_table_key(table, at) == key_of((uint32_t)i));
		met[i] = 1;
	}
	CHECK(n == n_held() && table->n == n);
}

static void test_numbers(uint64_t (*key_of)(uint32_t i))
{
	struct vf_table table = {0};
	memset(held, 0, sizeof held);
	CHECK(!vf_table_find(&table, 0) && !vf_table_take(&table, 0));
	check_all(&table, key_of);
	for (uint32_t step = 0; step < STEPS; step++) {
		/* A wave: few at times, and nearly all at others. */
		uint32_t i = draw(MANY), fills = step / (STEPS / 8) % 2;
		if (draw(4) < (fills ? 3u : 1u)) {
			CHECK(!vf_table_put(&table, key_of(i), &items[i]));
			held[i] = &items[i];
		} else {
			CHECK(vf_table_take(&table, key_of(i)) == held[i]);
			held[i] = NULL;
		}
		uint32_t other = draw(MANY);
		CHECK(vf_table_find(&table, key_of(other)) == held[other]);
		if (step % 1000 == 0)
			check_all(&table, key_of);
	}
	vf_table_free(&table);
	CHECK(!table.n && !vf_table_find(&table, key_of(1)));
}

/* From the empty text on, some of which begin alike for longer than a number is. */
static const char *text(uint32_t i)
{
	static char text[64];
	snprintf(text, sizeof text, "%.*s%.0u", (int)(i % 40),
			"/a/directory/that/many/files/have/in/common", i / 40);
	if (i >= 40)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%u", i);
	return text;
}

static void test_texts(void)
{
	struct vf_table table = {0};
	memset(held, 0, sizeof held);
	CHECK(!vf_table_find_text(&table, "") && !vf_table_take_text(&table, ""));
	for (uint32_t step = 0; step < STEPS; step++) {
		uint32_t i = draw(MANY);
		if (draw(2)) {
			CHECK(!vf_table_put_text(&table, text(i), &items[i]));
			held[i] = &items[i];
		} else {
			CHECK(vf_table_take_text(&table, text(i)) == held[i]);
			held[i] = NULL;
		}
		uint32_t other = draw(MANY);
		CHECK(vf_table_find_text(&table, text(other)) == held[other]);
		if (step % 1000 == 0)
			check_all(&table, NULL);
	}
	vf_table_free(&table);
}

/* The table has copies, and what is put in again takes the former one's place. */
static void test_a_text_is_copied(void)
{
	struct vf_table table = {0};
	char name[] = "name";
	CHECK(!vf_table_put_text(&table, name, &items[0]));
	name[0] = 'g';
	CHECK(!vf_table_find_text(&table, "game"));
	CHECK(!vf_table_put_text(&table, "name", &items[1]) && table.n == 1);
	CHECK(vf_table_find_text(&table, "name") == &items[1]);
	vf_table_free(&table);
}

/* Whatever request fails, at whatever size. */
static void test_short_memory(void)
{
	struct vf_table numbers = {0}, texts = {0};
	memset(held, 0, sizeof held);
	uint32_t n_failed = 0;
	for (uint32_t i = 0; i < MANY; i++) {
		for (int n = 0;; n++) {
			faults_begin(n);
			int failed = vf_table_put(&numbers, counted(i), &items[i]);
			CHECK(failed == -faults_end() && numbers.n == i + !failed);
			if (!failed)
				break;
			n_failed++;
			CHECK(!vf_table_find(&numbers, counted(i)));
		}
		for (int n = 0;; n++) {
			faults_begin(n);
			int failed = vf_table_put_text(&texts, text(i), &items[i]);
			CHECK(failed == -faults_end() && texts.n == i + !failed);
			if (!failed)
				break;
			CHECK(!vf_table_find_text(&texts, text(i)));
		}
		held[i] = &items[i];
		/* What is there already takes none. */
		faults_begin(FAULTS_ALL);
		CHECK(!vf_table_put(&numbers, counted(i), &items[i]));
		CHECK(!faults_end());
	}
	CHECK(n_failed > 3 && n_failed < MANY / 10);
	check_all(&numbers, counted);
	check_all(&texts, NULL);
	vf_table_free(&numbers);
	vf_table_free(&texts);
}

/* Whatever the distance between numbers, what is tried to find one remains short. */
static void test_are_spread(void)
{
	for (uint64_t distance = 16; distance <= 8192; distance += 16) {
		struct vf_table table = {0};
		for (uint64_t i = 0; i < SPREAD; i++)
			CHECK(!vf_table_put(&table, 0x55d5c0001230u + i * distance, items));
		uint32_t run = 0, longest = 0;
		for (size_t i = 0; i < (size_t)1 << table.bits; i++) {
			run = table.places[i].item ? run + 1 : 0;
			longest = run > longest ? run : longest;
		}
		CHECK(longest < SPREAD / 20);
		vf_table_free(&table);
	}
}

int main(void)
{
	test_are_spread();
	test_numbers(counted);
	test_numbers(address);
	test_numbers(high);
	test_texts();
	test_a_text_is_copied();
	test_short_memory();
	return 0;
}
