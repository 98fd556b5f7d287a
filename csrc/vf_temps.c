#include "vf_temps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "itable.h"
#include "taskvine_private.h"
#include "vf_turn.h"

static int is_made(const struct vf_file *file)
{
	return file->kind == VF_FILE_MADE;
}

static int is_read(const struct vf_file *file)
{
	return file->kind == VF_FILE_READ;
}

/* Each file of a kind among those of a call. */
#define FOR_EACH(temp, call, is_kind) \
	for (uint32_t k_ = 0; (call)->files && k_ < (call)->files->n; k_++) \
		for (struct vf_temp *temp = is_kind(&(call)->files->items[k_]) ? (call)->files->items[k_].temp : NULL; temp; temp = NULL)

static struct vine_file *declare(struct vf_loop *loop, struct vf_temp *temp)
{
	if (loop->config.peer_transfers)
		return vine_declare_temp(loop->manager);
	/* TaskVine would make it a file of the current directory. */
	char path[4096];
	snprintf(path, sizeof path, "%s-%llu", loop->config.temps_prefix, (unsigned long long)++loop->n_temps);
	temp->path = strdup(path);
	return temp->path ? vine_declare_file(loop->manager, path, VINE_CACHE_LEVEL_WORKFLOW, VINE_UNLINK_WHEN_DONE) : NULL;
}

/* A file of TaskVine's that nobody needs and some worker fetches. */
struct vf_leftover {
	struct vf_leftover *next;
	struct vine_file *file;
	char *cached_name;
};

/* A worker that is told to delete what it is about to fetch aborts (7.14.5). */
static int is_fetched(const struct vf_loop *loop, const char *cached_name)
{
	return cached_name && vine_file_replica_table_count_replicas(loop->manager, cached_name, VINE_REPLICA_PENDING) > 0;
}

/* The worker that fetches a file may have it all, also if those that held it are gone: it is to be deleted there, too. */
static void delete_when_fetched(struct vf_loop *loop, struct vine_file *file, char *cached_name)
{
	struct vf_leftover *leftover = calloc(1, sizeof *leftover);
	if (!leftover) {
		free(cached_name);
		return; /* it stays on workers until the end */
	}
	*leftover = (struct vf_leftover){.next = loop->leftovers, .file = file, .cached_name = cached_name};
	loop->leftovers = leftover;
}

static void delete_leftovers(struct vf_loop *loop)
{
	struct vf_leftover **at = &loop->leftovers;
	while (*at) {
		struct vf_leftover *leftover = *at;
		if (is_fetched(loop, leftover->cached_name)) {
			at = &leftover->next;
			continue;
		}
		*at = leftover->next;
		vine_undeclare_file(loop->manager, leftover->file);
		free(leftover->cached_name);
		free(leftover);
	}
}

void vf_temps_forget_leftovers(struct vf_loop *loop)
{
	struct vf_leftover *leftover;
	while ((leftover = loop->leftovers)) {
		loop->leftovers = leftover->next;
		free(leftover->cached_name);
		free(leftover);
	}
}

static void undeclare(struct vf_loop *loop, struct vf_temp *temp)
{
	struct vine_file *file = temp->datum ? temp->datum->file : NULL;
	if (!file)
		return;
	vf_replica_forget(loop, temp->datum);
	temp->datum = NULL;
	temp->generation++;
	loop->outdated |= temp->n_readers > 0;
	if (is_fetched(loop, temp->cached_name)) {
		delete_when_fetched(loop, file, temp->cached_name);
	} else {
		vine_undeclare_file(loop->manager, file);
		free(temp->cached_name);
	}
	free(temp->path);
	temp->path = temp->cached_name = NULL;
	temp->n_holders = 0;
	if (temp->state == VF_TEMP_THERE)
		temp->state = VF_TEMP_LOST;
}

static void forget_loss(struct vf_loop *loop, const struct vf_temp *temp)
{
	struct vf_temp **at = &loop->lost;
	while (*at && *at != temp)
		at = &(*at)->next_lost;
	if (*at)
		*at = temp->next_lost;
}

/* What nobody needs leaves the workers, and is given back. */
static void let_go_if_unneeded(struct vf_loop *loop, struct vf_temp *temp)
{
	if (!temp->let_go || temp->n_readers || temp->state == VF_TEMP_MAKING)
		return;
	undeclare(loop, temp);
	forget_loss(loop, temp);
	if (temp->given)
		return;
	temp->given = 1;
	struct vf_bundle *bundle = vf_bundle_create(0, NULL);
	if (!bundle)
		return; /* its memory stays until the end */
	bundle->temp = temp;
	vf_return_later(loop, bundle);
}

static void list_loss(struct vf_loop *loop, struct vf_temp *temp)
{
	temp->next_lost = loop->lost;
	loop->lost = temp;
}

static void note_loss(struct vf_loop *loop, struct vf_temp *temp)
{
	if (temp->state == VF_TEMP_LOST)
		return;
	temp->state = VF_TEMP_LOST;
	list_loss(loop, temp);
	VF_COUNT(loop, temps_lost, 1);
}

/* Run the call again that made it, for all that it made and is lost. Returns whether it was not at work already, for another of its
files: then what is lost is looked at again when it ends. */
static int run_maker(struct vf_loop *loop, const struct vf_temp *lost)
{
	struct vf_call *call = lost->maker;
	if (call->at_work)
		return 0;
	call->at_work = 1;
	call->losses = call->solo = 0;
	call->submitted_ns = vf_now_ns();
	FOR_EACH(temp, call, is_made) {
		if (temp->state != VF_TEMP_LOST)
			continue;
		forget_loss(loop, temp);
		undeclare(loop, temp); /* a worker that has failed to fetch it does not try for the same name again (7.14.5) */
		temp->state = VF_TEMP_MAKING;
	}
	FOR_EACH(temp, call, is_read)
		temp->n_readers++;
	VF_COUNT(loop, calls_remade, 1);
	vf_send_again(loop, call);
	return 1;
}

static void need(struct vf_temp **stack, struct vf_temp *temp)
{
	if (temp->needed)
		return; /* more than one of those that are needed is made from it */
	temp->needed = 1;
	temp->next_needed = *stack;
	*stack = temp;
}

/* Have a file made again, and first, all that is lost of what it was made from, at once: so each is made once, and stays until all have
read it that are made from it. */
static void make_again(struct vf_loop *loop, struct vf_temp *lost)
{
	struct vf_temp *stack = NULL;
	need(&stack, lost);
	while (stack) {
		struct vf_temp *needed = stack;
		stack = needed->next_needed;
		needed->needed = 0;
		if (needed->state != VF_TEMP_LOST || !run_maker(loop, needed))
			continue;
		FOR_EACH(temp, needed->maker, is_read) {
			if (temp->state == VF_TEMP_LOST)
				need(&stack, temp);
		}
	}
}

void vf_temps_begin(struct vf_loop *loop, struct vf_call *call)
{
	FOR_EACH(temp, call, is_made) {
		temp->maker = call->again;
		temp->state = VF_TEMP_MAKING;
	}
	FOR_EACH(temp, call, is_read) {
		temp->n_readers++;
		if (temp->state == VF_TEMP_LOST)
			make_again(loop, temp);
	}
}

static void fail_for_want_of(struct vf_loop *loop, struct vf_call *call, const struct vf_temp *temp)
{
	const struct vf_file *file = call->files->items;
	while (file->temp != temp)
		file++;
	vf_files_fail_for(loop, call, file, "the call that makes this temporary file has failed");
}

int vf_temps_park(struct vf_loop *loop, struct vf_call *call)
{
	FOR_EACH(temp, call, is_read) {
		if (temp->state == VF_TEMP_THERE)
			continue;
		if (temp->state == VF_TEMP_FAILED || temp->state == VF_TEMP_PLANNED) {
			fail_for_want_of(loop, call, temp);
			return 1;
		}
		vf_call_queue_again(call);
		vf_call_list_push(&temp->parked, call);
		return 1;
	}
	return 0;
}

/* Changes when a file that the bundle reads is made again, as another one. */
static uint64_t generation_of(const struct vf_bundle *bundle)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		FOR_EACH(temp, bundle->calls[i], is_read)
			sum += temp->generation;
	}
	return sum;
}

int vf_temps_outdated(const struct vf_bundle *bundle)
{
	return bundle->generation != generation_of(bundle);
}

int vf_temps_mount(struct vf_loop *loop, struct vf_bundle *bundle, struct vine_task *task)
{
	bundle->generation = generation_of(bundle);
	bundle->reads = vf_temps_any(bundle);
	if (bundle->reads)
		LIST_INSERT_HEAD(&loop->readers, bundle, reader);
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		const struct vf_files *files = bundle->calls[i]->files;
		for (uint32_t k = 0; files && k < files->n; k++) {
			const struct vf_file *file = &files->items[k];
			if (!is_made(file) || file->temp->state != VF_TEMP_MAKING)
				continue;
			struct vf_temp *temp = file->temp;
			struct vine_file *declared = temp->datum ? temp->datum->file : declare(loop, temp);
			if (declared && !temp->datum)
				temp->datum = vf_replica_know(loop, declared, temp);
			if (!temp->datum || !vine_task_add_output(task, declared, file->name, 0))
				return -1;
			temp->made = 0;
		}
	}
	return 0;
}

/* The states of all files that the calls of a bundle read, one bit each. */
static unsigned states_of(const struct vf_bundle *bundle)
{
	unsigned states = 0;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		FOR_EACH(temp, bundle->calls[i], is_read)
			states |= 1u << temp->state;
	}
	return states;
}

int vf_temps_any(const struct vf_bundle *bundle)
{
	return states_of(bundle) != 0;
}

int vf_temps_there(const struct vf_bundle *bundle)
{
	return !(states_of(bundle) & ~(1u << VF_TEMP_THERE));
}

int vf_temps_failed(const struct vf_bundle *bundle)
{
	return (states_of(bundle) & 1u << VF_TEMP_FAILED) != 0;
}

/* Bundles that TaskVine has and that wait for a file that will never be there, or for one in whose place there is another, come back. What
runs is left alone; it may come back to TaskVine, and is looked at again. */
static void give_readers_up(struct vf_loop *loop)
{
	struct vf_bundle *bundle;
	loop->outdated = 0;
	LIST_FOREACH(bundle, &loop->readers, reader) {
		if (!vf_temps_failed(bundle) && !vf_temps_outdated(bundle))
			continue;
		if (vf_watch_runs(bundle))
			loop->outdated = 1;
		else
			vf_watch_abandon(loop, bundle);
	}
}

static void unpark(struct vf_loop *loop, struct vf_temp *temp)
{
	/* Those that were there first are to be first again. */
	struct vf_call_list reversed = {0};
	struct vf_call *call;
	while ((call = vf_call_list_pop(&temp->parked)))
		vf_call_list_push_front(&reversed, call);
	while ((call = vf_call_list_pop(&reversed)))
		vf_send_again(loop, call);
}

/* What has become of a file, now that the call that was to make it has ended. */
static void end_making(struct vf_loop *loop, struct vf_temp *temp, int failed)
{
	if (temp->datum)
		vf_replica_measure(loop, temp->datum);
	int there = temp->path ? access(temp->path, F_OK) == 0 : temp->n_holders > 0;
	if (failed || (!there && !temp->made)) {
		temp->state = VF_TEMP_FAILED;
		undeclare(loop, temp); /* what there is of it is nothing to read, nor to lie beside what the next try writes */
		give_readers_up(loop);
	} else if (there) {
		temp->state = VF_TEMP_THERE;
		VF_COUNT(loop, temps_made, 1);
	} else {
		note_loss(loop, temp);
	}
	if (temp->state != VF_TEMP_LOST)
		unpark(loop, temp); /* where it has failed, they hear of that when their turn comes */
}

void vf_temps_end(struct vf_loop *loop, struct vf_call *call, int failed)
{
	call->at_work = 0;
	FOR_EACH(temp, call, is_made) {
		if (temp->state == VF_TEMP_MAKING)
			end_making(loop, temp, failed);
	}
	FOR_EACH(temp, call, is_read) {
		temp->n_readers--;
		let_go_if_unneeded(loop, temp);
	}
	FOR_EACH(temp, call, is_made) {
		if (temp->state == VF_TEMP_LOST && temp->n_readers)
			make_again(loop, temp);
		let_go_if_unneeded(loop, temp);
	}
}

static void add_holder(struct vf_temp *temp, const struct vf_worker *worker)
{
	for (uint32_t i = 0; i < temp->n_holders; i++) {
		if (temp->holders[i] == worker)
			return;
	}
	if (temp->n_holders == temp->holders_room) {
		uint32_t room = temp->holders_room ? 2 * temp->holders_room : 2;
		const struct vf_worker **grown = realloc(temp->holders, room * sizeof *grown);
		if (!grown)
			return;
		temp->holders = grown;
		temp->holders_room = room;
	}
	temp->holders[temp->n_holders++] = worker;
}

static void remove_holder(struct vf_temp *temp, const struct vf_worker *worker)
{
	for (uint32_t i = 0; i < temp->n_holders; i++) {
		if (temp->holders[i] == worker)
			temp->holders[i--] = temp->holders[--temp->n_holders];
	}
}

void vf_temps_hold(struct vf_temp *temp, const struct vf_worker *worker, const char *cached_name)
{
	add_holder(temp, worker);
	temp->made = 1;
	if (!temp->cached_name)
		temp->cached_name = strdup(cached_name);
}

void vf_temps_drop(struct vf_loop *loop, struct vf_temp *temp, const struct vf_worker *worker)
{
	remove_holder(temp, worker);
	if (!temp->n_holders && !temp->path && temp->state == VF_TEMP_THERE)
		note_loss(loop, temp);
}

void vf_temps_spoiled(struct vf_loop *loop, struct vf_temp *temp)
{
	if (temp->state == VF_TEMP_THERE)
		note_loss(loop, temp);
}

void vf_temps_settle(struct vf_loop *loop)
{
	if (loop->outdated)
		give_readers_up(loop);
	struct vf_link *item = vf_ring_take(&loop->let_go);
	while (item) {
		struct vf_temp *temp = (struct vf_temp *)item;
		item = item->next;
		temp->let_go = 1;
		let_go_if_unneeded(loop, temp);
	}
	delete_leftovers(loop);
	struct vf_temp *next, *lost = loop->lost;
	loop->lost = NULL;
	for (struct vf_temp *temp = lost; temp; temp = next) {
		next = temp->next_lost;
		if (temp->state == VF_TEMP_LOST && (temp->n_readers || (loop->config.recover_at_once && !temp->let_go)))
			make_again(loop, temp);
		if (temp->state == VF_TEMP_LOST && !temp->given)
			list_loss(loop, temp);
	}
}

void vf_temps_free(struct vf_temp *temp)
{
	free(temp->path);
	free(temp->holders);
	free(temp->cached_name);
	temp->path = temp->cached_name = NULL;
	temp->holders = NULL;
}
