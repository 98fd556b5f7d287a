#include "workers.h"

#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "peer.h"
#include "sim.h"

struct habits habits;

static struct vine_manager *manager;
static struct peer **peers;
static uint32_t n_peers, peers_room;
static struct peer_task *all_tasks;

/* ---- what it says ---- */

static void say(struct peer *peer, const struct message *what)
{
	if (peer->is_gone || peer->link.fd < 0)
		return;
	struct message *message = malloc(sizeof *message);
	*message = *what;
	if (what->output) {
		message->output = malloc(what->nbytes + 1);
		memcpy(message->output, what->output, what->nbytes);
		message->output[what->nbytes] = 0;
	}
	engine_hear(&peer->link, message);
}

void peer_say_complete(struct peer *peer, int id, int result, int exit_code, const char *output,
		size_t nbytes)
{
	sim_trace("worker %u completes task %d, result %d, %zu bytes", peer->number, id, result,
			nbytes);
	say(peer,
			&(struct message){.kind = MESSAGE_COMPLETE,
					.id = id,
					.result = result,
					.exit_code = exit_code,
					.output = (char *)output,
					.nbytes = nbytes});
}

void peer_say_cached(struct peer *peer, const struct peer_file *file, uint64_t took_us)
{
	struct message message = {.kind = MESSAGE_CACHED, .nbytes = file->nbytes};
	message.took_us = took_us;
	snprintf(message.name, sizeof message.name, "%s", file->name);
	say(peer, &message);
}

static void say_invalid(struct peer *peer, const struct peer_file *file)
{
	struct message message = {.kind = MESSAGE_INVALID};
	snprintf(message.name, sizeof message.name, "%s", file->name);
	snprintf(message.reason, sizeof message.reason, "error transferring file: no route");
	say(peer, &message);
}

/* ---- files ---- */

struct peer_file *peer_find_file(struct peer *peer, const char *name)
{
	struct peer_file *file;
	LIST_FOREACH(file, &peer->files, entry) {
		if (!strcmp(file->name, name))
			return file;
	}
	return NULL;
}

static void drop_file(struct peer_file *file)
{
	LIST_REMOVE(file, entry);
	free(file);
}

struct peer_file *peer_add_file(struct peer *peer, const char *name, size_t nbytes)
{
	struct peer_file *file = peer_find_file(peer, name);
	if (!file) {
		file = calloc(1, sizeof *file);
		snprintf(file->name, sizeof file->name, "%s", name);
		LIST_INSERT_HEAD(&peer->files, file, entry);
	}
	file->nbytes = nbytes;
	return file;
}

/* ---- tasks ---- */

void peer_end_task(struct peer_task *task)
{
	if (task->state == PEER_TASK_OVER)
		return;
	if (task->state == PEER_TASK_RUNS)
		task->peer->n_running--;
	task->state = PEER_TASK_OVER;
	LIST_REMOVE(task, entry);
}

static void end_tasks(struct peer *peer)
{
	while (!LIST_EMPTY(&peer->tasks))
		peer_end_task(LIST_FIRST(&peer->tasks));
}

void peer_die(struct peer *peer)
{
	if (peer->is_gone)
		return;
	sim_trace("worker %u is gone", peer->number);
	end_tasks(peer);
	while (!LIST_EMPTY(&peer->files))
		drop_file(LIST_FIRST(&peer->files));
	peer->is_gone = 1;
	engine_hear_end(&peer->link);
}

/* Up to 7.14 nothing is heard of its function calls any more. */
void peer_end_library(struct peer *peer)
{
	struct peer_task *task, *next;
	if (peer->is_gone || !peer->library)
		return;
	model_fault(FAULT_library_ended, "worker", peer->number);
	model.n_library_ends++;
	model.library_ended_ns = sim.now_ns;
	int id = peer->library;
	peer->library = peer->is_library_up = 0;
	peer->functions = 0;
	peer_say_complete(peer, id, VINE_RESULT_LIBRARY_EXIT, 1, "", 0);
	for (task = LIST_FIRST(&peer->tasks); task; task = next) {
		next = LIST_NEXT(task, entry);
		if (VF_TASKVINE >= 715 && !task->is_library)
			peer_say_complete(peer, task->id, VINE_RESULT_FORSAKEN, 1, "", 0);
		peer_end_task(task);
	}
}

static void end_library(void *arg)
{
	peer_end_library(arg);
}

static void start_library(void *arg)
{
	struct peer_task *task = arg;
	struct peer *peer = task->peer;
	if (task->state == PEER_TASK_OVER)
		return;
	if (sim_chance(habits.library_fails_at_once)) {
		peer_end_library(peer);
		return;
	}
	peer->is_library_up = 1;
	if (sim_chance(habits.library_end))
		sim_after(sim_between(SIM_MS, 60 * SIM_S), end_library, peer);
	peer_go_on(peer);
}

static void arrive(void *arg)
{
	struct peer_task *task = arg;
	if (task->state == PEER_TASK_OVER)
		return;
	if (!task->is_library) {
		peer_begin(task);
		return;
	}
	task->state = PEER_TASK_WAITS;
	task->peer->library = task->id;
	sim_after(sim_between(50 * SIM_MS, 3 * SIM_S), start_library, task);
}

/* ---- what it is told ---- */

/* Whoever sends to one that is gone may notice. */
static int is_lost_on(const struct peer *peer)
{
	if (!peer->is_gone || !sim_chance(300))
		return 0;
	model_fault(FAULT_send_broken, "worker", peer->number);
	return 1;
}

static void note_mounts(struct peer_task *told, const struct vine_task *task)
{
	told->n_inputs = task->n_inputs;
	told->inputs = calloc(task->n_inputs + 1, sizeof *told->inputs);
	for (uint32_t i = 0; i < task->n_inputs; i++)
		snprintf(told->inputs[i], sizeof told->inputs[i], "%s",
				task->inputs[i].file->cached_name);
	told->n_outputs = task->n_outputs;
	told->outputs = calloc(task->n_outputs + 1, sizeof *told->outputs);
	for (uint32_t i = 0; i < task->n_outputs; i++) {
		snprintf(told->outputs[i].cached_name, sizeof told->outputs[i].cached_name, "%s",
				task->outputs[i].file->cached_name);
		if (sscanf(task->outputs[i].name, "made-%u", &told->outputs[i].job) != 1)
			sim_broken("an output has its name", "%s", task->outputs[i].name);
	}
}

static int hear_task(struct peer *peer, const struct vine_task *task)
{
	if (peer->is_gone)
		return is_lost_on(peer) ? -1 : 0;
	struct peer_task *told = calloc(1, sizeof *told);
	told->next = all_tasks;
	all_tasks = told;
	told->peer = peer;
	told->id = task->id;
	told->is_library = task->provides_library != NULL;
	told->command = strdup(task->command);
	if (!told->is_library)
		told->is_bundle = bundle_read(&told->bundle, task);
	note_mounts(told, task);
	LIST_INSERT_HEAD(&peer->tasks, told, entry);
	sim_after(peer->latency_ns, arrive, told);
	return 0;
}

struct coming {
	struct coming *next;
	struct peer *peer, *source;
	char name[160];
	uint64_t began_ns;
};

static struct coming *all_coming;

static void file_comes(void *arg)
{
	const struct coming *coming = arg;
	struct peer_file *file = peer_find_file(coming->peer, coming->name);
	if (coming->peer->is_gone || !file || file->state != PEER_FILE_COMING)
		return;
	const struct peer_file *from =
			coming->source ? peer_find_file(coming->source, coming->name) : NULL;
	int is_lost = coming->source &&
			(coming->source->is_gone || !from || from->state != PEER_FILE_THERE);
	if (is_lost || (file->is_fetched && sim_chance(habits.transfer_fail))) {
		model_fault(FAULT_transfer_failed, "worker", coming->peer->number);
		file->state = PEER_FILE_FAILED;
		model.has_url_failed |= !coming->source;
		say_invalid(coming->peer, file);
	} else {
		file->state = PEER_FILE_THERE;
		peer_say_cached(coming->peer, file, (sim.now_ns - coming->began_ns) / 1000);
	}
	peer_go_on(coming->peer);
}

static void expect_file(struct peer *peer, const struct vine_file *file, struct peer *source)
{
	struct peer_file *there = peer_find_file(peer, file->cached_name);
	if (there && there->state == PEER_FILE_FAILED) {
		say_invalid(peer, there);
		return;
	}
	if (there)
		return;
	there = peer_add_file(peer, file->cached_name, file->nbytes);
	there->is_fetched = source || file->type == VINE_URL;
	there->is_put = !there->is_fetched;
	struct coming *coming = calloc(1, sizeof *coming);
	*coming = (struct coming){all_coming, peer, source, "", sim.now_ns};
	snprintf(coming->name, sizeof coming->name, "%s", file->cached_name);
	all_coming = coming;
	uint64_t takes_ns =
			peer->latency_ns + (uint64_t)((double)file->nbytes / peer->bytes_per_ns);
	if (sim_chance(habits.transfer_slow)) {
		model_fault(FAULT_transfer_slow, "worker", peer->number);
		takes_ns += sim_between(SIM_S, 60 * SIM_S);
	}
	sim_after(takes_ns, file_comes, coming);
}

static int hear_put(struct peer *peer, const struct vine_file *file)
{
	if (peer->is_gone)
		return is_lost_on(peer) ? -1 : 0;
	if (sim_chance(habits.no_room_for_file)) {
		model_fault(FAULT_no_room_for_file, "worker", peer->number);
		peer_die(peer);
		return -1;
	}
	expect_file(peer, file, NULL);
	return 0;
}

static int hear_fetch(struct peer *peer, const struct vine_file *file, struct peer *source)
{
	if (peer->is_gone)
		return is_lost_on(peer) ? -1 : 0;
	expect_file(peer, file, source);
	return 0;
}

static int hear_unlink(struct peer *peer, const char *name)
{
	struct peer_file *file = peer->is_gone ? NULL : peer_find_file(peer, name);
	if (!file)
		return 0;
	if (file->is_fetched && file->state == PEER_FILE_COMING)
		sim_broken("no worker is told to delete what it fetches", "worker %u, %s",
				peer->number, name);
	drop_file(file);
	return 0;
}

static int hear_kill(struct peer *peer, int id)
{
	struct peer_task *task;
	LIST_FOREACH(task, &peer->tasks, entry) {
		if (task->id == id)
			break;
	}
	if (!task)
		return 0;
	if (task->is_library)
		peer->library = peer->is_library_up = 0;
	peer_end_task(task);
	return 0;
}

static void hear_exit(struct peer *peer)
{
	peer_die(peer);
}

static const struct peer_calls calls = {
		hear_task, hear_put, hear_fetch, hear_unlink, hear_kill, hear_exit};

/* ---- all of them ---- */

static int is_readable(int fd)
{
	const struct link *link = &peers[fd - SIM_FD_BASE]->link;
	return link->fd >= 0 && (!STAILQ_EMPTY(&link->come) || link->is_over);
}

static void shut_down(int fd)
{
	peer_die(peers[fd - SIM_FD_BASE]);
}

void workers_begin(struct vine_manager *whose)
{
	manager = whose;
	sim_is_readable = is_readable;
	sim_shutdown = shut_down;
}

void workers_end(void)
{
	for (struct peer_task *task; (task = all_tasks);) {
		all_tasks = task->next;
		free(task->command);
		free(task->inputs);
		free(task->outputs);
		bundle_free(&task->bundle);
		free(task);
	}
	for (struct coming *coming; (coming = all_coming);) {
		all_coming = coming->next;
		free(coming);
	}
	for (uint32_t i = 0; i < n_peers; i++) {
		while (!LIST_EMPTY(&peers[i]->files))
			drop_file(LIST_FIRST(&peers[i]->files));
		free(peers[i]);
	}
	free(peers);
	peers = NULL;
	n_peers = peers_room = 0;
}

void workers_join(uint32_t cores)
{
	struct peer *peer = calloc(1, sizeof *peer);
	*peer = (struct peer){.number = n_peers, .cores = cores, .memory = 1000 * cores};
	peer->disk = 10000;
	peer->latency_ns = sim_between(20 * SIM_US, sim_chance(100) ? 500 * SIM_MS : SIM_MS);
	peer->bytes_per_ns = 0.001 * (double)(1 + sim_below(1000));
	peer->link = (struct link){.fd = SIM_FD_BASE + (int)n_peers, .peer = peer, .calls = &calls};
	STAILQ_INIT(&peer->link.come);
	if (n_peers == peers_room) {
		peers_room = peers_room ? 2 * peers_room : 16;
		peers = realloc(peers, peers_room * sizeof *peers);
	}
	peers[n_peers++] = peer;
	sim_trace("worker %u joins with %u cores", peer->number, cores);
	engine_connect(manager, &peer->link);
	say(peer,
			&(struct message){.kind = MESSAGE_RESOURCES,
					.cores = (int)cores,
					.memory = (int)peer->memory,
					.disk = (int)peer->disk});
}

uint32_t workers_n_there(void)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < n_peers; i++)
		n += !peers[i]->is_gone;
	return n;
}

uint32_t workers_n_of(uint32_t cores)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < n_peers; i++)
		n += !peers[i]->is_gone && peers[i]->cores == cores;
	return n;
}

static struct peer *any_there(void)
{
	uint32_t n = workers_n_there(), nth = n ? sim_below(n) : 0;
	for (uint32_t i = 0; i < n_peers; i++) {
		if (!peers[i]->is_gone && !nth--)
			return peers[i];
	}
	return NULL;
}

void workers_lose_any(void)
{
	struct peer *peer = any_there();
	if (!peer)
		return;
	model_fault(FAULT_worker_left, "worker", peer->number);
	peer_die(peer);
}

void workers_forget_any(void)
{
	struct peer *peer = any_there();
	struct peer_file *file;
	if (!peer)
		return;
	LIST_FOREACH(file, &peer->files, entry) {
		if (file->state != PEER_FILE_THERE || file->is_put || !sim_chance(300))
			continue;
		model.has_url_failed = 1; /* it may be from one */
		model_fault(FAULT_file_forgotten, "worker", peer->number);
		file->state = PEER_FILE_FAILED;
		say_invalid(peer, file);
		return;
	}
}
