#include "vf_border.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vf_accept.h"
#include "vf_clock.h"
#include "vf_cut.h"
#include "vf_handshake.h"
#include "vf_hooks.h"
#include "vf_line.h"
#include "vf_tls.h"

static _Thread_local struct vf_border owned;
static _Thread_local int connections;
static _Thread_local struct pollfd *fds;
static _Thread_local int fds_capacity;

/* The worker whose message TaskVine reads could not get a file, through no fault of its own. */
static _Thread_local int blameless;

/* It has just said so, and TaskVine takes the file off its list. */
static _Thread_local int has_failed;

/* The worker that is being sent a task. */
static _Thread_local struct vine_worker_info *sent_to;

/* What TaskVine has polled last, and goes through. */
static _Thread_local struct link_info *polled;
static _Thread_local int n_polled;

/* TaskVine has read that a task is complete, and looks for it; it has found none. */
static _Thread_local int seeks_complete, knows_none;

/* What a task needs at the most and at the least, as this thread was told last. */
static _Thread_local struct rmsummary most, least;
static pthread_mutex_t categories = PTHREAD_MUTEX_INITIALIZER;

void vf_border_own(const struct vf_border *border)
{
	connections = 0;
	polled = NULL; /* TaskVine may free it */
	vf_line_forget();
	if (border) {
		owned = *border;
		vf_handshake_begin(owned.password);
		vf_cut_begin();
		return;
	}
	vf_handshake_end();
	vf_cut_end();
	memset(&owned, 0, sizeof owned);
	free(fds);
	fds = NULL;
	fds_capacity = 0;
}

static int have_buffered_input(const struct link_info *array, int nlinks)
{
	for (int i = 0; i < nlinks; i++) {
		if (!link_buffer_empty(array[i].link))
			return 1;
	}
	return 0;
}

/* Accept who waits at the link that workers connect to, negative: none is polled; and hear who has
come. */
static void hear_strangers(const struct link_info *array, int listening)
{
	int64_t at_ms = vf_now_ms();
	vf_handshake_hear(listening >= 0 && !vf_accept_pause_ms(at_ms) ?
					link_fd(array[listening].link) :
					-1,
			at_ms);
}

/* Poll the links, who is kept aside, and the wake. Tells whether a link is ready; false after a
wake, a time-out or a signal. */
static int sleep_on(const struct link_info *array, int nlinks, int listening, int msec)
{
	if (fds_capacity < nlinks + 2) {
		struct pollfd *grown = realloc(fds, sizeof *fds * (size_t)(nlinks + 2) * 2);
		if (!grown)
			return 1;
		fds = grown;
		fds_capacity = (nlinks + 2) * 2;
	}
	for (int i = 0; i < nlinks; i++) {
		int events = array[i].events;
		fds[i] = (struct pollfd){
				.fd = link_fd(array[i].link),
				.events = (short)((events & LINK_READ ? POLLIN : 0) |
						(events & LINK_WRITE ? POLLOUT : 0)),
		};
	}
	fds[nlinks] = (struct pollfd){.fd = owned.wake->fd, .events = POLLIN};
	fds[nlinks + 1] = (struct pollfd){.fd = vf_handshake_fd(), .events = POLLIN};
	int ready = poll(fds, (nfds_t)(nlinks + 2), msec);
	int come = listening >= 0 && fds[listening].revents != 0,
	    spoken = fds[nlinks + 1].revents != 0;
	if (ready > 0 && (come || spoken))
		hear_strangers(array, come ? listening : -1);
	return vf_handshake_ready() || ready > (fds[nlinks].revents != 0) + come + spoken;
}

/* Take turns and sleep until a link is ready, TaskVine has something to do, or it is time. */
static void take_turns(struct link_info *array, int nlinks, int listening, int64_t end_ms)
{
	int may_sleep = end_ms > vf_now_ms() && !have_buffered_input(array, nlinks) &&
			!vf_handshake_ready();
	enum vf_turn next = owned.turn(owned.arg, connections);

	while (may_sleep && next != VF_TURN_ACTIVE) {
		if (next == VF_TURN_IDLE) {
			vf_wake_park(owned.wake);
			next = owned.turn(owned.arg, connections);
		}
		int64_t left_ms = end_ms - vf_now_ms();
		if (next == VF_TURN_ACTIVE || left_ms <= 0 ||
				sleep_on(array, nlinks, listening, (int)left_ms))
			may_sleep = 0;
		vf_wake_done(owned.wake);
		if (may_sleep)
			next = owned.turn(owned.arg, connections);
	}
}

/* Of what is encrypted, TaskVine hears when it can read some. Returns how many more are ready. */
static int judge_encrypted(struct link_info *array, int nlinks)
{
	int n_more = 0;
	for (int i = 0; i < nlinks; i++) {
		int fd = link_fd(array[i].link), was_ready = array[i].revents != 0;
		if (vf_tls_pending(fd))
			array[i].revents |= LINK_READ;
		else if ((array[i].revents & LINK_READ) && link_buffer_empty(array[i].link) &&
				!vf_tls_has_come(fd))
			array[i].revents &= ~LINK_READ;
		n_more += (array[i].revents != 0) - was_ready;
	}
	return n_more;
}

int __wrap_link_poll(struct link_info *array, int nlinks, int msec)
{
	VF_FIRED(link_poll);
	if (!owned.turn)
		return __real_link_poll(array, nlinks, msec);

	int64_t start_ms = vf_now_ms();
	int listening = nlinks - 1;
	while (listening >= 0 && !vf_accept_is_listening(array[listening].link))
		listening--;
	struct link_info *door = listening >= 0 ? &array[listening] : NULL;
	int events = door ? door->events : 0, pause_ms = door ? vf_accept_pause_ms(start_ms) : 0;
	if (pause_ms) {
		msec = msec < pause_ms ? msec : pause_ms;
		door->events = 0;
	}
	take_turns(array, nlinks, listening, start_ms + msec);
	int n_ready = __real_link_poll(array, nlinks, 0);
	if (vf_tls_is_on())
		n_ready += judge_encrypted(array, nlinks);
	polled = array;
	n_polled = nlinks;
	if (door) {
		/* TaskVine hears of those that have spoken, and of nobody else. */
		n_ready -= door->revents != 0;
		hear_strangers(array, door->revents ? listening : -1);
		door->revents = vf_handshake_ready() ? LINK_READ : 0;
		door->events = events;
		n_ready += door->revents != 0;
	}
	return n_ready;
}

struct vine_worker_info *__wrap_vine_worker_create(struct link *link)
{
	VF_FIRED(vine_worker_create);
	struct vine_worker_info *worker = __real_vine_worker_create(link);
	connections += worker != NULL;
	vf_cut_forget(); /* its link may lie where another one lay */
	if (worker && owned.joined)
		owned.joined(owned.arg, worker, link_fd(link));
	return worker;
}

void __wrap_vine_worker_delete(struct vine_worker_info *worker)
{
	VF_FIRED(vine_worker_delete);
	connections--;
	vf_line_forget(); /* in the midst of whose message it was */
	vf_cut_forget();
	if (owned.left)
		owned.left(owned.arg, worker);
	__real_vine_worker_delete(worker);
}

/* TaskVine reads from each of what it has polled in turn, which may end the connection, or another
one: it would look for more in a link that is freed. */
void __wrap_link_close(struct link *link)
{
	VF_FIRED(link_close);
	for (int i = 0; polled && i < n_polled; i++) {
		if (polled[i].link == link)
			polled[i] = (struct link_info){0};
	}
	__real_link_close(link);
}

/* TaskVine gives a task back as often as its worker says that it is complete, but has freed it
after the first time. It knows no such task. */
void *__wrap_itable_lookup(struct itable *table, uint64_t key)
{
	VF_FIRED(itable_lookup);
	void *found = __real_itable_lookup(table, key);
	if (!seeks_complete)
		return found;
	seeks_complete = 0;
	if (found && !strcmp(vine_task_get_state(found), "WAITING_RETRIEVAL"))
		found = NULL;
	knows_none = !found;
	return found;
}

/* Up to 7.15 as much as the task has written, also if the worker keeps that until it is asked: the
next messages would be lost, or waited for. */
int64_t __wrap_link_soak(struct link *link, int64_t length, time_t stoptime)
{
	VF_FIRED(link_soak);
	if (knows_none)
		length = vf_line_unasked();
	knows_none = 0;
	return __real_link_soak(link, length, stoptime);
}

static int can_be_cached(const char *line)
{
	char name[VINE_LINE_MAX];
	int64_t nbytes;
	return !owned.fits || !vf_line_cached(line, name, &nbytes) ||
			owned.fits(owned.arg, name, nbytes);
}

int __wrap_link_readline(struct link *link, char *line, size_t length, time_t stoptime)
{
	VF_FIRED(link_readline);
	if (!owned.turn)
		return __real_link_readline(link, line, length, stoptime);
	enum vf_line said =
			vf_cut_is(link) ? VF_LINE_NONE : vf_line_read(link, line, length, stoptime);
	seeks_complete = said == VF_LINE_COMPLETE;
	knows_none = 0;
	if (said == VF_LINE_FOREIGN) {
		if (owned.foreign)
			owned.foreign(owned.arg, line);
		said = VF_LINE_NONE;
	}
	/* TaskVine would ask for the updates that there are, and wait an hour for the answer. */
	int result = said == VF_LINE_CACHED ?
			can_be_cached(line) :
			said != VF_LINE_NONE && (said != VF_LINE_UPDATES || owned.is_watching);
	if (!result)
		vf_cut_note(link);
	return result;
}

struct vine_worker_info *vf_border_choose(struct vine_manager *manager, struct vine_task *task)
{
	return __real_vine_schedule_task_to_worker(manager, task);
}

struct vine_worker_info *__wrap_vine_schedule_task_to_worker(
		struct vine_manager *manager, struct vine_task *task)
{
	VF_FIRED(vine_schedule_task_to_worker);
	if (owned.may_run && !owned.may_run(owned.arg, task))
		return NULL;
	return owned.choose ? owned.choose(owned.arg, task) : vf_border_choose(manager, task);
}

int __wrap_vine_manager_put_task(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task, const char *command, struct rmsummary *limits,
		struct vine_file *target)
{
	VF_FIRED(vine_manager_put_task);
	if (owned.sending)
		owned.sending(owned.arg, worker, task, 1);
	struct vine_worker_info *outer = sent_to; /* what an input is made by is sent within */
	sent_to = worker;
	int result = __real_vine_manager_put_task(manager, worker, task, command, limits, target);
	sent_to = outer;
	if (owned.sending)
		owned.sending(owned.arg, worker, NULL, 0);
	if (result && owned.unsent)
		owned.unsent(owned.arg, task);
	return result;
}

/* Both functions return an object of their own, one for the process, which the next call frees: of
another executor's thread, perhaps. So each thread has a copy, of which TaskVine wants the numbers
alone, and no two calls run at a time; the second function calls the first. */
static const struct rmsummary *keep_own(struct rmsummary *own, const struct rmsummary *found)
{
	*own = *found;
	own->category = own->command = own->taskid = own->snapshot_name = NULL;
	own->limits_exceeded = own->peak_times = NULL;
	own->snapshots = NULL;
	own->snapshots_count = 0;
	return own;
}

static void lock_categories(void)
{
	pthread_mutex_lock(&categories);
}

static void unlock_categories(void)
{
	pthread_mutex_unlock(&categories);
}

/* A process that forks may have an executor in each, and another thread that is just there. */
__attribute__((constructor)) static void keep_categories_at_forks(void)
{
	pthread_atfork(lock_categories, unlock_categories, unlock_categories);
}

const struct rmsummary *__wrap_category_task_max_resources(struct category *category,
		struct rmsummary *user, category_allocation_t request, int task_id)
{
	VF_FIRED(category_task_max_resources);
	lock_categories();
	const struct rmsummary *found = keep_own(&most,
			__real_category_task_max_resources(category, user, request, task_id));
	unlock_categories();
	return found;
}

const struct rmsummary *__wrap_category_task_min_resources(struct category *category,
		struct rmsummary *user, category_allocation_t request, int task_id)
{
	VF_FIRED(category_task_min_resources);
	lock_categories();
	const struct rmsummary *found = keep_own(&least,
			__real_category_task_min_resources(category, user, request, task_id));
	unlock_categories();
	return found;
}

int __wrap_vine_task_set_result(struct vine_task *task, vine_result_t result)
{
	VF_FIRED(vine_task_set_result);
	int is_set = __real_vine_task_set_result(task, result);
	const char *worker = vine_task_get_addrport(task);
	if (owned.library_ended && worker && vine_task_get_library_provided(task))
		owned.library_ended(owned.arg, task, worker,
				!strcmp(vine_task_get_state(task), "WAITING_RETRIEVAL"));
	return is_set;
}

#if VF_TASKVINE < 715
int __wrap_vine_file_replica_table_insert(struct vine_manager *manager,
		struct vine_worker_info *worker, const char *cached_name,
		struct vine_file_replica *replica)
{
	VF_FIRED(vine_file_replica_table_insert);
	int result = __real_vine_file_replica_table_insert(manager, worker, cached_name, replica);
	if (owned.replica)
		owned.replica(owned.arg, worker, cached_name, 1);
	return result;
}
#else
struct vine_file_replica *__wrap_vine_file_replica_table_get_or_create(struct vine_manager *manager,
		struct vine_worker_info *worker, const char *cached_name, vine_file_type_t type,
		vine_cache_level_t level, int64_t nbytes, time_t mtime)
{
	VF_FIRED(vine_file_replica_table_get_or_create);
	struct vine_file_replica *replica = __real_vine_file_replica_table_get_or_create(
			manager, worker, cached_name, type, level, nbytes, mtime);
	if (owned.replica)
		owned.replica(owned.arg, worker, cached_name, 1);
	return replica;
}
#endif

struct vine_file_replica *__wrap_vine_file_replica_table_remove(struct vine_manager *manager,
		struct vine_worker_info *worker, const char *cached_name)
{
	VF_FIRED(vine_file_replica_table_remove);
	/* Before: the name may be part of the replica. */
	if (owned.replica)
		owned.replica(owned.arg, worker, cached_name, 0);
	/* Of a worker that leaves, the name is what its table has, which TaskVine (7.14) frees
	before it looks for the name among all workers' files: where it did not find the name, the
	worker would be asked for the file after it has left. */
	char *name = strdup(cached_name);
	struct vine_file_replica *replica = __real_vine_file_replica_table_remove(
			manager, worker, name ? name : cached_name);
	free(name);
#if VF_TASKVINE < 715
	/* A worker of 7.14 tries for no name twice, and gives back each task that needs the file,
	until it is told to forget it. */
	if (has_failed && replica)
		vine_manager_send(manager, worker, "unlink %s\n", cached_name);
#endif
	has_failed = 0;
	return replica;
}

void __wrap_vine_txn_log_write_cache_update(struct vine_manager *manager,
		struct vine_worker_info *worker, size_t nbytes, timestamp_t took_us,
		timestamp_t began_us, const char *cached_name)
{
	VF_FIRED(vine_txn_log_write_cache_update);
	if (owned.cached)
		owned.cached(owned.arg, worker, cached_name, nbytes, took_us);
	__real_vine_txn_log_write_cache_update(
			manager, worker, nbytes, took_us, began_us, cached_name);
}

void __wrap_cctools_debug(int64_t flags, const char *format, ...)
{
	VF_FIRED(cctools_debug);
	va_list arguments;
	va_start(arguments, format);
	/* On the way of every call, but few messages begin like this. */
	if (owned.invalidated &&
			!strncmp(format, VINE_FORMAT_INVALIDATED,
					sizeof VINE_FORMAT_INVALIDATED - 1)) {
		va_list copy;
		va_copy(copy, arguments);
		va_arg(copy, const char *);
		va_arg(copy, const char *);
		const char *cachename = va_arg(copy, const char *);
		const char *reason = va_arg(copy, const char *);
		blameless = owned.invalidated(owned.arg, cachename, reason);
		has_failed = 1;
		va_end(copy);
	}
	vdebug(flags, format, arguments);
	va_end(arguments);
}

/* Whether the worker that TaskVine is about to blame is to be blamed. */
static int is_to_blame(void)
{
	VF_FIRED(vine_current_transfers_set_failure);
	int yes = !blameless;
	blameless = 0;
	return yes;
}

#if VF_TASKVINE < 715
int __wrap_vine_current_transfers_set_failure(struct vine_manager *manager, char *id)
{
	return is_to_blame() ? __real_vine_current_transfers_set_failure(manager, id) : 0;
}
#else
int __wrap_vine_current_transfers_set_failure(
		struct vine_manager *manager, char *id, const char *cached_name)
{
	return is_to_blame() ? __real_vine_current_transfers_set_failure(manager, id, cached_name) :
			       0;
}
#endif

int __wrap_vine_current_transfers_url_in_use(struct vine_manager *manager, const char *source)
{
	VF_FIRED(vine_current_transfers_url_in_use);
	return owned.fetching ? owned.fetching(owned.arg, source) :
				__real_vine_current_transfers_url_in_use(manager, source);
}

int __wrap_vine_file_has_changed(struct vine_file *file)
{
	VF_FIRED(vine_file_has_changed);
	return sent_to && owned.is_there && owned.is_there(owned.arg, sent_to, file) ?
			0 :
			__real_vine_file_has_changed(file);
}
