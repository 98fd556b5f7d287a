/* The seed, the clock and the trace; and what csrc calls in the place of the C library's functions
that wait or ask for the time. */

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

struct happening {
	uint64_t at_ns, order;
	void (*happen)(void *arg);
	void *arg;
};

struct sim sim;
const char *sim_about = "";
int (*sim_is_readable)(int fd);
void (*sim_shutdown)(int fd);
void (*sim_sleeps)(void);

static uint64_t chance, n_planned;
static struct happening *heap;
static size_t n_heap, heap_room;

void sim_begin(uint64_t seed)
{
	int is_tracing = sim.is_tracing;
	sim = (struct sim){.seed = seed, .is_tracing = is_tracing, .wake_fd = -1};
	sim.now_ns = 1000000 * SIM_S;
	sim.digest = 14695981039346656037u;
	chance = seed;
	for (int i = 0; i < 3; i++) /* so that neighbours are no shifted copies */
		chance = sim_random() ^ (seed << 32);
	n_planned = n_heap = 0;
}

void sim_end(void)
{
	free(heap);
	heap = NULL;
	n_heap = heap_room = 0;
}

uint64_t sim_random(void)
{
	uint64_t z = chance += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t sim_below(uint32_t n)
{
	return (uint32_t)(sim_random() % n);
}

int sim_chance(uint32_t per_mille)
{
	return sim_below(1000) < per_mille;
}

uint64_t sim_between(uint64_t least, uint64_t most)
{
	return least + sim_random() % (most - least + 1);
}

static int is_before(const struct happening *one, const struct happening *other)
{
	return one->at_ns < other->at_ns ||
			(one->at_ns == other->at_ns && one->order < other->order);
}

static void swap(size_t one, size_t other)
{
	struct happening kept = heap[one];
	heap[one] = heap[other];
	heap[other] = kept;
}

void sim_after(uint64_t delay_ns, void (*happen)(void *arg), void *arg)
{
	if (n_heap == heap_room) {
		heap_room = heap_room ? 2 * heap_room : 256;
		heap = realloc(heap, heap_room * sizeof *heap);
		if (!heap)
			abort();
	}
	size_t at = n_heap++;
	heap[at] = (struct happening){sim.now_ns + delay_ns, n_planned++, happen, arg};
	while (at && is_before(&heap[at], &heap[(at - 1) / 2])) {
		swap(at, (at - 1) / 2);
		at = (at - 1) / 2;
	}
}

static struct happening take_first(void)
{
	struct happening first = heap[0];
	heap[0] = heap[--n_heap];
	for (size_t at = 0;;) {
		size_t least = at;
		for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < n_heap; child++) {
			if (is_before(&heap[child], &heap[least]))
				least = child;
		}
		if (least == at)
			return first;
		swap(at, least);
		at = least;
	}
}

int sim_step(uint64_t until_ns)
{
	if (!n_heap || heap[0].at_ns > until_ns) {
		if (sim.now_ns < until_ns)
			sim.now_ns = until_ns;
		return 0;
	}
	struct happening first = take_first();
	if (sim.now_ns < first.at_ns)
		sim.now_ns = first.at_ns;
	sim.n_events++;
	first.happen(first.arg);
	return 1;
}

void sim_spend(uint64_t ns)
{
	uint64_t until_ns = sim.now_ns + ns;
	while (sim_step(until_ns))
		continue;
}

void sim_trace(const char *format, ...)
{
	char text[512];
	va_list arguments;
	va_start(arguments, format);
	int nbytes = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (nbytes >= (int)sizeof text)
		nbytes = sizeof text - 1;
	sim.digest = (sim.digest ^ sim.now_ns) * 1099511628211u;
	for (int i = 0; i < nbytes; i++)
		sim.digest = (sim.digest ^ (unsigned char)text[i]) * 1099511628211u;
	if (sim.is_tracing)
		printf("%12.6f %s\n", (double)(sim.now_ns - 1000000 * SIM_S) / 1e9, text);
}

_Noreturn void sim_broken(const char *rule, const char *format, ...)
{
	va_list arguments;
	fflush(stdout);
	fprintf(stderr, "seed %llu%s%s at %.6f s: broken: %s: ", (unsigned long long)sim.seed,
			*sim_about ? " of " : "", sim_about,
			(double)(sim.now_ns - 1000000 * SIM_S) / 1e9, rule);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	_exit(1);
}

/* ---- in the place of the C library's; csrc's objects call these (Makefile) ---- */

int simulated_clock_gettime(clockid_t clock, struct timespec *now);
time_t simulated_time(time_t *now);
int simulated_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int simulated_usleep(useconds_t us);
pid_t simulated_getpid(void);
int simulated_shutdown(int fd, int how);

int simulated_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = (time_t)(sim.now_ns / SIM_S);
	now->tv_nsec = (long)(sim.now_ns % SIM_S);
	return 0;
}

time_t simulated_time(time_t *now)
{
	time_t seconds = (time_t)(sim.now_ns / SIM_S);
	if (now)
		*now = seconds;
	return seconds;
}

int simulated_usleep(useconds_t us)
{
	sim_spend(us * SIM_US);
	return 0;
}

pid_t simulated_getpid(void)
{
	return 1;
}

int simulated_shutdown(int fd, int how)
{
	(void)how;
	sim_shutdown(fd);
	return 0;
}

/* Of real descriptors there is the wake. */
static int look(struct pollfd *fds, nfds_t n)
{
	int n_ready = 0;
	for (nfds_t i = 0; i < n; i++) {
		fds[i].revents = 0;
		if (fds[i].fd >= SIM_FD_BASE)
			fds[i].revents = sim_is_readable(fds[i].fd) ? POLLIN : 0;
		else if (fds[i].fd == sim.wake_fd)
			poll(&fds[i], 1, 0);
		n_ready += fds[i].revents != 0;
	}
	return n_ready;
}

int simulated_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	uint64_t end_ns = sim.now_ns + (uint64_t)timeout_ms * SIM_MS;
	int n_ready;
	while (!(n_ready = look(fds, n))) {
		sim_sleeps();
		if (!sim_step(end_ns))
			return look(fds, n);
	}
	return n_ready;
}
