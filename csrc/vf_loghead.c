#define _GNU_SOURCE
#include "vf_loghead.h"

#include <stdlib.h>
#include <string.h>

static const char MANAGER[] = "MANAGER ";
static const char WORKER[] = "WORKER ";
static const char CONNECTION[] = " CONNECTION ";
static const char RESOURCES[] = " RESOURCES ";
static const char DISCONNECTION[] = " DISCONNECTION ";
static const char GRAPH[] = "digraph ";

/* The last lines of a worker that say of it, */
struct worker {
	char *connection; /* that it has come, */
	char *resources;  /* and with what. */
};

static int begins_with(const char *text, const char *end, const char *words)
{
	size_t nbytes = strlen(words);
	return (size_t)(end - text) >= nbytes && !memcmp(text, words, nbytes);
}

/* What a transaction is about: behind the time and the manager's pid. */
static const char *subject_of(const char *line, const char *end)
{
	const char *space = memchr(line, ' ', (size_t)(end - line));
	space = space ? memchr(space + 1, ' ', (size_t)(end - space - 1)) : NULL;
	return space ? space + 1 : end;
}

static int add(struct vf_buffer *buffer, size_t used, const char *text, size_t nbytes)
{
	if (vf_buffer_reserve(buffer, used + nbytes))
		return -1;
	memcpy(buffer->data + used, text, nbytes);
	return 0;
}

static void note_begin(struct vf_loghead *head, const char *line, const char *end)
{
	int starts = begins_with(subject_of(line, end), end, MANAGER);
	if (*line != '#' && !starts && !begins_with(line, end, GRAPH) &&
			!begins_with(line, end, "node ")) {
		head->is_whole = 1;
		return;
	}
	if (add(&head->lines, head->nbytes, line, (size_t)(end - line)))
		return;
	head->nbytes += (size_t)(end - line);
	head->has_workers |= starts;
}

static void free_worker(struct worker *worker)
{
	if (!worker)
		return;
	free(worker->connection);
	free(worker->resources);
	free(worker);
}

static struct worker *get_worker(struct vf_loghead *head, const char *name)
{
	struct worker *worker = vf_table_find_text(&head->workers, name);
	if (worker || !(worker = calloc(1, sizeof *worker)))
		return worker;
	if (!vf_table_put_text(&head->workers, name, worker))
		return worker;
	free(worker);
	return NULL;
}

static void note_worker(struct vf_loghead *head, const char *line, const char *end)
{
	const char *name = subject_of(line, end) + strlen(WORKER);
	const char *event = memchr(name, ' ', (size_t)(end - name));
	int comes = event && begins_with(event, end, CONNECTION);
	int leaves = event && begins_with(event, end, DISCONNECTION);
	if (!comes && !leaves && !(event && begins_with(event, end, RESOURCES)))
		return;
	char *key = strndup(name, (size_t)(event - name));
	if (key && leaves) {
		free_worker(vf_table_take_text(&head->workers, key));
	} else if (key) {
		struct worker *worker = get_worker(head, key);
		char **place = !worker ? NULL : comes ? &worker->connection : &worker->resources;
		char *copy = place ? strndup(line, (size_t)(end - line)) : NULL;
		if (copy) {
			free(*place);
			*place = copy;
		}
	}
	free(key);
}

void vf_loghead_note(struct vf_loghead *head, const char *data, size_t nbytes)
{
	const char *end = data + nbytes, *newline;
	for (const char *line = data; (!head->is_whole || head->has_workers) &&
			(newline = memchr(line, '\n', (size_t)(end - line))) != NULL;
			line = newline + 1) {
		if (!head->is_whole)
			note_begin(head, line, newline + 1);
		if (head->is_whole && head->has_workers &&
				begins_with(subject_of(line, newline), newline, WORKER))
			note_worker(head, line, newline + 1);
	}
}

size_t vf_loghead_get(const struct vf_loghead *head, struct vf_buffer *buffer)
{
	if (!head->nbytes || add(buffer, 0, head->lines.data, head->nbytes))
		return 0;
	size_t used = head->nbytes;
	const struct worker *worker;
	for (size_t at = 0; (worker = vf_table_next(&head->workers, &at));) {
		const char *lines[] = {worker->connection, worker->resources};
		for (int i = 0; i < 2 && worker->connection && lines[i]; i++) {
			size_t nbytes = strlen(lines[i]);
			if (add(buffer, used, lines[i], nbytes))
				return 0;
			used += nbytes;
		}
	}
	return used;
}

const char *vf_loghead_foot(const struct vf_loghead *head)
{
	const char *lines = head->lines.data;
	return head->nbytes && begins_with(lines, lines + head->nbytes, GRAPH) ? "}\n" : "";
}

void vf_loghead_free(struct vf_loghead *head)
{
	struct worker *worker;
	for (size_t at = 0; (worker = vf_table_next(&head->workers, &at));)
		free_worker(worker);
	vf_table_free(&head->workers);
	vf_buffer_free(&head->lines);
	memset(head, 0, sizeof *head);
}
