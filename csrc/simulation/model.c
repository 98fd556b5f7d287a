#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "engine.h"
#include "files.h"
#include "sim.h"
#include "vf_bundle.h"
#include "vf_loop.h"

struct model model;
uint64_t fault_counts[N_FAULTS];
#define FAULT_NAME(name) #name,
const char *const fault_names[N_FAULTS] = {FAULT_KINDS(FAULT_NAME)};
#undef FAULT_NAME

void model_begin(struct vf_loop *loop)
{
	model = (struct model){.loop = loop, .max_losses = loop->config.max_losses};
}

static void **kept;
static uint32_t n_kept, kept_room;

void model_keep(void *block)
{
	if (n_kept == kept_room) {
		kept_room = kept_room ? 2 * kept_room : 64;
		kept = realloc(kept, kept_room * sizeof *kept);
	}
	kept[n_kept++] = block;
}

static void free_kept(void)
{
	while (n_kept)
		free(kept[--n_kept]);
	free(kept);
	kept = NULL;
	kept_room = 0;
}

void model_end(void)
{
	free_kept();
	for (uint32_t i = 0; i < model.n_jobs; i++) {
		free(model.jobs[i]->files);
		free(model.jobs[i]->files_again);
		free(model.jobs[i]);
	}
	for (uint32_t i = 0; i < model.n_temps; i++) {
		vf_temp_free(&model.temps[i]->temp);
		free(model.temps[i]);
	}
	free(model.jobs);
	free(model.temps);
	model = (struct model){0};
}

void model_fault(enum fault fault, const char *about, uint32_t number)
{
	fault_counts[fault]++;
	sim_trace("fault: %s, %s %u", fault_names[fault], about, number);
}

static void *add(void ***items, uint32_t *n, uint32_t *room, size_t nbytes)
{
	if (*n == *room) {
		*room = *room ? 2 * *room : 64;
		*items = realloc(*items, *room * sizeof **items);
	}
	return (*items)[(*n)++] = calloc(1, nbytes);
}

struct job *model_add_job(void)
{
	struct job *job = add((void ***)&model.jobs, &model.n_jobs, &model.jobs_room, sizeof *job);
	job->id = model.n_jobs - 1;
	return job;
}

struct temp_of *model_add_temp(void)
{
	struct temp_of *temp = add(
			(void ***)&model.temps, &model.n_temps, &model.temps_room, sizeof *temp);
	snprintf(temp->name, sizeof temp->name, "temp-%u", model.n_temps - 1);
	temp->temp.name = temp->name;
	return temp;
}

struct job *model_job(uint32_t id)
{
	if (id >= model.n_jobs)
		sim_broken("a bundle has calls that were submitted", "call %u", id);
	return model.jobs[id];
}

static void each_job(const struct vine_task *task, void (*act)(struct job *job, int id))
{
	struct bundle bundle;
	if (!bundle_read(&bundle, task))
		return;
	for (uint32_t i = 0; i < bundle.n_calls; i++)
		act(model_job(bundle.calls[i].job), task->id);
	bundle_free(&bundle);
}

static void note_sent(struct job *job, int id)
{
	if (job->n_back) { /* it makes its files again */
		if (!job->call.again)
			sim_broken("a call that has ended is not run again", "call %u", job->id);
		return;
	}
	if (job->at_task)
		sim_broken("a call is in one place at a time", "call %u in tasks %d and %d",
				job->id, job->at_task, id);
	/* By bad company it may lose two. */
	if (job->n_sure_losses > model.max_losses && job->n_sure_losses > VF_BUNDLE_SUSPECT_LOSSES)
		sim_broken("max_losses is the end of a call", "call %u, %u losses", job->id,
				job->n_sure_losses);
	sim_trace("call %u is sent in task %d", job->id, id);
	job->at_task = id;
	job->since_ns = sim.now_ns;
}

void model_sent(const struct vine_task *task)
{
	each_job(task, note_sent);
}

static void note_left(struct job *job, int id)
{
	if (job->at_task == id)
		job->at_task = 0;
	job->since_ns = sim.now_ns;
}

void model_left(const struct vine_task *task)
{
	each_job(task, note_left);
}

static int is_lost_for_sure;

static void note_lost(struct job *job, int id)
{
	(void)id;
	job->n_losses++;
	job->n_sure_losses += (uint32_t)is_lost_for_sure;
	sim_trace("call %u is lost with its worker%s", job->id,
			is_lost_for_sure ? ", for sure" : "");
}

/* Bundles of which a file was lost, too, or was not fetched, are sent again for that. */
static int has_files(const struct vine_task *task)
{
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		if (task->inputs[i].file->type != VINE_BUFFER)
			return 1;
	}
	return task->n_outputs > 0;
}

void model_lost(const struct vine_task *task, int is_sure)
{
	is_lost_for_sure = is_sure && !has_files(task);
	each_job(task, note_lost);
}

void model_runs(struct job *job)
{
	if (job->is_never_to_run)
		sim_broken("a call that was cancelled before it was sent never runs", "call %u",
				job->id);
}

/* ---- what has come back ---- */

static int may_lack_input(const struct job *job);

static int may_have_failed(const struct job *job)
{
	return job->deed != DEED_RETURN || job->is_cancelled || job->n_losses ||
			job->was_lied_about || job->lacked_room || job->was_spoiled ||
			may_lack_input(job);
}

static int may_lack_input(const struct job *job)
{
	for (uint32_t i = 0; i < N_FILES; i++) {
		if ((job->inputs & 1u << i) && files_was_missing(i))
			return 1;
	}
	/* Without room for its inputs, a worker breaks the connection. */
	return (job->has_url && model.has_url_failed) || job->n_losses > 1 ||
			job->n_losses > model.max_losses ||
			(job->maker && may_have_failed(job->maker));
}

/* Whether what TaskVine's side says of a call is so. */
static int is_justified(const struct job *job, int result)
{
	switch (result) {
	case VINE_RESULT_CANCELLED:
		return job->is_cancelled;
	case VINE_RESULT_MAX_RETRIES:
		return job->n_losses > model.max_losses;
	case VINE_RESULT_UNKNOWN:
		return job->was_lied_about;
	case VINE_RESULT_STDOUT_MISSING:
		return job->lacked_room;
	case VINE_RESULT_SIGNAL:
		return job->was_signalled;
	case VINE_RESULT_LIBRARY_EXIT:
		return model.n_library_ends > model.loop->config.max_library_failures;
	case VINE_RESULT_INPUT_MISSING:
		return may_lack_input(job);
	default:
		return 0;
	}
}

static void judge(struct job *job, const struct vf_bundle *bundle, const struct vf_record *record)
{
	char right[32];
	if (job->n_back++)
		sim_broken("a call ends once", "call %u", job->id);
	model.n_back++;
	sim_trace("call %u ends with status %u, result %d", job->id, record->status,
			bundle->engine_result);
	if (record->status == VF_STATUS_ENGINE) {
		if (!is_justified(job, bundle->engine_result))
			sim_broken("an error has a cause",
					"call %u: result %d, \"%s\"; %u losses, %d %d", job->id,
					bundle->engine_result, bundle->frame ? bundle->frame : "",
					job->n_losses, job->was_lied_about, job->lacked_room);
		return;
	}
	if (job->is_never_to_run)
		sim_broken("a call that was cancelled before it was sent has no result",
				"call %u: status %u", job->id, record->status);
	if (job->is_cancelled)
		return;
	if (record->status == VF_STATUS_INPUT_CHANGED && job->was_spoiled)
		return;
	enum vf_status expected = job->deed == DEED_RAISE ? VF_STATUS_EXCEPTION : VF_STATUS_PICKLE;
	snprintf(right, sizeof right, "done %u", job->id);
	if (record->status != expected || record->nbytes != strlen(right) ||
			memcmp(record->payload, right, record->nbytes) != 0)
		sim_broken("a call has its own result", "call %u: status %u, \"%.*s\"", job->id,
				record->status, (int)record->nbytes, record->payload);
}

void model_take(const struct vf_bundle *bundle)
{
	for (uint32_t i = 0; i < bundle->n_outcomes; i++)
		judge(bundle->outcomes[i].call->future, bundle, &bundle->outcomes[i].record);
	if (bundle->question) {
		int *n_answers = bundle->question->object;
		if ((*n_answers)++)
			sim_broken("a question is answered once", "again");
		model.n_answered++;
	}
	if (bundle->temp) {
		struct temp_of *temp = bundle->temp->object;
		if (!temp->is_let_go || temp->n_given++)
			sim_broken("a temporary file is given back once, when it is let go", "%s",
					temp->name);
	}
}

struct text {
	char words[4096];
	size_t n;
};

static void add_bundle(struct vf_bundle *bundle, void *arg)
{
	struct text *text = arg;
	if (text->n + 200 > sizeof text->words)
		return;
	text->n += (size_t)snprintf(text->words + text->n, sizeof text->words - text->n,
			"\n  task %d: %s, given up %d, unreached %d, worker %d, %u calls:",
			bundle->task->id, vine_task_get_state(bundle->task), bundle->given_up,
			bundle->unreached, bundle->worker ? bundle->worker->fd - SIM_FD_BASE : -1,
			bundle->n_calls);
	for (uint32_t i = 0; i < bundle->n_calls && i < 5; i++)
		text->n += (size_t)snprintf(text->words + text->n, sizeof text->words - text->n,
				" %llu%s", (unsigned long long)bundle->calls[i]->number,
				vf_call_makes_again(bundle->calls[i]) ? " again" : "");
}

/* What csrc has, for whoever looks into a broken rule. */
static const char *describe(void)
{
	static struct text text;
	const struct vf_loop *loop = model.loop;
	text.n = (size_t)snprintf(text.words, sizeof text.words, "; %s, %u in flight, %llu wait",
			loop->config.placing ? "placing" : "not placing", loop->inflight.n,
			(unsigned long long)loop->waiting.n);
	for (struct vf_group *group = loop->waiting.queue.any; group; group = group->next)
		text.n += (size_t)snprintf(text.words + text.n, sizeof text.words - text.n,
				"\n  group of %llu: %g cores", (unsigned long long)group->n,
				vf_queue_first(group)->needs.cores);
	for (uint32_t i = 0; i < loop->workers.n && text.n < sizeof text.words / 2; i++) {
		const struct vf_worker *worker = loop->workers.items[i];
		text.n += (size_t)snprintf(text.words + text.n, sizeof text.words - text.n,
				"\n  worker %d: %u slots, %u running, %u wide, paused %d%s",
				worker->fd - SIM_FD_BASE, worker->slots, worker->running,
				worker->n_wide, vf_worker_is_paused(worker, sim.now_ns),
				worker == loop->workers.reserved ? ", reserved" : "");
	}
	vf_inflight_each(&loop->inflight, add_bundle, &text);
	return text.words;
}

/* ---- while it goes on ---- */

static const uint64_t PATIENCE_NS = 120 * SIM_S;

static int is_long_ago(uint64_t at_ns)
{
	return sim.now_ns - at_ns > PATIENCE_NS;
}

static int waits_for_long(const struct job *job)
{
	return !job->n_back && !job->is_cancelled && !job->at_task && !job->maker &&
			is_long_ago(job->since_ns);
}

void model_check_waiting(void)
{
	const struct vine_manager *manager = model.loop->config.manager;
	const struct vine_worker_info *worker;
	if (model.library_ended_ns && !is_long_ago(model.library_ended_ns))
		return;
	LIST_FOREACH(worker, &manager->workers, entry) {
		if (!worker->is_known || !engine_is_idle(worker) ||
				!is_long_ago(worker->idle_since_ns) || worker->link->is_over)
			continue;
		for (uint32_t i = 0; i < model.n_jobs; i++) {
			const struct job *job = model.jobs[i];
			if (waits_for_long(job) && job->call.spec->needs.cores <= worker->cores)
				sim_broken("no call waits while a worker that it fits is idle",
						"call %u, worker %d%s", job->id,
						worker->link->fd - SIM_FD_BASE, describe());
		}
	}
}

int model_is_done(void)
{
	return model.n_back == model.n_submitted;
}

_Noreturn void model_never_done(void)
{
	for (uint32_t i = 0; i < model.n_jobs; i++) {
		const struct job *job = model.jobs[i];
		if (!job->n_back)
			sim_broken("every call ends", "call %u, state %d, losses %d, in task %d%s",
					job->id, job->call.state, job->call.losses, job->at_task,
					describe());
	}
	sim_broken("every call ends", "%u of %u", model.n_back, model.n_submitted);
}

/* ---- when all is over ---- */

static void expect(const char *name, uint64_t is, uint64_t right)
{
	if (is != right)
		sim_broken("counters tell what has happened", "%s is %llu, not %llu%s", name,
				(unsigned long long)is, (unsigned long long)right, describe());
}

void model_check_quiet(void)
{
	struct vf_snapshot count;
	const struct vf_loop *loop = model.loop;
	vf_counters_read(&loop->counters, &count);
	expect("calls_taken", count.calls_taken, model.n_submitted);
	expect("calls_returned", count.calls_returned, model.n_back);
	expect("answers", model.n_answered, model.n_asked);
	expect("calls_waiting", count.calls_waiting, 0);
	expect("bundles_running", count.bundles_running, 0);
	expect("calls_too_large", count.calls_too_large, 0);
	expect("waiting.n", loop->waiting.n, 0);
	expect("held_up", loop->waiting.held_up.n, 0);
	if (count.calls_sent < count.calls_handed_back + count.calls_missed)
		sim_broken("counters tell what has happened", "more came back than was sent");
	const struct vine_manager *manager = loop->config.manager;
	if (manager->n_buffers)
		sim_broken("spilled frames are released", "%u are left", manager->n_buffers);
	for (uint32_t i = 0; i < loop->workers.n; i++) {
		const struct vf_worker *worker = loop->workers.items[i];
		if (worker->running || worker->n_long || worker->n_wide ||
				!LIST_EMPTY(&worker->bundles))
			sim_broken("a worker with nothing to do has all its slots",
					"worker %u: %u running, %u long, %u wide", worker->number,
					worker->running, worker->n_long, worker->n_wide);
	}
	for (uint32_t i = 0; i < model.n_temps; i++) {
		const struct temp_of *temp = model.temps[i];
		if (temp->is_let_go && !temp->n_given)
			sim_broken("a temporary file is given back", "%s", temp->name);
		if (temp->temp.n_readers)
			sim_broken("a temporary file has no readers in the end", "%s: %u",
					temp->name, temp->temp.n_readers);
	}
}
