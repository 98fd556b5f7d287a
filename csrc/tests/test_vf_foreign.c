/* What workers of another protocol have said of themselves is kept once for each host. */

#include "vf_foreign.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

static struct vf_foreign foreign;

static void check(unsigned i, int64_t protocol, const char *host, const char *release)
{
	const struct vf_foreign_worker *worker = &foreign.workers[i];
	CHECK(worker->protocol == protocol);
	CHECK(!strcmp(worker->host, host) && !strcmp(worker->release, release));
}

int main(void)
{
	char line[512];
	CHECK(!vf_foreign_count(&foreign));
	vf_foreign_note(&foreign, "taskvine 13 node1 Linux x86_64 7.17.1");
	vf_foreign_note(&foreign, "taskvine 11 node1 Linux x86_64 7.1.0");
	CHECK(vf_foreign_count(&foreign) == 1);
	check(0, 13, "node1", "7.17.1");

	/* Whatever else it says. */
	vf_foreign_note(&foreign, "taskvine 99");
	vf_foreign_note(&foreign, "taskvine -1 \x1b[2Jnode\xff Linux machine 8");
	CHECK(vf_foreign_count(&foreign) == 3);
	check(1, 99, "", "");
	check(2, -1, "?[2Jnode?", "8");
	snprintf(line, sizeof line, "taskvine 14 %0300d Linux x86_64 9", 0);
	vf_foreign_note(&foreign, line);
	CHECK(vf_foreign_count(&foreign) == 4);
	CHECK(strlen(foreign.workers[3].host) == VF_FOREIGN_HOST_NBYTES - 1);

	for (int i = 0; i < 2 * VF_FOREIGN_MAX; i++) {
		snprintf(line, sizeof line, "taskvine 13 other%d Linux x86_64 7.17.1", i);
		vf_foreign_note(&foreign, line);
	}
	CHECK(vf_foreign_count(&foreign) == VF_FOREIGN_MAX);
	check(4, 13, "other0", "7.17.1");
	return 0;
}
