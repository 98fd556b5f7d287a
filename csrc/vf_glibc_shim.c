/*
The engine's archives from Debian 13 and later are compiled against a C library that renames four
functions to their C23 variants. Older C libraries lack the new names, and the old functions do the
same for every input but binary literals ("0b1"), which the engine does not use.
*/

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__GLIBC__) && !__GLIBC_PREREQ(2, 38)

int __isoc23_sscanf(const char *text, const char *format, ...);
int __isoc23_fscanf(FILE *stream, const char *format, ...);
long long __isoc23_strtoll(const char *text, char **end, int base);
unsigned long __isoc23_strtoul(const char *text, char **end, int base);

int __isoc23_sscanf(const char *text, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsscanf(text, format, args);
	va_end(args);
	return n;
}

int __isoc23_fscanf(FILE *stream, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vfscanf(stream, format, args);
	va_end(args);
	return n;
}

long long __isoc23_strtoll(const char *text, char **end, int base)
{
	return strtoll(text, end, base);
}

unsigned long __isoc23_strtoul(const char *text, char **end, int base)
{
	return strtoul(text, end, base);
}

#else

/* An empty translation unit is not C. */
typedef int vf_glibc_shim_not_needed;

#endif
