#define _GNU_SOURCE
#include "vf_temps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "taskvine_private.h"
#include "vf_clock.h"
#include "vf_config.h"
#include "vf_counters.h"
#include "vf_done.h"
#include "vf_eventlog.h"
#include "vf_inflight.h"
#include "vf_leftover.h"
#include "vf_replica.h"
#include "vf_waiting.h"

static int is_made(const struct vf_file *file)
{
	return file->kind == VF_FILE_MADE;
}

static int is_read(const struct vf_file *file)
{
	return file->kind == VF_FILE_READ;
}

/* Each temporary file of a kind among the files of a call. */
#define FOR_EACH(temp, call, is_kind) \
	for (uint32_t k_ = 0; (call)->files && k_ < (call)->files->n; k_++) \
		for (struct vf_temp *temp = temp_if(is_kind, &(call)->files->items[k_]); temp; \
				temp = NULL)

static struct vf_temp *temp_if(int is_kind(const struct vf_file *file), const struct vf_file *file)
{
	return is_kind(file) ? file->temp : NULL;
}

static struct vine_file *declare(struct vf_temps *temps, struct vf_temp *temp)
{
	if (temps->config->peer_transfers)
		return vine_declare_temp(temps->config->manager);
	/* TaskVine would make it a file of the current directory. */
	if (asprintf(&temp->path, "%s-%llu", temps->config->temps_prefix,
			    (unsigned long long)++temps->n_paths) < 0) {
		temp->path = NULL;
		return NULL;
	}
	return vine_declare_file(temps->config->manager, temp->path, VINE_CACHE_LEVEL_WORKFLOW,
			VINE_UNLINK_WHEN_DONE);
}

/* The first time that a file is to be made, or made again. */
static struct vf_datum *know(struct vf_temps *temps, struct vf_temp *temp)
{
	struct vine_file *file = declare(temps, temp);
	struct vf_datum *datum = file ? vf_replica_know(temps->replicas, file, temp) : NULL;
	if (datum)
		return datum;
	if (file)
		vine_undeclare_file(temps->config->manager, file);
	free(temp->path);
	temp->path = NULL;
	return NULL;
}

static void undeclare(struct vf_temps *temps, struct vf_temp *temp)
{
	struct vine_file *file = temp->datum ? temp->datum->file : NULL;
	if (!file)
		return;
	vf_replica_forget(temps->replicas, temp->datum);
	temp->datum = NULL;
	temp->generation++;
	temps->outdated |= temp->n_readers > 0;
	vf_leftover_undeclare(temps->leftovers, file, temp->cached_name);
	free(temp->cached_name);
	free(temp->path);
	temp->path = temp->cached_name = NULL;
	temp->n_holders = 0;
	if (temp->state == VF_TEMP_THERE)
		temp->state = VF_TEMP_LOST;
}

static void forget_loss(struct vf_temps *temps, const struct vf_temp *temp)
{
	struct vf_temp **at = &temps->lost;
	while (*at && *at != temp)
		at = &(*at)->next_lost;
	if (*at)
		*at = temp->next_lost;
}

/* What nobody needs leaves the workers, and is given back. */
static void let_go_if_unneeded(struct vf_temps *temps, struct vf_temp *temp)
{
	if (!temp->let_go || temp->n_readers || temp->state == VF_TEMP_MAKING)
		return;
	undeclare(temps, temp);
	forget_loss(temps, temp);
	if (temp->given)
		return;
	temp->given = 1;
	struct vf_bundle *bundle = vf_bundle_create(0, NULL);
	if (!bundle)
		return; /* its memory stays until the end */
	bundle->temp = temp;
	vf_done_later(temps->done, bundle);
}

static void list_loss(struct vf_temps *temps, struct vf_temp *temp)
{
	temp->next_lost = temps->lost;
	temps->lost = temp;
}

static void note_loss(struct vf_temps *temps, struct vf_temp *temp)
{
	if (temp->state == VF_TEMP_LOST)
		return;
	temp->state = VF_TEMP_LOST;
	list_loss(temps, temp);
	VF_COUNT(temps->counters, temps_lost, 1);
}

/* Run the call again that made it, for all that it made and is lost. Returns whether it was not at
work already, for another of its files: then what is lost is looked at again when it ends. */
static int run_maker(struct vf_temps *temps, const struct vf_temp *lost)
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
		forget_loss(temps, temp);
		/* A worker that has failed to fetch it does not try for the same name again
		(7.14.5). */
		undeclare(temps, temp);
		temp->state = VF_TEMP_MAKING;
	}
	FOR_EACH(temp, call, is_read)
		temp->n_readers++;
	VF_COUNT(temps->counters, calls_remade, 1);
	vf_eventlog_remade(temps->log, call);
	vf_waiting_again(temps->waiting, call);
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

/* Have a file made again, and first, all that is lost of what it was made from, at once: so each is
made once, and stays until all have read it that are made from it. */
static void make_again(struct vf_temps *temps, struct vf_temp *lost)
{
	struct vf_temp *stack = NULL;
	need(&stack, lost);
	while (stack) {
		struct vf_temp *needed = stack;
		stack = needed->next_needed;
		needed->needed = 0;
		if (needed->state != VF_TEMP_LOST || !run_maker(temps, needed))
			continue;
		FOR_EACH(temp, needed->maker, is_read) {
			if (temp->state == VF_TEMP_LOST)
				need(&stack, temp);
		}
	}
}

void vf_temps_begin(struct vf_temps *temps, struct vf_call *call)
{
	if (call->again)
		call->again->number = call->number; /* it had none when that was made */
	FOR_EACH(temp, call, is_made) {
		temp->maker = call->again;
		temp->state = VF_TEMP_MAKING;
	}
	FOR_EACH(temp, call, is_read) {
		temp->n_readers++;
		if (temp->state == VF_TEMP_LOST)
			make_again(temps, temp);
	}
}

enum vf_temps_verdict vf_temps_park(struct vf_call *call, const struct vf_file **file)
{
	for (uint32_t k = 0; call->files && k < call->files->n; k++) {
		*file = &call->files->items[k];
		struct vf_temp *temp = is_read(*file) ? (*file)->temp : NULL;
		if (!temp || temp->state == VF_TEMP_THERE)
			continue;
		if (temp->state == VF_TEMP_FAILED || temp->state == VF_TEMP_PLANNED)
			return VF_TEMPS_FAILED;
		vf_call_queue_again(call);
		vf_call_list_push(&temp->parked, call);
		return VF_TEMPS_WAIT;
	}
	return VF_TEMPS_GO;
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

int vf_temps_mount(struct vf_temps *temps, struct vf_bundle *bundle, struct vine_task *task)
{
	bundle->generation = generation_of(bundle);
	bundle->reads = vf_temps_any(bundle);
	if (bundle->reads)
		LIST_INSERT_HEAD(&temps->readers, bundle, reader);
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		const struct vf_file_list *files = bundle->calls[i]->files;
		for (uint32_t k = 0; files && k < files->n; k++) {
			const struct vf_file *file = &files->items[k];
			if (!is_made(file) || file->temp->state != VF_TEMP_MAKING)
				continue;
			struct vf_temp *temp = file->temp;
			if (!temp->datum)
				temp->datum = know(temps, temp);
			if (!temp->datum ||
					!vine_task_add_output(
							task, temp->datum->file, file->name, 0))
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

/* Bundles that TaskVine has and that wait for a file that will never be there, or for one in whose
place there is another, come back. What runs is left alone; it may come back to TaskVine, and is
looked at again. */
static void give_readers_up(struct vf_temps *temps)
{
	struct vf_bundle *bundle;
	temps->outdated = 0;
	LIST_FOREACH(bundle, &temps->readers, reader) {
		if (!vf_temps_failed(bundle) && !vf_temps_outdated(bundle))
			continue;
		if (vf_bundle_runs(bundle))
			temps->outdated = 1;
		else
			vf_inflight_give_up(temps->inflight, bundle);
	}
}

/* What has become of a file, now that the call that was to make it has ended. */
static void end_making(struct vf_temps *temps, struct vf_temp *temp, int failed)
{
	if (temp->datum)
		vf_replica_measure(temps->replicas, temp->datum);
	int there = temp->path ? access(temp->path, F_OK) == 0 : temp->n_holders > 0;
	if (failed || (!there && !temp->made)) {
		temp->state = VF_TEMP_FAILED;
		/* What there is of it is nothing to read, nor to lie beside what the next try
		writes. */
		undeclare(temps, temp);
		give_readers_up(temps);
	} else if (there) {
		temp->state = VF_TEMP_THERE;
		VF_COUNT(temps->counters, temps_made, 1);
	} else {
		note_loss(temps, temp);
	}
	/* Where it has failed, they hear of that when their turn comes. */
	if (temp->state != VF_TEMP_LOST)
		vf_waiting_again_all(temps->waiting, &temp->parked);
}

void vf_temps_end(struct vf_temps *temps, struct vf_call *call, int failed)
{
	call->at_work = 0;
	FOR_EACH(temp, call, is_made) {
		if (temp->state == VF_TEMP_MAKING)
			end_making(temps, temp, failed);
	}
	FOR_EACH(temp, call, is_read) {
		temp->n_readers--;
		let_go_if_unneeded(temps, temp);
	}
	FOR_EACH(temp, call, is_made) {
		if (temp->state == VF_TEMP_LOST && temp->n_readers)
			make_again(temps, temp);
		let_go_if_unneeded(temps, temp);
	}
}

void vf_temps_drop(struct vf_temps *temps, struct vf_temp *temp, const struct vf_worker *worker)
{
	vf_temp_leave(temp, worker);
	if (!temp->n_holders && !temp->path && temp->state == VF_TEMP_THERE)
		note_loss(temps, temp);
}

void vf_temps_spoiled(struct vf_temps *temps, struct vf_temp *temp)
{
	if (temp->state == VF_TEMP_THERE)
		note_loss(temps, temp);
}

void vf_temps_settle(struct vf_temps *temps, struct vf_link *let_go)
{
	if (temps->outdated)
		give_readers_up(temps);
	while (let_go) {
		struct vf_temp *temp = (struct vf_temp *)let_go;
		let_go = let_go->next;
		temp->let_go = 1;
		let_go_if_unneeded(temps, temp);
	}
	struct vf_temp *next, *lost = temps->lost;
	temps->lost = NULL;
	for (struct vf_temp *temp = lost; temp; temp = next) {
		next = temp->next_lost;
		if (temp->state == VF_TEMP_LOST &&
				(temp->n_readers ||
						(temps->config->recover_at_once && !temp->let_go)))
			make_again(temps, temp);
		if (temp->state == VF_TEMP_LOST && !temp->given)
			list_loss(temps, temp);
	}
}
