/* What all targets share: libFuzzer calls the one function of each with bytes that it makes up, and
so does replay.c with those of files. What is not so (check.h) ends the process, which libFuzzer
takes for a crash as it does what a sanitizer finds. */

#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

/* The first bytes of an input choose how the others are used; where there are none left, they are
0. */
struct fuzz_input {
	const uint8_t *data;
	size_t nbytes;
};

static inline unsigned fuzz_choice(struct fuzz_input *input, unsigned n)
{
	if (!input->nbytes)
		return 0;
	input->nbytes--;
	return *input->data++ % n;
}

#endif
