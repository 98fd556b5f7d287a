#include "vf_fatal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vf_hooks.h"

enum {
	MESSAGE_NBYTES = 1024,
};

static _Thread_local void (*fatal_report)(const char *message, void *arg);
static _Thread_local void *fatal_arg;

void vf_fatal_catch(void (*report)(const char *message, void *arg), void *arg)
{
	fatal_report = report;
	fatal_arg = arg;
}

void __wrap_cctools_fatal(const char *format, ...)
{
	VF_FIRED(cctools_fatal);
	char message[MESSAGE_NBYTES];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);

	if (fatal_report) {
		fatal_report(message, fatal_arg);
		for (;;)
			pause();
	}
	fprintf(stderr, "taskvine: %s\n", message);
	abort();
}
