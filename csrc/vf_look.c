#include "vf_look.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vf_clock.h"
#include "vf_wake.h"

enum {
	PATIENCE_MS = 50,
	SHORT_PATIENCE_MS = 2, /* while others hang, this one is likely to hang, too */
	SLOW_MAX = 64,
	VALID_MS = 1000, /* what took long to learn, and as long as that took */
};

enum state {
	LOOKER_IDLE,
	LOOKER_ASKED,
	LOOKER_ANSWERED,
};

struct vf_looker {
	pthread_mutex_t mutex;
	pthread_cond_t asked, answered;
	char *source; /* the thread's while it is asked */
	enum state state;
	int is_left; /* nobody will ask it any more: the thread frees it */
	int is_slow; /* somebody may wait for it to end, who sleeps */
	struct vf_wake *wake;
	uint64_t asked_ns;
	int64_t answered_ms;
	struct vf_look look;
};

/* All that took long, of all managers of the program: a wake may come for another one, which is
harmless. */
static atomic_uint_fast64_t n_ended;

void vf_look_here(const char *source, struct vf_look *look)
{
	struct stat status;
	*look = (struct vf_look){.asked_ns = vf_now_ns()};
	if (access(source, R_OK) || stat(source, &status)) {
		look->error = errno;
		return;
	}
	look->mode = status.st_mode;
	look->nbytes = status.st_size;
	look->inode = status.st_ino;
	look->modified = status.st_mtim;
}

static void free_looker(struct vf_looker *looker)
{
	pthread_mutex_destroy(&looker->mutex);
	pthread_cond_destroy(&looker->asked);
	pthread_cond_destroy(&looker->answered);
	free(looker->source);
	free(looker);
}

static void *serve(void *arg)
{
	struct vf_looker *looker = arg;
	pthread_mutex_lock(&looker->mutex);
	while (!looker->is_left) {
		if (looker->state != LOOKER_ASKED) {
			pthread_cond_wait(&looker->asked, &looker->mutex);
			continue;
		}
		struct vf_look look;
		pthread_mutex_unlock(&looker->mutex);
		vf_look_here(looker->source, &look);
		pthread_mutex_lock(&looker->mutex);
		looker->look = look;
		looker->answered_ms = vf_now_ms();
		looker->state = LOOKER_ANSWERED;
		pthread_cond_signal(&looker->answered);
		if (looker->is_slow && !looker->is_left) {
			atomic_fetch_add(&n_ended, 1);
			if (looker->wake)
				vf_wake_force(looker->wake);
		}
	}
	pthread_mutex_unlock(&looker->mutex);
	free_looker(looker);
	return NULL;
}

static struct vf_looker *start_looker(struct vf_wake *wake)
{
	struct vf_looker *looker = calloc(1, sizeof *looker);
	pthread_t thread;
	pthread_condattr_t monotonic;
	sigset_t all, before;
	if (!looker)
		return NULL;
	pthread_mutex_init(&looker->mutex, NULL);
	pthread_cond_init(&looker->asked, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&looker->answered, &monotonic);
	pthread_condattr_destroy(&monotonic);
	looker->wake = wake;
	/* Signals are for the threads of the program. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&thread, NULL, serve, looker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) {
		free_looker(looker);
		return NULL;
	}
	pthread_detach(thread);
	return looker;
}

static void leave(struct vf_looker *looker)
{
	pthread_mutex_lock(&looker->mutex);
	looker->is_left = 1;
	pthread_cond_signal(&looker->asked);
	pthread_mutex_unlock(&looker->mutex);
}

/* Have it look at its source, and wait for so long. Tells whether it has answered. */
static int ask(struct vf_looker *looker, int patience_ms)
{
	struct timespec end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += patience_ms * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000L;
	end.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&looker->mutex);
	looker->state = LOOKER_ASKED;
	looker->is_slow = 0;
	looker->asked_ns = vf_now_ns();
	pthread_cond_signal(&looker->asked);
	int error = 0;
	while (looker->state != LOOKER_ANSWERED && !error)
		error = pthread_cond_timedwait(&looker->answered, &looker->mutex, &end);
	int answered = looker->state == LOOKER_ANSWERED;
	looker->is_slow = !answered;
	pthread_mutex_unlock(&looker->mutex);
	return answered;
}

/* Whether an answer that took long is there, and still worth something; `since_ns` is when the look
may have begun. */
static int has_answer(struct vf_looker *looker, uint64_t since_ns, int *is_busy)
{
	pthread_mutex_lock(&looker->mutex);
	*is_busy = looker->state == LOOKER_ASKED;
	int64_t took_ms = looker->answered_ms - (int64_t)(looker->asked_ns / 1000000);
	int yes = looker->state == LOOKER_ANSWERED && looker->asked_ns >= since_ns &&
			vf_now_ms() - looker->answered_ms <= VALID_MS + took_ms;
	pthread_mutex_unlock(&looker->mutex);
	return yes;
}

/* A looker for another file: one that is idle, or has told what nobody asks for any more, or a new
one. */
static struct vf_looker *find_looker(struct vf_looks *looks)
{
	struct vf_looker *found = looks->idle;
	looks->idle = NULL;
	if (found)
		return found;
	for (size_t at = 0; (found = vf_table_next(&looks->slow, &at));) {
		int is_busy;
		if (has_answer(found, 0, &is_busy) || is_busy)
			continue;
		vf_table_take_text(&looks->slow, found->source);
		return found;
	}
	if (looks->slow.n >= SLOW_MAX)
		return NULL;
	found = start_looker(looks->wake);
	looks->lacks |= !found; /* else one that hangs tells when it ends */
	return found;
}

static const struct vf_look *note(
		struct vf_looks *looks, const char *source, const struct vf_look *look)
{
	free(vf_table_take_text(&looks->seen, source));
	struct vf_look *seen = malloc(sizeof *seen);
	if (!seen || vf_table_put_text(&looks->seen, source, seen)) {
		free(seen);
		looks->lacks = 1;
		return NULL;
	}
	*seen = *look;
	return seen;
}

/* gcc's analyzer loses sight of a source that it has seen in a looker. */
#if defined __GNUC__ && !defined __clang__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

/* Ask a looker that nobody has asked; it is slow from then on, if it does not answer at once. */
static const struct vf_look *look_by(
		struct vf_looks *looks, struct vf_looker *looker, const char *source)
{
	char *former = looker->source;
	looker->source = strdup(source);
	if (!looker->source) {
		looker->source = former;
		looks->idle = looker;
		looks->lacks = 1;
		return NULL;
	}
	free(former);
	if (ask(looker, looks->slow.n ? SHORT_PATIENCE_MS : PATIENCE_MS)) {
		looks->idle = looker;
		return note(looks, source, &looker->look);
	}
	if (vf_table_put_text(&looks->slow, source, looker)) {
		leave(looker); /* nobody would find its answer */
		looks->lacks = 1;
	}
	return NULL;
}

#if defined __GNUC__ && !defined __clang__
#pragma GCC diagnostic pop
#endif

static void forget_seen(struct vf_looks *looks)
{
	void *seen;
	for (size_t at = 0; (seen = vf_table_next(&looks->seen, &at));)
		free(seen);
	vf_table_free(&looks->seen);
}

const struct vf_look *vf_look(
		struct vf_looks *looks, uint64_t turn, const char *source, uint64_t since_ns)
{
	if (looks->turn != turn)
		forget_seen(looks);
	looks->turn = turn;
	const struct vf_look *seen = vf_table_find_text(&looks->seen, source);
	if (seen && seen->asked_ns >= since_ns)
		return seen;
	struct vf_looker *looker = vf_table_find_text(&looks->slow, source);
	int is_busy = 0;
	if (looker && has_answer(looker, since_ns, &is_busy))
		return note(looks, source, &looker->look);
	if (is_busy)
		return NULL;
	looks->n_made++;
	if (looker)
		vf_table_take_text(&looks->slow, source);
	else if (!(looker = find_looker(looks)))
		return NULL;
	return look_by(looks, looker, source);
}

int vf_looks_ended(struct vf_looks *looks)
{
	uint64_t now = atomic_load(&n_ended);
	int yes = looks->lacks || now != looks->n_ended;
	looks->n_ended = now;
	looks->lacks = 0;
	return yes;
}

void vf_looks_free(struct vf_looks *looks)
{
	struct vf_looker *looker;
	if (looks->idle)
		leave(looks->idle);
	for (size_t at = 0; (looker = vf_table_next(&looks->slow, &at));)
		leave(looker);
	vf_table_free(&looks->slow);
	forget_seen(looks);
	memset(looks, 0, sizeof *looks);
}
