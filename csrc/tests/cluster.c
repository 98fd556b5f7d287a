#include "cluster.h"

#include <string.h>
#include <unistd.h>

#include "debug.h"
#include "taskvine.h"

static const char LIBRARY[] = "vinefast";

enum {
	MANY_SLOTS = 4096,
};

/* What TaskVine forgets (7.14): where its directory is, what it has noted of a file that a worker
had, and where workers were to get it from. What the loop may: an empty task that was to wake it
when it was stopped. The engine is built without frame pointers, so that the fast way finds no name
to suppress. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vine_manager_put_input_file_if_needed\nleak:vine_set_runtime_info_path\n"
	       "leak:vine_manager_get_output_file\nleak:vine_file_substitute_url\n"
	       "leak:break_wait";
}

void cluster_open(struct cluster *cluster)
{
	memset(cluster, 0, sizeof *cluster);
	snprintf(cluster->directory, sizeof cluster->directory, "/tmp/vinefast-cluster-XXXXXX");
	CHECK(mkdtemp(cluster->directory));
	vine_set_runtime_info_path(cluster->directory);
	CHECK(!vf_loop_init(&cluster->loop));
	CHECK((cluster->manager = vine_create(0)));
	debug_flags_clear();
	cluster->port = vine_port(cluster->manager);
	CHECK(!vine_tune(cluster->manager, "transient-error-interval", 1));

	struct vf_config *config = cluster_settings(cluster);
	config->library = LIBRARY;
	config->max_retries = -1;
	config->max_losses = 3;
	config->rule.target_ns = 20e6;
	config->rule.max_nbytes = 1 << 20;
	config->inline_nbytes = 1 << 16;
	config->library_pause_ns = 1000000000;
	config->max_library_failures = 100;
	config->allocation_mode = -1;
	config->placing = 1;
	config->locality = 1;
	config->scoring.bandwidth_bytes_per_ns = 1;
	config->scoring.queue_weight = 1;
	config->scoring.moved = VF_LOCALITY_MOVED_BATCH;
	config->peer_transfers = 1;

	cluster->function = (struct vf_function){.body = "body", .body_nbytes = 4, .name = "f"};
	cluster->function.mean_ns = -1;
	cluster->function.limit = 1;
	cluster->spec = (struct vf_spec){.group = &cluster->group, .running_time_min = -1};
	cluster->spec.needs = (struct vf_resources){-1, -1, -1, -1};
}

struct vf_config *cluster_settings(struct cluster *cluster)
{
	cluster->loop.config.manager = cluster->manager;
	return &cluster->loop.config;
}

static void install_library(struct cluster *cluster)
{
	struct vine_task *library = vine_task_create(":");
	vine_task_set_library_provided(library, LIBRARY);
	vine_task_set_category(library, LIBRARY);
	vine_task_set_function_exec_mode_from_string(library, "fork");
	int slots = (int)cluster_settings(cluster)->slots_per_worker;
	if (cluster_settings(cluster)->placing)
		slots = MANY_SLOTS;
	if (slots)
		vine_task_set_function_slots(library, slots);
	if (cluster->library_file)
		CHECK(vine_task_add_input(library,
				vine_declare_file(cluster->manager, cluster->library_file,
						VINE_CACHE_LEVEL_WORKFLOW, 0),
				"library-file", 0));
	vine_manager_install_library(cluster->manager, library, LIBRARY);
}

static void *serve(void *arg)
{
	struct cluster *cluster = arg;
	vf_loop_run(&cluster->loop);
	vf_done_close(&cluster->loop.done);
	vine_delete(cluster->manager);
	return NULL;
}

void cluster_start(struct cluster *cluster)
{
	if (!cluster_settings(cluster)->command)
		install_library(cluster);
	CHECK(!pthread_create(&cluster->thread, NULL, serve, cluster));
	cluster->is_running = 1;
}

struct worker *cluster_join_by(struct cluster *cluster, const struct worker_script *script)
{
	CHECK(cluster->n_workers < CLUSTER_WORKERS_MAX);
	struct worker *worker = &cluster->workers[cluster->n_workers++];
	worker_join(worker, cluster->port, script);
	return worker;
}

struct worker *cluster_join(struct cluster *cluster, uint32_t cores)
{
	struct worker_script script = {.cores = cores, .memory = 1000, .disk = 1000};
	return cluster_join_by(cluster, &script);
}

static void note(struct cluster *cluster, const struct vf_bundle *bundle)
{
	for (uint32_t i = 0; i < bundle->n_outcomes; i++) {
		const struct vf_outcome *outcome = &bundle->outcomes[i];
		struct job *job = outcome->call->future;
		job->n_back++;
		cluster->n_back++;
		job->status = outcome->record.status;
		if (job->status == VF_STATUS_ENGINE) {
			job->engine_result = bundle->engine_result;
			snprintf(job->text, sizeof job->text, "%s",
					bundle->frame ? bundle->frame : "");
		} else if (outcome->record.nbytes < sizeof job->result) {
			memcpy(job->result, outcome->record.payload, outcome->record.nbytes);
			job->result[outcome->record.nbytes] = 0;
		}
	}
	cluster->n_node_joined += bundle->news == VF_NODE_JOINED;
	cluster->n_node_left += bundle->news == VF_NODE_LEFT;
	cluster->n_temps_given += bundle->temp != NULL;
	cluster->n_answers += bundle->question != NULL;
	cluster->n_known += bundle->question && !bundle->engine_result && bundle->frame;
}

static int take_done(struct cluster *cluster, int timeout_ms)
{
	struct vf_bundle *bundle = vf_done_take_within(&cluster->loop.done, timeout_ms);
	int n = 0;
	while (bundle) {
		struct vf_bundle *next = (struct vf_bundle *)bundle->link.next;
		note(cluster, bundle);
		vf_bundle_free(bundle);
		bundle = next;
		n++;
	}
	return n;
}

void cluster_serve(struct cluster *cluster)
{
	int n = 0;
	for (uint32_t i = 0; i < cluster->n_workers; i++) {
		if (cluster->workers[i].fd >= 0)
			n += worker_serve(&cluster->workers[i]);
	}
	while (take_done(cluster, n ? 0 : 1))
		n++;
}

static uint32_t n_connected(const struct cluster *cluster)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < cluster->n_workers; i++)
		n += cluster->workers[i].fd >= 0;
	return n;
}

void cluster_close(struct cluster *cluster)
{
	vf_loop_stop(&cluster->loop);
	if (cluster->is_running) {
		UNTIL(cluster, vf_done_is_closed(&cluster->loop.done));
		CHECK(!pthread_join(cluster->thread, NULL));
	} else {
		vine_delete(cluster->manager);
	}
	while (take_done(cluster, 0))
		continue;
	UNTIL(cluster, !n_connected(cluster));
	for (uint32_t i = 0; i < cluster->n_workers; i++)
		worker_leave(&cluster->workers[i]);
	vf_loop_free(&cluster->loop);
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", cluster->directory);
	CHECK(system(command) == 0);
}

void cluster_count(struct cluster *cluster, struct vf_snapshot *snapshot)
{
	vf_counters_read(&cluster->loop.counters, snapshot);
}

uint64_t cluster_counter(struct cluster *cluster, size_t offset)
{
	struct vf_snapshot snapshot;
	cluster_count(cluster, &snapshot);
	uint64_t value;
	memcpy(&value, (const char *)&snapshot + offset, sizeof value);
	return value;
}

void cluster_turn(struct cluster *cluster)
{
	static struct spec spec;
	struct job job;
	spec_begin(&spec, 1e6, 1e9);
	job_begin(cluster, &job, -1);
	job.call.spec = &spec.spec;
	CHECK(vf_call_cancel(&job.call));
	job_submit(cluster, &job);
	UNTIL(cluster, job.n_back == 1);
	cluster->n_back--;
	job_end(&job);
}

void cluster_lose(struct cluster *cluster, struct worker *worker)
{
	cluster_turn(cluster);
	worker_leave(worker);
}

const char *cluster_write(struct cluster *cluster, const char *name, const char *content)
{
	static char paths[16][128];
	static int n_paths;
	char *path = paths[n_paths++ % 16];
	snprintf(path, sizeof paths[0], "%s/%s", cluster->directory, name);
	FILE *file = fopen(path, "w");
	CHECK(file && fputs(content, file) >= 0 && !fclose(file));
	return path;
}

/* ---- jobs ---- */

void spec_begin(struct spec *spec, double cores, double priority)
{
	*spec = (struct spec){.spec = {.priority = priority, .running_time_min = -1}};
	spec->spec.needs = (struct vf_resources){cores, -1, -1, -1};
	spec->spec.group = &spec->group;
}

static struct vf_file_list *make_files(void)
{
	struct vf_file_list *files =
			calloc(1, sizeof *files + JOB_FILES_MAX * sizeof(struct vf_file));
	CHECK(files);
	return files;
}

void job_begin(struct cluster *cluster, struct job *job, int number)
{
	*job = (struct job){0};
	snprintf(job->payload, sizeof job->payload, "call %d", number);
	job->files = make_files();
	job->files_again = make_files();
	job->call.function = &cluster->function;
	job->call.spec = &cluster->spec;
	job->call.payload = job->payload;
	job->call.nbytes = (uint32_t)strlen(job->payload);
	job->call.kind = VF_PAYLOAD_PICKLE;
	job->call.future = job;
}

struct vf_file *job_add(struct job *job, int kind, const char *source, const char *name)
{
	CHECK(job->files->n < JOB_FILES_MAX);
	struct vf_file *file = &job->files->items[job->files->n++];
	*file = (struct vf_file){.kind = kind, .source = source, .name = name};
	return file;
}

void job_add_temp(struct job *job, int kind, struct vf_temp *temp, const char *name)
{
	job_add(job, kind, temp->name, name)->temp = temp;
}

/* As the submitting side does: another list of the same files, for the call that makes them
again. */
static void begin_again(struct job *job)
{
	uint32_t n = job->files->n;
	job->files_again->n = n;
	memcpy(job->files_again->items, job->files->items, n * sizeof *job->files->items);
	job->again = job->call;
	job->again.files = job->files_again;
	job->again.again = &job->again;
	job->call.again = &job->again;
}

void job_submit(struct cluster *cluster, struct job *job)
{
	int makes = 0;
	if (job->files->n)
		job->call.files = job->files;
	for (uint32_t i = 0; i < job->files->n; i++)
		makes |= job->files->items[i].kind == VF_FILE_MADE;
	job->call.submitted_ns = vf_now_ns();
	if (makes)
		begin_again(job);
	vf_loop_submit(&cluster->loop, &job->call);
}

void job_run(struct cluster *cluster, struct job *job, int number)
{
	job_begin(cluster, job, number);
	job_submit(cluster, job);
}

int job_has_returned(const struct job *job)
{
	return job->n_back == 1 && job->status == VF_STATUS_PICKLE &&
			!strcmp(job->result, job->payload);
}

void job_end(struct job *job)
{
	free(job->files);
	free(job->files_again);
	job->files = job->files_again = NULL;
}

int jobs_returned(const struct job *jobs, int n)
{
	int n_right = 0;
	for (int i = 0; i < n; i++)
		n_right += job_has_returned(&jobs[i]);
	return n_right;
}

void cluster_end(struct cluster *cluster, struct job *jobs, int n)
{
	cluster_close(cluster);
	for (int i = 0; i < n; i++) {
		CHECK(jobs[i].n_back == 1);
		job_end(&jobs[i]);
	}
}
