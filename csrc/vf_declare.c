#include "vf_declare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "taskvine_private.h"
#include "vf_clock.h"
#include "vf_config.h"
#include "vf_leftover.h"
#include "vf_replica.h"

enum {
	LABEL_NBYTES = 128,
	COMMAND_NBYTES = 512,
};

/* A worker takes no notice of the exit status of what makes a file, and of nothing it prints: so
the output has to be missing if anything went wrong, and why is put where the worker looks for the
words of a transfer that failed. */
#define UNPACK \
	"mkdir unpacked && why=$(LC_ALL=C tar xpf input -C unpacked --no-same-owner 2>&1) && mv " \
	"unpacked output ||" \
	" { rm -rf unpacked; printf '%%s\n' \"$why\" | tail -n 3 > ../transfer/%s.error; }"

#define UNPACKED "-unpacked" /* behind the name of the archive */

static int is_free(const struct vf_declare *declare, const char *name, const char *behind)
{
	char whole[LABEL_NBYTES + sizeof UNPACKED];
	size_t nbytes = strnlen(name, LABEL_NBYTES - 1);
	memcpy(whole, name, nbytes);
	snprintf(whole + nbytes, sizeof UNPACKED, "%s", behind);
	return !vine_manager_lookup_file(declare->config->manager, whole);
}

/* What workers call it: the name of its content if there is one and it is free, else one that
nothing else has. */
static void make_name(struct vf_declare *declare, const char *label, char name[LABEL_NBYTES])
{
	if (label) {
		snprintf(name, LABEL_NBYTES, "%s", label);
		/* What is unpacked of a former one may still be on its way. */
		if (is_free(declare, name, "") && is_free(declare, name, UNPACKED))
			return;
	}
	if (!declare->stamp)
		declare->stamp = vf_now_ns() * 1000003u + (uint64_t)getpid();
	snprintf(name, LABEL_NBYTES, "vinefast-%016llx-%u", (unsigned long long)declare->stamp,
			declare->n_names++);
}

/* TaskVine itself would compute the name here on the manager thread: from all of its content, or by
asking a URL's server, of a file that is kept beyond the workflow; by looking at it once more of
others. */
static struct vine_file *create(struct vf_declare *declare, const char *source, const char *name,
		int64_t nbytes, vine_file_type_t type, struct vine_task *task, int level, int flags)
{
	struct vine_file *file = vine_file_create(source, name, NULL, (size_t)nbytes, type, task,
			(vine_cache_level_t)level, (vine_file_flags_t)flags);
	return vine_manager_declare_file(declare->config->manager, file);
}

static struct vine_file *unpacked(
		struct vf_declare *declare, struct vine_file *archive, const char *name, int level)
{
	char command[COMMAND_NBYTES];
	snprintf(command, sizeof command, UNPACK, name);
	struct vine_task *task = vine_task_create(command);
	if (!task || !vine_task_add_input(task, archive, "input", 0)) {
		vine_task_delete(task);
		return NULL;
	}
	return create(declare, "output", name, 0, VINE_MINI_TASK, task, level, VINE_PEER_NOSHARE);
}

struct vf_declared *vf_declare_find(const struct vf_declare *declare, const void *file_or_source)
{
	return file_or_source ? vf_table_find(&declare->inputs, (uintptr_t)file_or_source) : NULL;
}

/* Find the input by TaskVine's file, and by its source. */
static int index_file(struct vf_declare *declare, struct vine_file *file, struct vf_declared *input)
{
	return !vf_table_put(&declare->inputs, (uintptr_t)file, input) &&
			!vf_table_put(&declare->inputs, (uintptr_t)vine_file_source(file), input);
}

static void end_file(struct vf_declare *declare, struct vine_file *file, const char *name)
{
	if (!file)
		return;
	vf_table_take(&declare->inputs, (uintptr_t)file);
	vf_table_take(&declare->inputs, (uintptr_t)vine_file_source(file));
	vf_leftover_undeclare(declare->leftovers, file, name);
}

static void forget(struct vf_declared *input)
{
	free(input->reason);
	free(input->name);
	free(input->source);
	free(input);
}

struct vf_declared *vf_declare_input(struct vf_declare *declare, const struct vf_file *file,
		const struct vf_look *now, uint32_t n_failed, int own_name)
{
	struct vf_declared *input = calloc(1, sizeof *input);
	if (!input)
		return NULL;
	input->source = strdup(file->key ? file->key : file->source);
	input->modified = now->modified;
	input->nbytes = now->nbytes;
	input->inode = now->inode;
	input->version = file->version;
	input->n_failed = n_failed;

	int is_url = file->kind == VF_FILE_URL;
	int level = VINE_CACHE_LEVEL_WORKFLOW;
	char name[LABEL_NBYTES + sizeof UNPACKED] = "";
	uint64_t modified_ns = (uint64_t)now->modified.tv_sec * 1000000000u +
			(uint64_t)now->modified.tv_nsec;
	/* The label is that of another content if the file has changed since the call was
	submitted. */
	int changed = S_ISREG(now->mode) && modified_ns != file->version;
	const char *label = own_name || changed ? NULL : file->label;
	make_name(declare, label, name);
	/* Nobody will ever ask again for what has no label. We delete what is for one call alone:
	TaskVine does so as soon as it cancels the task, also while a worker fetches it. */
	if (file->key && label && file->level > VINE_CACHE_LEVEL_WORKFLOW)
		level = file->level;
	/* Another worker may be out of reach, but we are here. */
	int flags = n_failed && !is_url ? VINE_PEER_NOSHARE : 0;
	input->file = create(declare, file->source, name, now->nbytes,
			is_url ? VINE_URL : VINE_FILE, NULL, level, flags);
	input->name = strdup(name);
	if (file->unpack && input->file) {
		input->archive = input->file;
		strcat(name, UNPACKED);
		input->file = unpacked(declare, input->archive, name, level);
	}
	if (!input->source || !input->file || !index_file(declare, input->file, input) ||
			(input->archive && !index_file(declare, input->archive, input))) {
		vf_declare_end(declare, input);
		return NULL;
	}
	/* Without the memory for it, nobody asks where it is. */
	input->datum = vf_replica_know(declare->replicas, input->file, NULL);
	if (input->datum && level >= VINE_CACHE_LEVEL_WORKER)
		vf_replica_find(declare->replicas, input->datum, name);
	return input;
}

void vf_declare_end(struct vf_declare *declare, struct vf_declared *input)
{
	if (input->datum)
		vf_replica_forget(declare->replicas, input->datum);
	char unpacked_name[LABEL_NBYTES + sizeof UNPACKED];
	snprintf(unpacked_name, sizeof unpacked_name, "%s" UNPACKED,
			input->name ? input->name : "");
	end_file(declare, input->file, input->archive ? unpacked_name : input->name);
	end_file(declare, input->archive, input->name);
	forget(input);
}

void vf_declare_free(struct vf_declare *declare)
{
	struct vf_declared *input, *all = NULL;
	for (size_t at = 0; (input = vf_table_next(&declare->inputs, &at));) {
		/* Each is found by several keys. */
		if (vf_table_key(&declare->inputs, at) != (uintptr_t)input->file)
			continue;
		input->older = all;
		all = input;
	}
	vf_table_free(&declare->inputs);
	while ((input = all)) {
		all = input->older;
		forget(input);
	}
}
