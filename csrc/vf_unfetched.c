#include "vf_unfetched.h"

#include <stdlib.h>
#include <string.h>

#include "taskvine_private.h"
#include "vf_bundle.h"
#include "vf_clock.h"
#include "vf_config.h"
#include "vf_declare.h"
#include "vf_inputs.h"
#include "vf_workers.h"

static const char UNSENT[] = "the connection to its worker broke each time it was sent; is the "
			     "worker's disk full?";

static const char UNSAID[] = "the worker could not get it, and does not say why";

/* What a worker puts before the words of whoever fetched or made the file: until 7.14, from 7.15
on. */
static const char *const PREFIXES[] = {
		"error creating file at worker: ", "error transferring file: "};
static const char REFUSED[] = "returned error: 4"; /* curl's words for all of HTTP's 400 to 499 */

int vf_unfetched_note(const struct vf_declare *declare, const char *cachename, const char *reason)
{
	struct vf_declared *input = vf_declare_find(
			declare, vine_manager_lookup_file(declare->config->manager, cachename));
	if (!input)
		return 0;
	for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++) {
		if (!strncmp(reason, PREFIXES[i], strlen(PREFIXES[i])))
			reason += strlen(PREFIXES[i]);
	}
	if (!input->reason) {
		size_t nbytes = strlen(reason);
		while (nbytes && reason[nbytes - 1] == '\n')
			nbytes--;
		input->reason = nbytes ? strndup(reason, nbytes) : strdup(UNSAID);
		input->failed_ns = vf_now_ns();
		input->final |= input->n_failed || strstr(reason, REFUSED);
	}
	return !strncmp(reason, "curl: ", 6);
}

/* Once they have it, others get it from them. TaskVine's own count compares addresses of copies of
the URL, and is always 0. */
int vf_unfetched_count(const struct vf_declare *declare, const char *source)
{
	const struct vf_declared *input = vf_declare_find(declare, source);
	if (!input || !input->name)
		return 0;
	return vine_file_replica_table_count_replicas(
			declare->config->manager, input->name, VINE_REPLICA_PENDING);
}

const char *vf_unfetched_reason(const struct vf_inputs *inputs, const struct vf_call *call,
		const struct vf_file *file)
{
	if (!vf_file_is_input(file))
		return NULL;
	const struct vf_declared *input = vf_inputs_find(inputs, file);
	return input && input->reason && input->final && call->submitted_ns < input->failed_ns ?
			input->reason :
			NULL;
}

void vf_unfetched_unsent(struct vf_bundle *bundle)
{
	if (!bundle->spilled && !bundle->mounts.n_inputs)
		return;
	bundle->unsent = 1;
	vf_bundle_lose(bundle);
}

int vf_unfetched_any(const struct vf_bundle *bundle)
{
	if (bundle->unsent)
		return 1;
	uint32_t i = 0;
	while (i < bundle->mounts.n_inputs && !bundle->mounts.inputs[i]->reason)
		i++;
	return i < bundle->mounts.n_inputs;
}

int vf_unfetched_too_large(const struct vf_workers *workers, const struct vf_bundle *bundle,
		const struct vf_worker *worker)
{
	double needed_mb = (double)bundle->input_nbytes / (1 << 20);
	if (!worker->slots || needed_mb <= worker->has.disk)
		return 0;
	uint32_t i = 0;
	while (i < workers->n && workers->items[i]->slots &&
			workers->items[i]->has.disk < needed_mb)
		i++;
	return i < workers->n;
}

const char *vf_unfetched_judge(const struct vf_bundle *bundle, struct vf_call *call,
		uint32_t *n_inputs, const struct vf_file **file)
{
	const char *why = NULL;
	int64_t nbytes = 0;
	int unsent = bundle->unsent && call->solo && call->losses > 1;
	*file = NULL;
	call->solo |= bundle->unsent;
	for (uint32_t k = 0; call->files && k < call->files->n; k++) {
		const struct vf_file *item = &call->files->items[k];
		if (!vf_file_is_input(item))
			continue;
		/* They are in the order of the calls' files. */
		const struct vf_declared *input = bundle->mounts.inputs[(*n_inputs)++];
		if (unsent && input->nbytes >= nbytes) {
			*file = item;
			nbytes = input->nbytes;
		}
		if (input->reason) {
			call->solo = 1; /* others need not wait for another try */
			if (input->final && !why) {
				*file = item;
				why = input->reason;
			}
		}
	}
	return why || !unsent ? why : UNSENT;
}
