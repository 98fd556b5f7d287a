#include "vf_temp.h"

#include <stdlib.h>
#include <string.h>

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

void vf_temp_hold(struct vf_temp *temp, const struct vf_worker *worker, const char *cached_name)
{
	add_holder(temp, worker);
	temp->made = 1;
	if (!temp->cached_name)
		temp->cached_name = strdup(cached_name);
}

void vf_temp_leave(struct vf_temp *temp, const struct vf_worker *worker)
{
	for (uint32_t i = 0; i < temp->n_holders; i++) {
		if (temp->holders[i] == worker)
			temp->holders[i--] = temp->holders[--temp->n_holders];
	}
}

void vf_temp_free(struct vf_temp *temp)
{
	free(temp->path);
	free(temp->holders);
	free(temp->cached_name);
	temp->path = temp->cached_name = NULL;
	temp->holders = NULL;
}
