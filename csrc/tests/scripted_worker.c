#include "scripted_worker.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "taskvine_private.h"

enum {
	LINE_NBYTES = 4096,
	INPUT_NBYTES = 65536,
	FILE_MTIME = 1,
};

/* ---- the connection ---- */

static void end(struct worker *worker)
{
	close(worker->fd);
	worker->fd = -1;
}

static void send_bytes(struct worker *worker, const char *data, size_t nbytes)
{
	while (worker->fd >= 0 && nbytes) {
		ssize_t n = send(worker->fd, data, nbytes, MSG_NOSIGNAL);
		if (n <= 0) {
			end(worker); /* the manager has closed it */
			return;
		}
		data += n;
		nbytes -= (size_t)n;
	}
}

__attribute__((format(printf, 2, 3))) static void say(
		struct worker *worker, const char *format, ...)
{
	char line[LINE_NBYTES];
	va_list arguments;
	va_start(arguments, format);
	int n = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	CHECK(n > 0 && n < LINE_NBYTES);
	send_bytes(worker, line, (size_t)n);
}

/* What was announced, or a part of it. */
static void give_data(struct worker *worker, const char *data, size_t nbytes)
{
	if (!nbytes || !worker->script.breaks_in_outputs) {
		send_bytes(worker, data, nbytes);
		return;
	}
	send_bytes(worker, data, nbytes / 2);
	end(worker);
}

/* Whether there is input within so many milliseconds; the end of the connection ends the worker. */
static int receive(struct worker *worker, int timeout_ms)
{
	struct pollfd one = {.fd = worker->fd, .events = POLLIN};
	if (worker->n_read < worker->n_input)
		return 1;
	if (worker->fd < 0 || poll(&one, 1, timeout_ms) <= 0)
		return 0;
	ssize_t n = recv(worker->fd, worker->input, INPUT_NBYTES, 0);
	if (n <= 0) {
		end(worker);
		return 0;
	}
	worker->n_input = (size_t)n;
	worker->n_read = 0;
	return 1;
}

static void read_bytes(struct worker *worker, char *data, size_t nbytes)
{
	while (nbytes && receive(worker, PATIENCE_MS)) {
		size_t left = worker->n_input - worker->n_read, n = nbytes < left ? nbytes : left;
		memcpy(data, worker->input + worker->n_read, n);
		worker->n_read += n;
		data += n;
		nbytes -= n;
	}
	memset(data, 0, nbytes);
}

/* A line without its newline; 0: the connection has ended before. */
static int read_line(struct worker *worker, char line[LINE_NBYTES])
{
	for (size_t n = 0; n < LINE_NBYTES && receive(worker, PATIENCE_MS); n++) {
		line[n] = worker->input[worker->n_read++];
		if (line[n] == '\n') {
			line[n] = 0;
			return 1;
		}
	}
	return 0;
}

/* ---- files ---- */

struct worker_file *worker_file(const struct worker *worker, const char *name)
{
	struct worker_file *file = worker->files;
	while (file && strcmp(file->name, name))
		file = file->next;
	return file;
}

struct worker_file *worker_fetch(const struct worker *worker)
{
	struct worker_file *file = worker->files;
	while (file && !*file->transfer)
		file = file->next;
	return file;
}

static void drop_file(struct worker *worker, const char *name)
{
	for (struct worker_file **at = &worker->files; *at; at = &(*at)->next) {
		struct worker_file *file = *at;
		if (strcmp(file->name, name))
			continue;
		*at = file->next;
		free(file->data);
		free(file);
		return;
	}
}

static struct worker_file *keep_file(struct worker *worker, const char *name, size_t nbytes)
{
	drop_file(worker, name);
	struct worker_file *file = calloc(1, sizeof *file);
	CHECK(file && (file->data = calloc(1, nbytes + 1)));
	snprintf(file->name, sizeof file->name, "%s", name);
	file->nbytes = nbytes;
	file->next = worker->files;
	worker->files = file;
	return file;
}

static void tell_of_file(struct worker *worker, const struct worker_file *file, const char *id)
{
	int type = strncmp(file->name, "temp-", 5) ? VINE_FILE : VINE_TEMP;
	say(worker, "cache-update %s %d %d %zu %d 1000 1 %s\n", file->name, type,
			VINE_CACHE_LEVEL_WORKFLOW, file->nbytes, FILE_MTIME, id);
}

void worker_fetched(struct worker *worker, struct worker_file *file, size_t nbytes)
{
	char id[WORKER_NAME_NBYTES];
	snprintf(id, sizeof id, "%s", file->transfer);
	*file->transfer = 0;
	file->nbytes = nbytes;
	tell_of_file(worker, file, id);
}

void worker_not_fetched(struct worker *worker, struct worker_file *file, const char *reason)
{
	say(worker, "cache-invalid %s %zu %s\n%s", file->name, strlen(reason), file->transfer,
			reason);
	*file->transfer = 0;
	file->has_failed = 1;
}

void worker_make(struct worker *worker, const struct worker_task *task)
{
	for (uint32_t i = 0; i < task->n_outputs; i++) {
		const struct worker_mount *to = &task->outputs[i];
		struct worker_file *file = keep_file(worker, to->cached_name, strlen(to->name));
		memcpy(file->data, to->name, file->nbytes);
		tell_of_file(worker, file, "X");
	}
}

void worker_bring(struct worker *worker, const char *name, size_t nbytes)
{
	tell_of_file(worker, keep_file(worker, name, nbytes), "X");
}

/* What follows "put": a file with its data, or a directory with all that is in it. */
static void take_file(struct worker *worker, const char *name)
{
	char line[LINE_NBYTES];
	size_t nbytes;
	int is_directory = 0;
	do {
		if (!read_line(worker, line))
			return;
		if (!strncmp(line, "dir ", 4)) {
			is_directory++;
		} else if (!strcmp(line, "end")) {
			is_directory--;
		} else if (sscanf(line, "file %*s %zu", &nbytes) == 1 ||
				sscanf(line, "symlink %*s %zu", &nbytes) == 1) {
			struct worker_file *file = keep_file(worker, name, nbytes);
			read_bytes(worker, file->data, nbytes);
			worker->n_files++;
		}
	} while (is_directory);
	/* Before, that was told of what a worker had got or made by itself alone. */
	if (VINE_PROTOCOL >= 13 && worker_file(worker, name))
		tell_of_file(worker, worker_file(worker, name), "X");
}

static void take_url(struct worker *worker, const char *line)
{
	char source[LINE_NBYTES], name[WORKER_NAME_NBYTES], id[WORKER_NAME_NBYTES];
	CHECK(sscanf(line, "%*s %4095s %255s %*d %*d %*s %255s", source, name, id) == 3);
	struct worker_file *file = worker_file(worker, name);
	if (VF_TASKVINE < 715 && file && file->has_failed)
		return;
	file = keep_file(worker, name, 0);
	snprintf(file->source, sizeof file->source, "%.255s", source);
	snprintf(file->transfer, sizeof file->transfer, "%s", id);
	worker->n_fetches++;
	if (!worker->script.leaves_fetches)
		worker_fetched(worker, file, 1000);
}

static void give_file(struct worker *worker, const char *name)
{
	if (worker->script.breaks_before_outputs) {
		end(worker);
		return;
	}
	const struct worker_file *file = worker_file(worker, name);
	if (!file) {
		say(worker, "error %s 2\n", name);
		return;
	}
	say(worker, "file %s %zu 0644 %d\n", name, file->nbytes, FILE_MTIME);
	give_data(worker, file->data, file->nbytes);
}

/* ---- tasks ---- */

static void free_task(struct worker_task *task)
{
	vf_buffer_free(&task->frame);
	free(task->command);
	free(task);
}

static void drop_task(struct worker *worker, const struct worker_task *task)
{
	struct worker_task **at = &worker->tasks;
	while (*at && *at != task)
		at = &(*at)->next;
	*at = *at ? task->next : NULL;
}

/* 7.14 takes the seventh number for the task, later ones the eighth. */
static void say_complete(struct worker *worker, long long id, int result, int exit_code,
		const char *output, size_t nbytes)
{
	size_t sent = nbytes <= VF_INLINE_NBYTES ? nbytes : 0;
	say(worker, "complete %d %d %zu %zu 1 2 %lld %lld\n", result, exit_code, nbytes, sent, id,
			id);
	give_data(worker, output, sent);
	if (sent == nbytes)
		return;
	char name[32];
	snprintf(name, sizeof name, "stdout-%lld", id);
	memcpy(keep_file(worker, name, nbytes)->data, output, nbytes);
}

void worker_complete(struct worker *worker, struct worker_task *task, int result, int exit_code,
		const char *output, size_t nbytes)
{
	say_complete(worker, task->id, result, exit_code, output, nbytes);
	drop_task(worker, task);
	free_task(task);
}

void worker_end_library(struct worker *worker)
{
	CHECK(worker->library);
	say_complete(worker, worker->library, VINE_RESULT_LIBRARY_EXIT, 1, "", 0);
	worker->library = 0;
}

struct worker_task *worker_bundle(const struct worker *worker)
{
	return worker->tasks;
}

static void begin_task(struct worker *worker, struct worker_task *task)
{
	static const uint32_t NODE[] = {VF_STATUS_NODE};
	if (*task->made_name) {
		struct worker_file *made = keep_file(worker, task->made_name, 10);
		if (!worker->script.leaves_unpacking)
			tell_of_file(worker, made, "X");
		free_task(task);
		return;
	}
	if (task->is_library) {
		worker->n_libraries++;
		worker->library = task->id;
		free_task(task);
		if (worker->script.ends_libraries)
			worker_end_library(worker);
		return;
	}
	if (*task->command == 'S') {
		worker->n_stops++;
		snprintf(worker->stopped, sizeof worker->stopped, "%s", task->command);
		worker_answer(worker, task, 0, NULL);
		return;
	}
	if (*task->command == 'T') {
		static const uint32_t STACK[] = {VF_STATUS_PICKLE};
		worker->n_questions++;
		snprintf(worker->asked, sizeof worker->asked, "%s", task->command);
		if (worker->script.keeps_stacks_to_itself)
			free_task(task);
		else
			worker_answer(worker, task, 1, STACK);
		return;
	}
	worker_open_bundle(worker, task);
	worker->n_bundles += task->n_calls > 0;
	if (!task->n_calls && worker->script.ends_libraries) {
		free_task(task); /* there is nobody to answer */
	} else if (!task->n_calls) {
		worker->n_nodes++;
		worker_answer(worker, task, !worker->script.keeps_node_to_itself, NODE);
	} else if (worker->script.is_automatic) {
		worker_make(worker, task);
		worker_answer(worker, task, task->n_calls, NULL);
	} else {
		struct worker_task **at = &worker->tasks;
		while (*at)
			at = &(*at)->next;
		*at = task;
	}
}

static void add_mount(struct worker_mount *mounts, uint32_t *n, const char *line)
{
	CHECK(*n < WORKER_MOUNTS_MAX);
	struct worker_mount *mount = &mounts[(*n)++];
	CHECK(sscanf(line, "%*s %255s %255s", mount->cached_name, mount->name) == 2);
}

/* The rest of a message that begins a task, line by line; the command has no newline. */
static void take_task(struct worker *worker, struct worker_task *task)
{
	char line[LINE_NBYTES];
	size_t nbytes;
	while (read_line(worker, line)) {
		if (sscanf(line, "cmd %zu", &nbytes) == 1) {
			CHECK((task->command = calloc(1, nbytes + 1)));
			read_bytes(worker, task->command, nbytes);
		} else if (sscanf(line, "env %zu", &nbytes) == 1) {
			read_line(worker, line);
			snprintf(task->environment, sizeof task->environment, "%.255s", line);
		} else if (!strncmp(line, "provides_library ", 17)) {
			task->is_library = 1;
		} else if (sscanf(line, "cores %31s", task->cores) == 1 ||
				sscanf(line, "category %255s", task->category) == 1) {
			continue;
		} else if (!strncmp(line, "infile ", 7)) {
			add_mount(task->inputs, &task->n_inputs, line);
		} else if (!strncmp(line, "outfile ", 8)) {
			add_mount(task->outputs, &task->n_outputs, line);
		} else if (!strcmp(line, "end")) {
			begin_task(worker, task);
			return;
		}
	}
	free_task(task);
}

static void kill_task(struct worker *worker, long long id)
{
	for (struct worker_task *task = worker->tasks; task; task = task->next) {
		if (task->id != id)
			continue;
		worker->n_killed++;
		drop_task(worker, task);
		free_task(task);
		return;
	}
}

/* A library's is asked for as well, and nothing. */
static void give_output(struct worker *worker, long long id)
{
	char name[32];
	if (worker->script.breaks_before_outputs) {
		end(worker);
		return;
	}
	snprintf(name, sizeof name, "stdout-%lld", id);
	const struct worker_file *file = worker_file(worker, name);
	say(worker, "stdout %lld %zu\n", id, file ? file->nbytes : 0);
	if (file)
		give_data(worker, file->data, file->nbytes);
	drop_file(worker, name);
}

/* ---- what the manager says ---- */

static void follow(struct worker *worker, const char *line)
{
	char name[WORKER_NAME_NBYTES];
	long long id;
	if (sscanf(line, "task %lld", &id) == 1 || sscanf(line, "mini_task %*s %255s", name) == 1) {
		struct worker_task *task = calloc(1, sizeof *task);
		CHECK(task);
		if (*line == 't')
			task->id = id;
		else
			memcpy(task->made_name, name, sizeof name);
		take_task(worker, task);
	} else if (!strncmp(line, "puturl", 6)) {
		take_url(worker, line);
	} else if (sscanf(line, "put %255s", name) == 1) {
		if (worker->script.breaks_at_files)
			worker_leave(worker);
		else
			take_file(worker, name);
	} else if (sscanf(line, "getfile %255s", name) == 1 ||
			sscanf(line, "get %255s", name) == 1) {
		give_file(worker, name);
	} else if (sscanf(line, "send_stdout %lld", &id) == 1) {
		give_output(worker, id);
	} else if (sscanf(line, "unlink %255s", name) == 1) {
		worker->n_unlinked++;
		drop_file(worker, name);
	} else if (sscanf(line, "kill %lld", &id) == 1) {
		kill_task(worker, id);
	} else if (!strcmp(line, "exit") || !strcmp(line, "release")) {
		/* From 7.16 on the manager waits for that. */
		worker->was_told_to_exit = 1;
		end(worker);
	}
}

int worker_serve(struct worker *worker)
{
	char line[LINE_NBYTES];
	int n;
	for (n = 0; receive(worker, 0) && read_line(worker, line); n++)
		follow(worker, line);
	return n;
}

void worker_join(struct worker *worker, int port, const struct worker_script *script)
{
	static int32_t n_joined;
	struct sockaddr_in address = {
			.sin_family = AF_INET,
			.sin_port = htons((uint16_t)port),
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int at_once = 1;
	*worker = (struct worker){.script = *script, .pid = ++n_joined};
	CHECK((worker->input = malloc(INPUT_NBYTES)));
	worker->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(worker->fd >= 0);
	CHECK(!connect(worker->fd, (const struct sockaddr *)&address, sizeof address));
	setsockopt(worker->fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
	say(worker,
			"taskvine %d localhost Linux machine vinefast\n"
			"info worker-id scripted-%d\ninfo worker-end-time %llu\n"
			"transfer-port 9\n"
			"resources\ncores %u\nmemory %u\ndisk %u\ngpus %u\nworkers 1\ntag 0\nend\n",
			VINE_PROTOCOL, worker->pid, (unsigned long long)script->end_time_s,
			script->cores, script->memory, script->disk, script->gpus);
}

void worker_leave(struct worker *worker)
{
	struct worker_task *task;
	if (worker->fd >= 0)
		end(worker);
	while ((task = worker->tasks)) {
		worker->tasks = task->next;
		free_task(task);
	}
	while (worker->files)
		drop_file(worker, worker->files->name);
	worker->n_read = worker->n_input = 0;
	free(worker->input);
	worker->input = NULL;
}
