/* TaskVine's worker tells why it could not get a file, and TaskVine's manager only writes that to its debug log, takes the task back and
tries the next worker, for ever. Here the reason is kept with the file: whoever waits for it tries once more under a fresh declaration (a
worker does not try for a name again), and fails with the reason if that is no better, or if the server of a URL has refused it.

A worker that has no room for a file which the manager sends says nothing at all: it closes the connection, comes back, and is sent the
same file, for ever. So a call whose files could not be sent twice fails. */

#include <stdlib.h>
#include <string.h>

#include "hash_table.h"
#include "itable.h"
#include "taskvine_private.h"
#include "vf_turn.h"

static const char UNSENT[] = "the connection to its worker broke each time it was sent; is the worker's disk full?";

static const char UNSAID[] = "the worker could not get it, and does not say why";

/* What a worker puts before the words of whoever fetched or made the file: until 7.14, from 7.15 on. */
static const char *const PREFIXES[] = {"error creating file at worker: ", "error transferring file: "};
static const char REFUSED[] = "returned error: 4"; /* curl's words for all of HTTP's 400 to 499 */

int vf_unfetched_note(void *arg, const char *cachename, const char *reason)
{
	struct vf_loop *loop = arg;
	struct vine_file *file = vine_manager_lookup_file(loop->manager, cachename);
	struct vf_declared *input = file && loop->shelf.by_file ? itable_lookup(loop->shelf.by_file, (uintptr_t)file) : NULL;
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

/* How many workers are about to get a URL from its server; once they have it, others get it from them. TaskVine's own count compares
addresses of copies of the URL, and is always 0. */
int vf_unfetched_wait(void *arg, const char *source)
{
	struct vf_loop *loop = arg;
	struct vf_declared *input = loop->shelf.by_file ? itable_lookup(loop->shelf.by_file, (uintptr_t)source) : NULL;
	return input && input->name ? vine_file_replica_table_count_replicas(loop->manager, input->name, VINE_REPLICA_PENDING) : 0;
}

const char *vf_unfetched_reason(const struct vf_loop *loop, const struct vf_call *call, const struct vf_file *file)
{
	if (!vf_files_is_input(file) || !loop->shelf.by_source)
		return NULL;
	const struct vf_declared *input = hash_table_lookup(loop->shelf.by_source, file->key ? file->key : file->source);
	return input && input->reason && input->final && call->submitted_ns < input->failed_ns ? input->reason : NULL;
}

void vf_unfetched_unsent(void *arg, struct vine_task *task)
{
	struct vf_loop *loop = arg;
	struct vf_bundle *bundle = itable_lookup(loop->bundles, (uint64_t)vine_task_get_id(task));
	if (!bundle || (!bundle->spilled && !bundle->mounts.n_inputs))
		return;
	bundle->unsent = 1;
	for (uint32_t i = 0; i < bundle->n_calls; i++)
		bundle->calls[i]->losses += bundle->calls[i]->losses < UINT8_MAX;
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

int vf_unfetched_too_large(const struct vf_loop *loop, const struct vf_bundle *bundle, const struct vf_worker *worker)
{
	double needed_mb = (double)bundle->input_nbytes / (1 << 20);
	if (!worker->slots || needed_mb <= worker->has.disk)
		return 0;
	uint32_t i = 0;
	while (i < loop->workers.n && loop->workers.items[i]->slots && loop->workers.items[i]->has.disk < needed_mb)
		i++;
	return i < loop->workers.n;
}

void vf_unfetched_return(struct vf_loop *loop, struct vf_bundle *bundle)
{
	struct vf_declared **input = bundle->mounts.inputs; /* in the order of the calls' files */
	VF_COUNT(loop, bundles_lost, 1);
	VF_COUNT(loop, calls_lost, bundle->n_calls);
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		struct vf_call *call = bundle->calls[i];
		const struct vf_file *hopeless = NULL;
		const char *why = NULL;
		int64_t nbytes = 0;
		int unsent = bundle->unsent && call->solo && call->losses > 1;
		call->solo |= bundle->unsent;
		for (uint32_t k = 0; call->files && k < call->files->n; k++) {
			const struct vf_file *file = &call->files->items[k];
			if (!vf_files_is_input(file))
				continue;
			if (unsent && (*input)->nbytes >= nbytes) {
				hopeless = file;
				nbytes = (*input)->nbytes;
			}
			if ((*input)->reason) {
				call->solo = 1; /* others need not wait for another try */
				if ((*input)->final && !why) {
					hopeless = file;
					why = (*input)->reason;
				}
			}
			input++;
		}
		if (hopeless || unsent)
			vf_files_fail_for(loop, call, hopeless, why ? why : UNSENT);
		else
			vf_send_again(loop, call);
	}
}
