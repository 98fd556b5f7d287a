#include "vf_leftover.h"

#include <stdlib.h>
#include <string.h>

#include "taskvine_private.h"
#include "vf_config.h"

struct vf_leftover {
	struct vf_leftover *next;
	struct vine_file *file;
	char *cached_name;
};

static int is_fetched(const struct vf_leftovers *leftovers, const char *cached_name)
{
	return cached_name &&
			vine_file_replica_table_count_replicas(leftovers->config->manager,
					cached_name, VINE_REPLICA_PENDING) > 0;
}

static void forget(struct vf_leftover *leftover)
{
	free(leftover->cached_name);
	free(leftover);
}

/* The worker that fetches a file may have it all, also if those that held it are gone: it is to be
deleted there, too. */
void vf_leftover_undeclare(
		struct vf_leftovers *leftovers, struct vine_file *file, const char *cached_name)
{
	if (!is_fetched(leftovers, cached_name)) {
		vine_undeclare_file(leftovers->config->manager, file);
		return;
	}
	struct vf_leftover *leftover = calloc(1, sizeof *leftover);
	if (!leftover)
		return; /* it stays on workers until the end */
	leftover->file = file;
	if (!(leftover->cached_name = strdup(cached_name))) {
		forget(leftover);
		return;
	}
	leftover->next = leftovers->first;
	leftovers->first = leftover;
}

void vf_leftover_settle(struct vf_leftovers *leftovers)
{
	struct vf_leftover **at = &leftovers->first;
	while (*at) {
		struct vf_leftover *leftover = *at;
		if (is_fetched(leftovers, leftover->cached_name)) {
			at = &leftover->next;
			continue;
		}
		*at = leftover->next;
		vine_undeclare_file(leftovers->config->manager, leftover->file);
		forget(leftover);
	}
}

void vf_leftover_free(struct vf_leftovers *leftovers)
{
	struct vf_leftover *leftover;
	while ((leftover = leftovers->first)) {
		leftovers->first = leftover->next;
		forget(leftover);
	}
}
