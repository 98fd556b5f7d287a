#include "vf_foreign.h"

#include <stdio.h>
#include <string.h>

/* In ASCII, whatever the locale takes for printable. */
static void make_printable(char *word)
{
	for (; *word; word++) {
		if (*word < '!' || *word > '~')
			*word = '?';
	}
}

void vf_foreign_note(struct vf_foreign *foreign, const char *greeting)
{
	struct vf_foreign_worker worker = {0};
	long long protocol = 0;
	unsigned n = vf_foreign_count(foreign);
	/* taskvine PROTOCOL HOST SYSTEM MACHINE RELEASE */
	sscanf(greeting, "taskvine %lld %255s %*s %*s %31s", &protocol, worker.host,
			worker.release);
	worker.protocol = protocol;
	make_printable(worker.host);
	make_printable(worker.release);
	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(foreign->workers[i].host, worker.host))
			return;
	}
	if (n == VF_FOREIGN_MAX)
		return;
	foreign->workers[n] = worker;
	atomic_store_explicit(&foreign->n, n + 1, memory_order_release);
}

unsigned vf_foreign_count(const struct vf_foreign *foreign)
{
	return atomic_load_explicit(&foreign->n, memory_order_acquire);
}
