/* The files of the program's machine, as csrc sees them when it looks: by a script. */

#ifndef FILES_H
#define FILES_H

#include <stdint.h>

enum {
	N_FILES = 8,
};

void files_begin(void);
const char *files_source(uint32_t number);
/* Whether it has been missing at any time. */
int files_was_missing(uint32_t number);

/* Any of them changes, is missing from now on or there again, or takes long to be looked at. */
void files_disturb(void);
/* All are there, and answer at once. */
void files_heal(void);

#endif
