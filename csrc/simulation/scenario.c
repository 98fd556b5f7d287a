#include "scenario.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "files.h"
#include "model.h"
#include "sim.h"
#include "vf_loop.h"
#include "workers.h"

enum {
	N_FUNCTIONS = 4,
	N_SPECS = 5,
	LARGE_CORES = 8,
	MANY_SLOTS = 4096,
	MAX_TEMPS = 40,
};

static struct {
	struct vf_loop loop;
	struct vine_manager *manager;
	struct vf_function functions[N_FUNCTIONS];
	uint64_t durations_ns[N_FUNCTIONS];
	struct vf_group groups[N_SPECS];
	struct vf_spec specs[N_SPECS];
	uint32_t n_to_submit, n_wanted; /* calls, workers */
	uint64_t interval_ns, disturbance_ns, ends_ns, stopped_ns, total_ns;
	uint32_t raise, kill_worker, kill_library, cancel, makes, reads, inputs, urls, asks;
	int is_draining, is_healed, is_quiet;
} run;

/* ---- the demux thread ---- */

static void drain(void *arg)
{
	(void)arg;
	run.is_draining = 0;
	struct vf_link *link = vf_ring_take(&run.loop.done.ring);
	while (link) {
		struct vf_link *next = link->next;
		struct vf_bundle *bundle = (struct vf_bundle *)link;
		model_take(bundle);
		vf_bundle_free(bundle);
		link = next;
	}
}

static void look_for_done(void)
{
	if (run.is_draining || vf_ring_empty(&run.loop.done.ring))
		return;
	run.is_draining = 1;
	sim_after(sim_between(10 * SIM_US, 2 * SIM_MS), drain, NULL);
}

/* ---- the program's threads ---- */

static void cancel(void *arg)
{
	struct job *job = arg;
	if (job->n_back || job->is_cancelled)
		return;
	job->is_cancelled = 1;
	model_fault(FAULT_call_cancelled, "call", job->id);
	job->is_never_to_run = vf_call_cancel(&job->call);
	if (!job->is_never_to_run && vf_call_cancel_sent(&job->call))
		vf_loop_cancel_sent(&run.loop);
}

static struct vf_file *add_file(struct job *job, int kind, const char *source)
{
	struct vf_file *file = &job->files->items[job->files->n];
	char name[64];
	if (kind == VF_FILE_MADE)
		snprintf(name, sizeof name, "made-%u", job->id);
	else
		snprintf(name, sizeof name, "read-%u-%u", job->id, job->files->n);
	*file = (struct vf_file){.kind = kind, .source = source, .name = strdup(name)};
	job->files->n++;
	return file;
}

static struct vf_file_list *make_files(void)
{
	return calloc(1, sizeof(struct vf_file_list) + JOB_FILES_MAX * sizeof(struct vf_file));
}

static void add_inputs(struct job *job)
{
	static const char *const urls[] = {"http://a/one", "http://a/two"};
	for (uint32_t n = 0; n < 2 && sim_chance(run.inputs); n++) {
		uint32_t number = sim_below(N_FILES);
		if (job->inputs & 1u << number)
			continue;
		job->inputs |= 1u << number;
		add_file(job, VF_FILE_INPUT, files_source(number));
	}
	if (job->files->n < 2 && sim_chance(run.urls)) {
		add_file(job, VF_FILE_URL, urls[sim_below(2)]);
		job->has_url = 1;
	}
}

static void add_files(struct job *job)
{
	job->files = make_files();
	struct temp_of *read = sim_chance(run.reads) && model.n_temps ?
			model.temps[sim_below(model.n_temps)] :
			NULL;
	if (read && !read->is_let_go) {
		add_file(job, VF_FILE_READ, read->name)->temp = &read->temp;
		job->maker = read->maker;
	}
	add_inputs(job);
	if (sim_chance(run.makes) && model.n_temps < MAX_TEMPS) {
		struct temp_of *made = model_add_temp();
		made->temp.object = made;
		made->maker = job;
		add_file(job, VF_FILE_MADE, made->name)->temp = &made->temp;
		job->files_again = make_files();
		memcpy(job->files_again, job->files,
				sizeof *job->files + JOB_FILES_MAX * sizeof(struct vf_file));
	}
	if (job->files->n) {
		job->call.files = job->files;
		return;
	}
	free(job->files);
	job->files = NULL;
}

/* Where is it now? */
static void ask(void *arg)
{
	struct job *job = arg;
	if (model.is_stopped || job->n_back)
		return;
	struct asked {
		struct vf_question question;
		int n_answers;
	} *asked = calloc(1, sizeof *asked);
	asked->question.call = &job->call;
	asked->question.object = &asked->n_answers;
	model.n_asked++;
	model_keep(asked);
	vf_loop_ask(&run.loop, &asked->question);
}

static void choose_deed(struct job *job)
{
	if (sim_chance(run.kill_worker))
		job->deed = DEED_KILL_WORKER;
	else if (sim_chance(run.kill_library))
		job->deed = DEED_KILL_LIBRARY;
	else if (sim_chance(run.raise))
		job->deed = DEED_RAISE;
}

static void submit_one(void)
{
	struct job *job = model_add_job();
	uint32_t function = sim_below(N_FUNCTIONS);
	snprintf(job->payload, sizeof job->payload, "call %u", job->id);
	job->duration_ns = sim_between(1000, 2 * run.durations_ns[function]);
	run.total_ns += job->duration_ns;
	choose_deed(job);
	job->call.function = &run.functions[function];
	job->call.spec = &run.specs[sim_chance(700) ? 0 : sim_below(N_SPECS)];
	job->call.payload = job->payload;
	job->call.nbytes = (uint32_t)strlen(job->payload);
	job->call.kind = VF_PAYLOAD_PICKLE;
	job->call.future = job;
	job->call.number = job->id;
	job->call.submitted_ns = job->since_ns = sim.now_ns;
	add_files(job);
	if (job->files_again) {
		job->again = job->call;
		job->again.files = job->files_again;
		job->again.again = &job->again;
		job->call.again = &job->again;
	}
	sim_trace("call %u is submitted", job->id);
	model.n_submitted++;
	vf_loop_submit(&run.loop, &job->call);
	if (sim_chance(run.cancel))
		sim_after(sim_between(0, 4 * job->duration_ns + SIM_S), cancel, job);
	if (sim_chance(run.asks))
		sim_after(sim_between(0, 4 * job->duration_ns + SIM_S), ask, job);
}

static void let_go_any(int all)
{
	for (uint32_t i = 0; i < model.n_temps; i++) {
		struct temp_of *temp = model.temps[i];
		if (temp->is_let_go || (!all && !sim_chance(50)))
			continue;
		temp->is_let_go = 1;
		vf_loop_let_go(&run.loop, &temp->temp);
	}
}

static void submit(void *arg)
{
	if (model.is_stopped)
		return;
	for (uint32_t n = sim_chance(200) ? 1 + sim_below(30) : 1; n && run.n_to_submit; n--) {
		submit_one();
		run.n_to_submit--;
	}
	if (sim_chance(100))
		let_go_any(0);
	if (run.n_to_submit)
		sim_after(sim_between(1, 2 * run.interval_ns), submit, arg);
	else
		run.ends_ns = sim.now_ns + sim_between(SIM_S, 60 * SIM_S);
}

static void stop(void *arg)
{
	if (model.is_stopped)
		return;
	if (arg)
		model_fault(FAULT_stopped_early, "calls back:", model.n_back);
	model.is_stopped = 1;
	run.stopped_ns = sim.now_ns;
	vf_loop_stop(&run.loop);
}

/* ---- what disturbs it, and its end ---- */

static void disturb(void *arg)
{
	if (model.is_stopped || run.is_healed)
		return;
	switch (sim_below(4)) {
	case 0:
		workers_lose_any();
		break;
	case 2:
		files_disturb();
		break;
	case 1:
		workers_forget_any();
		break;
	default:
		if (workers_n_there() < run.n_wanted + 2)
			workers_join(1 + sim_below(LARGE_CORES));
	}
	sim_after(sim_between(SIM_MS, 2 * run.disturbance_ns), disturb, arg);
}

static void heal(void)
{
	sim_trace("from here on nothing fails");
	run.is_healed = 1;
	run.n_wanted = 3;
	habits = (struct habits){0};
	files_heal();
	run.ends_ns = sim.now_ns + run.total_ns + 7200 * SIM_S;
	workers_join(LARGE_CORES);
}

static uint64_t n_turns_before;

static void tick(void *arg)
{
	if (model.is_stopped)
		return;
	if (run.manager->n_turns - n_turns_before > 100000)
		sim_broken("the manager thread sleeps while nothing happens", "%llu turns in 10 s",
				(unsigned long long)(run.manager->n_turns - n_turns_before));
	n_turns_before = run.manager->n_turns;
	model_check_waiting();
	while (workers_n_there() < run.n_wanted)
		workers_join(1 + sim_below(LARGE_CORES));
	while (run.is_healed && !workers_n_of(LARGE_CORES))
		workers_join(LARGE_CORES);
	if (run.is_quiet && !engine_is_busy(run.manager)) {
		model_check_quiet();
		stop(NULL);
		return;
	}
	if (!run.n_to_submit && !run.is_healed && sim.now_ns > run.ends_ns)
		heal();
	else if (run.is_healed && sim.now_ns > run.ends_ns)
		model_never_done();
	if (run.is_healed && model_is_done()) { /* but for what makes files again */
		let_go_any(1);
		run.is_quiet = 1;
		sim_after(60 * SIM_S, tick, arg);
		return;
	}
	sim_after(10 * SIM_S, tick, arg);
}

/* ---- chance decides about all of it ---- */

static uint32_t any_habit(uint32_t most)
{
	return sim_chance(500) ? 0 : sim_below(most + 1);
}

static void choose_habits(void)
{
	habits = (struct habits){
			.die = any_habit(50),
			.library_end = any_habit(100),
			.lie = any_habit(50),
			.give_back = any_habit(300),
			.forsake = any_habit(100),
			.stall = any_habit(30),
			.no_room = any_habit(50),
			.no_room_for_file = any_habit(20),
			.transfer_fail = any_habit(200),
			.transfer_slow = any_habit(100),
			.library_fails_at_once = any_habit(300),
			.spoil = any_habit(30),
	};
	run.raise = any_habit(100);
	run.kill_worker = any_habit(30);
	run.kill_library = any_habit(30);
	run.cancel = any_habit(300);
	run.makes = any_habit(400);
	run.reads = any_habit(600);
	run.inputs = any_habit(600);
	run.urls = any_habit(300);
	run.asks = any_habit(100);
	run.n_to_submit = 10 + sim_below(sim_chance(100) ? 600 : 120);
	run.n_wanted = 1 + sim_below(5);
	run.interval_ns = SIM_MS << sim_below(15);
	run.disturbance_ns = sim_between(1, 20) * (run.interval_ns + 100 * SIM_MS);
}

static void choose_settings(struct vf_config *config)
{
	config->manager = run.manager;
	config->library = VF_LIBRARY_NAME;
	config->max_retries = -1;
	config->max_losses = sim_below(5);
	config->slice_ms = sim_chance(500) ? 100 : 0;
	config->rule.target_ns = 20e6;
	config->rule.max_nbytes = 1 << 20;
	config->inline_nbytes = sim_chance(300) ? 150 : 1 << 16;
	config->library_pause_ns = sim_chance(500) ? SIM_S : 15 * SIM_S;
	config->max_library_failures = sim_chance(200) ? 5 : 1000;
	config->allocation_mode = -1;
	config->placing = sim_chance(850);
	config->locality = sim_chance(700);
	config->monitored = sim_chance(500);
	config->scoring.bandwidth_bytes_per_ns = 1;
	config->scoring.queue_weight = 1;
	config->scoring.moved = VF_LOCALITY_MOVED_BATCH;
	config->learn_bandwidth = sim_chance(500);
	config->peer_transfers = 1;
	config->recover_at_once = sim_chance(300);
	config->slots_per_worker = config->placing ? 0 : 4;
	config->min_workers = 1;
	config->idle_timeout_ns = sim_chance(200) ? 30 * SIM_S : 0;
	run.manager->transient_error_us = config->library_pause_ns / 1000;
}

static void choose_calls(void)
{
	static const char *const names[N_FUNCTIONS] = {"f", "g", "h", "k"};
	for (uint32_t i = 0; i < N_FUNCTIONS; i++) {
		run.functions[i] = (struct vf_function){
				.body = "body", .body_nbytes = 4, .name = names[i], .mean_ns = -1};
		run.functions[i].limit = 1;
		run.functions[i].digest[0] = (unsigned char)i;
		run.durations_ns[i] = SIM_US * 10 << sim_below(24);
	}
	for (uint32_t i = 0; i < N_SPECS; i++) {
		struct vf_spec *spec = &run.specs[i];
		*spec = (struct vf_spec){.running_time_min = -1, .group = &run.groups[i]};
		spec->needs = (struct vf_resources){-1, -1, -1, -1};
		spec->priority = i ? (double)sim_below(5) : 0;
		if (i > 1 && sim_chance(500))
			spec->needs.cores = 1 + sim_below(LARGE_CORES);
		spec->limit_ms = i == 3 ? 1000 : 0;
		spec->captures = i == 4;
	}
	if (sim_chance(500)) /* that differ in priority alone */
		run.specs[1].group = &run.groups[0];
}

static void install_library(void)
{
	struct vine_task *library = vine_task_create("library");
	vine_task_set_function_slots(library,
			run.loop.config.placing ? MANY_SLOTS :
						  (int)run.loop.config.slots_per_worker);
	vine_manager_install_library(run.manager, library, VF_LIBRARY_NAME);
}

static void begin(uint64_t seed)
{
	memset(&run, 0, sizeof run);
	sim_begin(seed);
	sim_sleeps = look_for_done;
	n_turns_before = 0;
	if (vf_loop_init(&run.loop))
		abort();
	sim.wake_fd = run.loop.wake.fd;
	run.manager = engine_create();
	run.manager->sent = model_sent;
	run.manager->left = model_left;
	run.manager->lost = model_lost;
	choose_habits();
	choose_settings(&run.loop.config);
	choose_calls();
	install_library();
	model_begin(&run.loop);
	files_begin();
	workers_begin(run.manager);
	sim_after(sim_below(2) * SIM_S, submit, NULL);
	sim_after(0, tick, NULL);
	sim_after(run.disturbance_ns, disturb, NULL);
	if (sim_chance(150))
		sim_after(sim_between(0, 2 * run.n_to_submit * run.interval_ns + SIM_S), stop,
				&run);
}

static void end(void)
{
	if (sim.now_ns - run.stopped_ns > 10 * SIM_S)
		sim_broken("a stop takes no longer than 10 s", "%.1f s",
				(double)(sim.now_ns - run.stopped_ns) / 1e9);
	vf_done_close(&run.loop.done);
	run.manager->sent = run.manager->left = NULL;
	run.manager->lost = NULL;
	vine_delete(run.manager);
	drain(NULL);
	vf_loop_free(&run.loop);
	if (engine_n_tasks || engine_n_files)
		sim_broken("tasks and files are released", "%d tasks, %d files are left",
				engine_n_tasks, engine_n_files);
	for (uint32_t i = 0; i < model.n_jobs; i++) {
		struct vf_file_list *files = model.jobs[i]->files;
		for (uint32_t k = 0; files && k < files->n; k++)
			free((char *)files->items[k].name);
	}
	model_end();
	workers_end();
	sim_end();
}

struct result scenario_run(uint64_t seed)
{
	begin(seed);
	uint64_t began_ns = sim.now_ns;
	vf_loop_run(&run.loop);
	struct result result = {.n_calls = model.n_submitted};
	end();
	result.simulated_ns = sim.now_ns - began_ns;
	result.digest = sim.digest;
	result.n_events = sim.n_events;
	return result;
}
