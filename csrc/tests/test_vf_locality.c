/* Replicas, and the choice of workers beside the definition of the cost, evaluated for every
worker. */

#include "vf_locality.h"

#include <math.h>
#include <string.h>

#include "check.h"

enum {
	FILES = 24,
	WORKERS = 12,
	CALLS = 16,
	INPUTS = 6,
	CASES = 4000,
};

/* What the table must know, in the plainest form. */
struct naive {
	struct vf_locality_rule rule;
	int file_known[FILES], worker_known[WORKERS];
	uint64_t nbytes[FILES], queued_ns[WORKERS];
	uint32_t capacity[WORKERS];
	unsigned char held[FILES][WORKERS];
};

static struct vf_locality table;
static struct naive naive;
static int huge_files; /* a few of which are more than a call may have */

static uint64_t random_state = 1;

static uint64_t below(uint64_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (random_state >> 20) % n;
}

static uint64_t naive_moves(uint32_t worker, const uint32_t *files, uint64_t n)
{
	uint64_t nbytes = 0;
	for (uint64_t i = 0; i < n; i++) {
		int again = 0;
		for (uint64_t k = 0; k < i; k++)
			again |= files[k] == files[i];
		if (!again && !naive.held[files[i]][worker])
			nbytes += naive.nbytes[files[i]];
	}
	return nbytes;
}

static double naive_cost(uint32_t worker, const uint32_t *files, uint64_t n)
{
	return (double)naive_moves(worker, files, n) / naive.rule.bandwidth_bytes_per_ns +
			naive.rule.queue_weight * (double)naive.queued_ns[worker];
}

static uint64_t naive_sum(uint64_t a, uint64_t b)
{
	return a + b < a || a + b > INT64_MAX ? INT64_MAX : a + b;
}

/* One batch on both; every choice must be a minimum over all workers. Returns how many calls were
compared. */
static uint32_t compare_batch(uint32_t n_calls)
{
	static uint64_t offsets[CALLS + 1], durations[CALLS], charged[CALLS];
	static uint32_t files[CALLS * INPUTS], chosen[CALLS];
	static unsigned char held_before[FILES][WORKERS];
	uint32_t known[FILES], n_known = 0;
	for (uint32_t f = 0; f < FILES; f++)
		if (naive.file_known[f])
			known[n_known++] = f;

	uint64_t at, most_ns = below(4) ? 1000 : 1;
	for (uint32_t i = 0; i < n_calls; i++) {
		offsets[i + 1] = offsets[i];
		for (uint64_t k = n_known ? below(INPUTS + 1) : 0; k > 0; k--)
			files[offsets[i + 1]++] = known[below(n_known)];
		durations[i] = below(50) ? below(most_ns) : UINT64_MAX;
	}
	enum vf_locality_fault fault =
			vf_locality_check(&table, n_calls, offsets, files, offsets[n_calls], &at);
	if (fault == VF_LOCALITY_BAD_NBYTES) { /* some files are huge */
		CHECK(huge_files && at < n_calls);
		return 0;
	}
	CHECK(fault == VF_LOCALITY_FINE);
	CHECK(vf_locality_assign(&table, n_calls, offsets, files, durations, chosen, charged) == 0);

	memcpy(held_before, naive.held, sizeof held_before);
	for (uint32_t i = 0; i < n_calls; i++) {
		const uint32_t *inputs = files + offsets[i];
		uint64_t n_inputs = offsets[i + 1] - offsets[i];
		double least = INFINITY;
		int any = 0;
		for (uint32_t w = 0; w < WORKERS; w++) {
			if (!naive.worker_known[w] || naive.capacity[w] == 0)
				continue;
			any = 1;
			least = fmin(least, naive_cost(w, inputs, n_inputs));
		}
		if (!any) {
			CHECK(chosen[i] == VF_LOCALITY_NONE && charged[i] == 0);
			continue;
		}
		uint32_t w = chosen[i];
		CHECK(w < WORKERS && naive.worker_known[w] && naive.capacity[w] > 0);
		CHECK(naive_cost(w, inputs, n_inputs) == least);

		double transfer = (double)naive_moves(w, inputs, n_inputs) /
				naive.rule.bandwidth_bytes_per_ns;
		uint64_t charge = naive_sum(
				durations[i], transfer < 9e18 ? (uint64_t)transfer : INT64_MAX);
		CHECK(charged[i] == charge);
		naive.queued_ns[w] = naive_sum(naive.queued_ns[w], charge);
		if (naive.capacity[w] != VF_LOCALITY_UNLIMITED)
			naive.capacity[w]--;
		if (naive.rule.moved != VF_LOCALITY_MOVED_IGNORE)
			for (uint64_t k = 0; k < n_inputs; k++)
				naive.held[inputs[k]][w] = 1;
	}
	if (naive.rule.moved == VF_LOCALITY_MOVED_BATCH)
		memcpy(naive.held, held_before, sizeof held_before);

	if (n_calls > 0 && chosen[0] != VF_LOCALITY_NONE && below(2)) { /* the first is done */
		uint32_t w = chosen[0];
		vf_locality_finish(&table, w, charged[0]);
		naive.queued_ns[w] -= charged[0];
		if (naive.capacity[w] != VF_LOCALITY_UNLIMITED)
			naive.capacity[w]++;
	}
	return n_calls;
}

static uint64_t random_nbytes(void)
{
	switch (below(8)) {
	case 0:
		return 0;
	case 1:
		return huge_files ? (uint64_t)INT64_MAX / (1 + below(20)) : 1;
	case 2:
		return below(3) * 100;
	default:
		return below(100000);
	}
}

static uint32_t random_capacity(void)
{
	return below(3) ? VF_LOCALITY_UNLIMITED : (uint32_t)below(5);
}

/* A random change to both. */
static void change(void)
{
	uint32_t f = (uint32_t)below(FILES), w = (uint32_t)below(WORKERS), index;
	int both = naive.file_known[f] && naive.worker_known[w];

	switch (below(12)) {
	case 0:
		if (!naive.file_known[f])
			break;
		vf_locality_forget_file(&table, f);
		naive.file_known[f] = 0;
		memset(naive.held[f], 0, sizeof naive.held[f]);
		break;
	case 1:
	case 2: {
		uint64_t nbytes = random_nbytes();
		int n = 0;
		for (f = 0; f < FILES; f++)
			n += naive.file_known[f];
		if (n == FILES)
			break;
		index = vf_locality_add_file(&table, nbytes);
		CHECK(index < FILES && !naive.file_known[index]);
		naive.file_known[index] = 1;
		naive.nbytes[index] = nbytes;
		break;
	}
	case 3:
		if (!naive.worker_known[w] || below(3))
			break;
		vf_locality_remove_worker(&table, w);
		naive.worker_known[w] = 0;
		for (f = 0; f < FILES; f++)
			naive.held[f][w] = 0;
		break;
	case 4: {
		uint32_t capacity = random_capacity();
		int n = 0;
		for (w = 0; w < WORKERS; w++)
			n += naive.worker_known[w];
		if (n == WORKERS)
			break;
		index = vf_locality_add_worker(&table, capacity);
		CHECK(index < WORKERS && !naive.worker_known[index]);
		naive.worker_known[index] = 1;
		naive.queued_ns[index] = 0;
		naive.capacity[index] = capacity;
		break;
	}
	case 5:
		if (!naive.worker_known[w])
			break;
		naive.capacity[w] = random_capacity();
		vf_locality_set_capacity(&table, w, naive.capacity[w]);
		break;
	case 6:
		if (!naive.worker_known[w])
			break;
		naive.queued_ns[w] = below(20) ? below(2000) : INT64_MAX;
		vf_locality_set_queue(&table, w, naive.queued_ns[w]);
		break;
	case 7:
		if (!both)
			break;
		vf_locality_remove_replica(&table, f, w);
		naive.held[f][w] = 0;
		break;
	case 8: /* all workers hold it */
		if (!naive.file_known[f] || below(4))
			break;
		for (w = 0; w < WORKERS; w++)
			if (naive.worker_known[w]) {
				CHECK(vf_locality_add_replica(&table, f, w) == 0);
				naive.held[f][w] = 1;
			}
		break;
	default:
		if (!both)
			break;
		CHECK(vf_locality_add_replica(&table, f, w) == 0);
		naive.held[f][w] = 1;
	}
}

static void compare_state(void)
{
	for (uint32_t w = 0; w < WORKERS; w++) {
		CHECK(vf_locality_has_worker(&table, w) == naive.worker_known[w]);
		if (!naive.worker_known[w])
			continue;
		CHECK(table.workers[w].queued_ns == (int64_t)naive.queued_ns[w]);
		CHECK(table.workers[w].capacity == naive.capacity[w]);
		CHECK((table.workers[w].place != VF_LOCALITY_NONE) == (naive.capacity[w] > 0));
	}
	for (uint32_t f = 0; f < FILES; f++) {
		CHECK(vf_locality_has_file(&table, f) == naive.file_known[f]);
		if (!naive.file_known[f])
			continue;
		uint32_t n = 0;
		for (uint32_t w = 0; w < WORKERS; w++) {
			n += naive.held[f][w];
			if (naive.worker_known[w])
				CHECK(vf_locality_has_replica(&table, f, w) == naive.held[f][w]);
		}
		CHECK(table.files[f].replicas.n == n);
		for (uint32_t i = 0; i < n; i++) {
			struct vf_locality_end end = table.files[f].replicas.ends[i];
			struct vf_locality_end twin =
					table.workers[end.other].replicas.ends[end.twin];
			CHECK(twin.other == f && twin.twin == i);
		}
	}
}

static void test_against_naive(void)
{
	static const double bandwidths[] = {1.25, 0.001, 1000, 1e-300, INFINITY};
	static const double weights[] = {1, 0, 0.3, 1e300};
	uint64_t n_calls = 0, n_calls_huge = 0;

	for (uint32_t round = 0; round < CASES / 40; round++) {
		memset(&naive, 0, sizeof naive);
		huge_files = round % 4 == 0;
		naive.rule.bandwidth_bytes_per_ns = bandwidths[below(5) ? below(3) : below(5)];
		naive.rule.queue_weight = weights[below(5) ? below(3) : below(4)];
		naive.rule.moved = (enum vf_locality_moved)below(3);
		CHECK(vf_locality_init(&table, &naive.rule, round) == 0);
		for (int i = 0; i < 40; i++) {
			for (uint64_t k = below(30); k > 0; k--)
				change();
			*(huge_files ? &n_calls_huge : &n_calls) +=
					compare_batch((uint32_t)below(CALLS + 1));
			compare_state();
		}
		vf_locality_free(&table);
	}
	CHECK(n_calls > 20000 && n_calls_huge > 1000);
}

/* Calls that cost the same everywhere. */
static void test_ties(double queue_weight, uint64_t duration_ns)
{
	enum {
		TIED = 1000,
		AMONG = 10,
	};
	const struct vf_locality_rule rule = {
			.bandwidth_bytes_per_ns = 1, .queue_weight = queue_weight};
	static uint64_t offsets[TIED + 1], durations[TIED];
	static uint32_t files[TIED], chosen[2][TIED];

	for (uint64_t seed = 0; seed < 20; seed++) {
		for (int again = 0; again < 2; again++) {
			uint32_t counts[AMONG] = {0}, most = 0, fewest = TIED;
			CHECK(vf_locality_init(&table, &rule, seed) == 0);
			for (int i = 0; i < AMONG; i++)
				CHECK(vf_locality_add_worker(&table, VF_LOCALITY_UNLIMITED) !=
						VF_LOCALITY_NONE);
			/* With every other seed the calls have an input, which all workers hold but
			one that is full. */
			uint32_t file = vf_locality_add_file(&table, 100);
			for (uint32_t i = 0; i < TIED; i++) {
				files[i] = file;
				offsets[i + 1] = seed % 2 ? i + 1 : 0;
				durations[i] = duration_ns;
			}
			for (uint32_t w = 1; w < AMONG; w++)
				CHECK(vf_locality_add_replica(&table, file, w) == 0);
			if (seed % 2)
				vf_locality_set_capacity(&table, 0, 0);
			CHECK(vf_locality_assign(&table, TIED, offsets, files, durations,
					      chosen[again], NULL) == 0);
			for (uint32_t i = 0; i < TIED; i++)
				counts[chosen[again][i]]++;
			for (uint32_t w = seed % 2; w < AMONG; w++) {
				most = counts[w] > most ? counts[w] : most;
				fewest = counts[w] < fewest ? counts[w] : fewest;
			}
			CHECK(most - fewest <= 1);
			vf_locality_free(&table);
		}
		/* The same seed, the same choices. */
		CHECK(memcmp(chosen[0], chosen[1], sizeof chosen[0]) == 0);
	}
}

/* The first choice is not always the first worker. */
static void test_seeds(void)
{
	static const struct vf_locality_rule rule = {
			.bandwidth_bytes_per_ns = 1, .queue_weight = 1};
	uint64_t offsets[2] = {0}, duration = 1;
	uint32_t counts[4] = {0}, worker;
	for (uint64_t seed = 0; seed < 400; seed++) {
		CHECK(vf_locality_init(&table, &rule, seed) == 0);
		for (int i = 0; i < 4; i++)
			vf_locality_add_worker(&table, 1);
		CHECK(vf_locality_assign(&table, 1, offsets, NULL, &duration, &worker, NULL) == 0);
		counts[worker]++;
		vf_locality_free(&table);
	}
	for (int i = 0; i < 4; i++)
		CHECK(counts[i] > 60 && counts[i] < 140);
}

static void test_rules(void)
{
	struct vf_locality_rule rule = {.bandwidth_bytes_per_ns = 0, .queue_weight = 1};
	CHECK(vf_locality_init(&table, &rule, 0) == -1);
	rule.bandwidth_bytes_per_ns = NAN;
	CHECK(vf_locality_init(&table, &rule, 0) == -1);
	rule.bandwidth_bytes_per_ns = 1;
	rule.queue_weight = -1;
	CHECK(vf_locality_init(&table, &rule, 0) == -1);
	rule.queue_weight = INFINITY;
	CHECK(vf_locality_init(&table, &rule, 0) == -1);
}

/* Calls that share an input gather where it went first, until their queue costs more than to move
it again. */
static void test_gathering(void)
{
	struct vf_locality_rule rule = {.bandwidth_bytes_per_ns = 1,
			.queue_weight = 1,
			.moved = VF_LOCALITY_MOVED_BATCH};
	uint64_t offsets[] = {0, 1, 2, 3, 4}, durations[] = {40, 40, 40, 40}, charged[4];
	uint32_t files[4] = {0}, chosen[4];

	for (rule.moved = VF_LOCALITY_MOVED_IGNORE; rule.moved <= VF_LOCALITY_MOVED_KEEP;
			rule.moved++) {
		CHECK(vf_locality_init(&table, &rule, 7) == 0);
		CHECK(vf_locality_add_file(&table, 100) == 0);
		for (int i = 0; i < 8; i++)
			vf_locality_add_worker(&table, VF_LOCALITY_UNLIMITED);
		CHECK(vf_locality_assign(&table, 4, offsets, files, durations, chosen, charged) ==
				0);
		CHECK(charged[0] == 140);
		/* To wait behind 140 ns costs more than to move 100 bytes. */
		CHECK(chosen[1] != chosen[0] && charged[1] == 140);
		CHECK(table.files[0].replicas.n == (rule.moved == VF_LOCALITY_MOVED_KEEP ? 4 : 0));
		vf_locality_free(&table);

		rule.queue_weight = 0.5;
		CHECK(vf_locality_init(&table, &rule, 7) == 0);
		CHECK(vf_locality_add_file(&table, 100) == 0);
		for (int i = 0; i < 8; i++)
			vf_locality_add_worker(&table, VF_LOCALITY_UNLIMITED);
		CHECK(vf_locality_assign(&table, 4, offsets, files, durations, chosen, charged) ==
				0);
		if (rule.moved != VF_LOCALITY_MOVED_IGNORE) {
			/* 70, 90, then 110 of queue against 100 of transfer */
			CHECK(chosen[1] == chosen[0] && chosen[2] == chosen[0] &&
					chosen[3] != chosen[0]);
			CHECK(charged[1] == 40 && charged[2] == 40 && charged[3] == 140);
		} else {
			CHECK(chosen[1] != chosen[0]);
		}
		CHECK(table.files[0].replicas.n == (rule.moved == VF_LOCALITY_MOVED_KEEP ? 2 : 0));
		vf_locality_free(&table);
		rule.queue_weight = 1;
	}
}

static void test_check(void)
{
	static const struct vf_locality_rule rule = {
			.bandwidth_bytes_per_ns = 1, .queue_weight = 1};
	uint64_t offsets[] = {0, 2, 2, 3}, at;
	uint32_t files[] = {0, 1, 2}, chosen[3];
	uint64_t durations[3] = {0};

	CHECK(vf_locality_init(&table, &rule, 0) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(vf_locality_add_file(&table, VF_LOCALITY_MAX_NBYTES / 2) == (uint32_t)i);
	CHECK(vf_locality_check(&table, 3, offsets, files, 3, &at) == VF_LOCALITY_FINE);
	CHECK(vf_locality_assign(&table, 3, offsets, files, durations, chosen, NULL) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(chosen[i] == VF_LOCALITY_NONE); /* there is no worker */

	CHECK(vf_locality_check(&table, 3, offsets, files, 2, &at) == VF_LOCALITY_BAD_OFFSET &&
			at == 3);
	offsets[2] = 1;
	CHECK(vf_locality_check(&table, 3, offsets, files, 3, &at) == VF_LOCALITY_BAD_OFFSET &&
			at == 2);
	offsets[2] = 2;
	offsets[0] = 1;
	CHECK(vf_locality_check(&table, 3, offsets, files, 3, &at) == VF_LOCALITY_BAD_OFFSET &&
			at == 0);
	offsets[0] = 0;

	files[1] = 3;
	CHECK(vf_locality_check(&table, 3, offsets, files, 3, &at) == VF_LOCALITY_BAD_FILE &&
			at == 1);
	vf_locality_forget_file(&table, 2);
	files[1] = 0; /* twice the same */
	CHECK(vf_locality_check(&table, 3, offsets, files, 3, &at) == VF_LOCALITY_BAD_FILE &&
			at == 2);
	CHECK(vf_locality_add_file(&table, 2) == 2); /* its index is used again */
	CHECK(vf_locality_check(&table, 3, offsets, files, 3, &at) == VF_LOCALITY_FINE);
	offsets[1] = offsets[2] = 3;
	files[0] = 1;
	CHECK(vf_locality_check(&table, 3, offsets, files, 3, &at) == VF_LOCALITY_BAD_NBYTES &&
			at == 0);
	vf_locality_free(&table);
}

int main(void)
{
	test_rules();
	test_check();
	test_gathering();
	test_seeds();
	test_ties(0, 1);
	test_ties(1, 1);
	test_ties(1, 0);
	test_against_naive();
	return 0;
}
