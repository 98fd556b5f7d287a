/* Runs seeds until so much time has been simulated, or has gone by. */

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"
#include "scenario.h"
#include "sim.h"

/* The address sanitizer's, whose headers not every compiler brings. */
int __sanitizer_install_malloc_and_free_hooks(
		void (*on_malloc)(const volatile void *block, size_t nbytes),
		void (*on_free)(const volatile void *block));
int __lsan_do_recoverable_leak_check(void);

static int64_t n_blocks;

static void note_malloc(const volatile void *block, size_t nbytes)
{
	(void)nbytes;
	n_blocks += block != NULL;
}

static void note_free(const volatile void *block)
{
	n_blocks -= block != NULL;
}

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct result run_one(uint64_t seed)
{
	int64_t before = n_blocks;
	struct result result = scenario_run(seed);
	if (n_blocks != before) {
		__lsan_do_recoverable_leak_check();
		sim_broken("all memory is released", "%" PRId64 " blocks are left",
				n_blocks - before);
	}
	return result;
}

static void report(uint64_t first, uint64_t n, const struct result *all, double took_s)
{
	printf("%" PRIu64 " seeds from %" PRIu64 ": %.1f simulated hours in %.1f s, %u calls, "
	       "%" PRIu64 " events, digest %016" PRIx64 "\n",
			n, first, (double)all->simulated_ns / 3.6e12, took_s, all->n_calls,
			all->n_events, all->digest);
	for (int i = 0; i < N_FAULTS; i++)
		printf("%10" PRIu64 " %s\n", fault_counts[i], fault_names[i]);
}

/* Those that have found something: a line begins with a seed, and goes on with what it was. */
static int run_kept(const char *path, int is_twice)
{
	FILE *file = fopen(path, "r");
	char line[512];
	int n = 0;
	while (file && fgets(line, sizeof line, file)) {
		char *end;
		uint64_t seed = strtoull(line, &end, 10);
		if (end == line)
			continue;
		struct result one = run_one(seed);
		if (is_twice && run_one(seed).digest != one.digest)
			sim_broken("the same seed is the same run", "another digest");
		n++;
	}
	if (file)
		fclose(file);
	if (!n)
		fprintf(stderr, "%s has no seeds\n", path);
	return n ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", 1, NULL, 's'}, {"hours", 1, NULL, 'h'},
			{"seconds", 1, NULL, 'S'}, {"trace", 0, NULL, 't'}, {"twice", 0, NULL, '2'},
			{"about", 1, NULL, 'a'}, {"kept", 1, NULL, 'k'}, {NULL, 0, NULL, 0}};
	uint64_t first = 1, n = 0;
	double hours = 0, seconds = 0;
	const char *kept = NULL;
	int option, is_twice = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			first = strtoull(optarg, NULL, 10);
		else if (option == 'h')
			hours = atof(optarg);
		else if (option == 'S')
			seconds = atof(optarg);
		else if (option == 't')
			sim.is_tracing = 1;
		else if (option == '2')
			is_twice = 1;
		else if (option == 'k')
			kept = optarg;
		else if (option == 'a')
			sim_about = optarg;
		else
			return 2;
	}
	__sanitizer_install_malloc_and_free_hooks(note_malloc, note_free);
	scenario_run(first); /* what is made once, and stays */
	memset(fault_counts, 0, sizeof fault_counts);
	if (kept)
		return run_kept(kept, is_twice);
	double began_s = now_s();
	struct result all = {0};
	do {
		struct result one = run_one(first + n);
		if (is_twice && run_one(first + n).digest != one.digest)
			sim_broken("the same seed is the same run", "another digest");
		all.simulated_ns += one.simulated_ns;
		all.n_calls += one.n_calls;
		all.n_events += one.n_events;
		all.digest = (all.digest ^ one.digest) * 1099511628211u;
		n++;
	} while ((double)all.simulated_ns / 3.6e12 < hours || now_s() - began_s < seconds);
	report(first, n, &all, now_s() - began_s);
	return 0;
}
