#include "vf_line.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "vf_clock.h"
#include "vf_hooks.h"
#include "vf_tls.h"

enum {
	SKIP_S = 5, /* a worker sends both at once */
	/* Each message comes at once, too; but a network may lose a part, and take its time. */
	HALF_MS = 5000,
	SENT_MAX = 1024, /* bytes of an output that come unasked */
	HOST_NBYTES = 256, /* of TaskVine's copy */
	REASON_MAX = 64 << 20, /* bytes: what the command wrote that was to make a file */
	LINK_MAX = 4096, /* bytes of what a symbolic link says */
	PORT_MAX = 65535,
};

/* Of files, outputs and resources: more than there is of any, and no trouble to add up. */
static const long long AMOUNT_MAX = 1LL << 50;

/* What TaskVine looks for a task after. */
#if VF_TASKVINE < 715
static const char COMPLETE[] = "complete %d %*d %n%lld %lld%n %*d %*d %lld";
#else
static const char COMPLETE[] = "complete %d %*d %n%lld %lld%n %*d %*d %*d %lld";
#endif

/* How the message of several lines ends that is read now, NULL: none is; and when it has to. */
static _Thread_local const char *last_line;
static _Thread_local int64_t last_line_ms;

static _Thread_local int64_t n_unasked;

int64_t vf_line_unasked(void)
{
	return n_unasked;
}

void vf_line_forget(void)
{
	last_line = NULL;
}

static int begins_with(const char *line, const char *word)
{
	return !strncmp(line, word, strlen(word));
}

static int is_within(long long amount, long long most)
{
	return amount >= 0 && amount <= most;
}

/* ---- what it says ---- */

int vf_line_cached(const char *line, char name[VINE_LINE_MAX], int64_t *nbytes)
{
	long long said;
	if (sscanf(line, "cache-update %4095s %*d %*d %lld", name, &said) != 2)
		return 0;
	*nbytes = said;
	return 1;
}

static int is_host(const char *host)
{
	host += strspn(host, " \t\v\f\r");
	return strcspn(host, " \t\v\f\r") < HOST_NBYTES;
}

/* TaskVine would take no worker of that host any more, which others may be on as well. */
static int is_protocol(const char *line)
{
	long long spoken;
	if (sscanf(line, "taskvine %lld", &spoken) < 1 || spoken == VINE_PROTOCOL)
		return 1;
	debug(D_VINE | D_NOTICE, "rejecting a worker with protocol %lld: the manager's is %d",
			spoken, VINE_PROTOCOL);
	return 0;
}

/* What TaskVine reads with fewer bits than it has is read with all here. What it does not
understand is left to it. */
int vf_line_is_sound(const char *line)
{
	char name[VINE_LINE_MAX];
	long long amount;
	int64_t nbytes;
	if (begins_with(line, "cache-invalid"))
		return sscanf(line, "cache-invalid %*s %lld", &amount) < 1 ||
				is_within(amount, REASON_MAX);
	if (begins_with(line, "cache-update"))
		return !vf_line_cached(line, name, &nbytes) || is_within(nbytes, AMOUNT_MAX);
	if (begins_with(line, "transfer-hostport"))
		return is_host(line + strlen("transfer-hostport")) &&
				(sscanf(line, "transfer-hostport %*s %lld", &amount) < 1 ||
						is_within(amount, PORT_MAX));
	if (begins_with(line, "transfer-port"))
		return sscanf(line, "transfer-port %lld", &amount) < 1 ||
				is_within(amount, PORT_MAX);
	if (begins_with(line, "taskvine"))
		return is_protocol(line);
	if (begins_with(line, "stdout"))
		return sscanf(line, "stdout %*d %lld", &amount) < 1 ||
				is_within(amount, AMOUNT_MAX);
	if (begins_with(line, "file"))
		return sscanf(line, "file %*s %lld", &amount) < 1 || is_within(amount, AMOUNT_MAX);
	if (begins_with(line, "symlink"))
		return sscanf(line, "symlink %*s %lld", &amount) < 1 || is_within(amount, LINK_MAX);
	return 1;
}

/* TaskVine takes what lies on its stack for a number that is not there. */
int vf_line_is_amount(const char *line)
{
	long long amount;
	return sscanf(line, "%*s %lld", &amount) == 1 && amount <= AMOUNT_MAX &&
			amount >= -AMOUNT_MAX;
}

/* A worker sends some bytes of what a task has written behind the message that it has ended.
TaskVine's manager does not read them if it was a library, or a call that has lost its library: it
would take them for the next message, and drop the worker. Returns whether the message may be
read. */
static int take_complete(struct link *link, char *message)
{
	int status, begin = 0, end = 0;
	long long nbytes, sent, task;
	if (sscanf(message, COMPLETE, &status, &begin, &nbytes, &sent, &end, &task) != 4 ||
			!is_within(nbytes, AMOUNT_MAX) || !is_within(sent, SENT_MAX))
		return 0;
	n_unasked = sent;
	if (!sent || (status != VINE_RESULT_LIBRARY_EXIT && status != VINE_RESULT_FORSAKEN))
		return 1;
	n_unasked = 0;
	__real_link_soak(link, sent, time(NULL) + SKIP_S);
	for (char *digit = message + begin; digit < message + end; digit++) {
		if (isdigit((unsigned char)*digit))
			*digit = '0';
	}
	return 1;
}

/* ---- how it comes ---- */

/* Whether a line is there. */
static int read_line(struct link *link, char *line, size_t length, time_t stoptime)
{
	char *end = line + length;
	int64_t half_ms = last_line ? last_line_ms : 0; /* when it has to be whole */
	if (half_ms && vf_now_ms() > half_ms)
		return 0;
	for (;;) {
		/* No line that is not whole has a newline in it: so the first one here tells where
		it goes on. */
		memset(line, '\n', (size_t)(end - line));
		errno = 0;
		int result = __real_link_readline(link, line, (size_t)(end - line), LINK_NOWAIT);
		if (result > 0 || errno != ECONNRESET) /* which stands for the time being up, too */
			return result > 0;
		char *rest = memchr(line, '\n', (size_t)(end - line));
		if (!rest)
			return 0;
		/* A carriage return is left out, but not before the next byte comes. */
		rest -= rest > line && rest[-1] == '\r';
		int64_t at_ms = vf_now_ms(), left_ms = INT_MAX;
		if (!half_ms && (rest > line || vf_tls_has_begun(link_fd(link))))
			half_ms = at_ms + HALF_MS;
		line = rest;
		if (half_ms)
			left_ms = half_ms - at_ms;
		else if (stoptime != LINK_FOREVER)
			left_ms = ((int64_t)stoptime - time(NULL)) * 1000;
		struct pollfd one = {.fd = link_fd(link), .events = POLLIN};
		if (left_ms <= 0 ||
				(poll(&one, 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX) < 0 &&
						errno != EINTR))
			return 0;
	}
}

/* The lines of its resources, and the headers of a request for the manager's state. */
static int take_part(const char *line)
{
	if (strcmp(line, last_line))
		return !*last_line || vf_line_is_amount(line);
	vf_line_forget();
	return 1;
}

static void begin_message(const char *line)
{
	if (begins_with(line, "resources") && !begins_with(line, "resources_status"))
		last_line = "end";
	else if (begins_with(line, "GET "))
		last_line = "";
	else
		return;
	last_line_ms = vf_now_ms() + HALF_MS;
}

enum vf_line vf_line_read(struct link *link, char *line, size_t length, time_t stoptime)
{
	if (!read_line(link, line, length, stoptime)) {
		vf_line_forget();
		return VF_LINE_NONE;
	}
	if (last_line)
		return take_part(line) ? VF_LINE_OTHER : VF_LINE_NONE;
	if (begins_with(line, "complete"))
		return take_complete(link, line) ? VF_LINE_COMPLETE : VF_LINE_NONE;
	if (!vf_line_is_sound(line))
		return begins_with(line, "taskvine") ? VF_LINE_FOREIGN : VF_LINE_NONE;
	begin_message(line);
	if (begins_with(line, "cache-update"))
		return VF_LINE_CACHED;
	return begins_with(line, "available_results") ? VF_LINE_UPDATES : VF_LINE_OTHER;
}
