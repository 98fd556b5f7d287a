/* In the place of vf_look.c, and its threads. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "files.h"
#include "model.h"
#include "sim.h"
#include "vf_look.h"
#include "vf_wake.h"

static struct script {
	char source[32];
	int is_missing, was_missing;
	uint64_t nbytes, changed_ns, slow_until_ns;
} files[N_FILES];

static struct vf_wake *asker; /* who waits for a look that takes long */
static uint64_t n_ended, n_heard;

void files_begin(void)
{
	memset(files, 0, sizeof files);
	asker = NULL;
	n_ended = n_heard = 0;
	for (uint32_t i = 0; i < N_FILES; i++) {
		snprintf(files[i].source, sizeof files[i].source, "/data/%u", i);
		files[i].nbytes = 1 + sim_below(100 << 20);
		files[i].changed_ns = sim.now_ns;
	}
}

const char *files_source(uint32_t number)
{
	return files[number].source;
}

int files_was_missing(uint32_t number)
{
	return files[number].was_missing;
}

static void end_look(void *arg)
{
	(void)arg;
	n_ended++;
	if (asker)
		vf_wake_signal(asker);
}

void files_disturb(void)
{
	uint32_t number = sim_below(N_FILES);
	struct script *file = &files[number];
	switch (sim_below(3)) {
	case 0:
		model_fault(FAULT_input_changed, "file", number);
		file->changed_ns = sim.now_ns;
		file->nbytes = 1 + sim_below(1 << 20);
		break;
	case 1:
		file->is_missing = !file->is_missing && sim_chance(300);
		file->was_missing |= file->is_missing;
		if (file->is_missing)
			model_fault(FAULT_input_missing, "file", number);
		break;
	default:
		model_fault(FAULT_look_slow, "file", number);
		file->slow_until_ns = sim.now_ns + sim_between(SIM_MS, 30 * SIM_S);
		sim_after(file->slow_until_ns - sim.now_ns, end_look, NULL);
	}
}

void files_heal(void)
{
	for (uint32_t i = 0; i < N_FILES; i++)
		files[i].is_missing = 0;
}

static struct script *find(const char *source)
{
	for (uint32_t i = 0; i < N_FILES; i++) {
		if (!strcmp(files[i].source, source))
			return &files[i];
	}
	return NULL;
}

void vf_look_here(const char *source, struct vf_look *look)
{
	const struct script *file = find(source);
	*look = (struct vf_look){.error = !file || file->is_missing ? ENOENT : 0};
	look->asked_ns = sim.now_ns;
	if (look->error)
		return;
	look->mode = S_IFREG | 0644;
	look->nbytes = (int64_t)file->nbytes;
	look->inode = (uint64_t)(file - files) + 1;
	look->modified.tv_sec = (time_t)(file->changed_ns / SIM_S);
	look->modified.tv_nsec = (long)(file->changed_ns % SIM_S);
}

const struct vf_look *vf_look(
		struct vf_looks *looks, uint64_t turn, const char *source, uint64_t since_ns)
{
	static struct vf_look seen;
	const struct script *file = find(source);
	(void)turn, (void)since_ns;
	asker = looks->wake;
	if (file && sim.now_ns < file->slow_until_ns)
		return NULL;
	looks->n_made++;
	vf_look_here(source, &seen);
	return &seen;
}

int vf_looks_ended(struct vf_looks *looks)
{
	(void)looks;
	int is_news = n_heard != n_ended;
	n_heard = n_ended;
	return is_news;
}

void vf_looks_free(struct vf_looks *looks)
{
	(void)looks;
	asker = NULL;
}
