/* Memory that is short, descriptors that are all in use, and other calls that fail.

Where csrc asks for memory, or for what takes some, the C tests link it with faults.c (FAULTS in the
Makefile), so that a test can let it fail; so they do with calls of the system, of OpenSSL and of
TaskVine that fail only where no test can bring that about (FAILURES there). The tests themselves
always get theirs, and so does the engine, which does not look what it gets. */

#ifndef FAULTS_H
#define FAULTS_H

enum {
	FAULTS_ALL = -1,
	FAULTS_OUTPUT = -2,
};

/* From now on the n-th request, counted from 0, fails, and no other; or all do; or the large ones
of TaskVine's manager do that csrc gets for it, which are not among the others. */
void faults_begin(int n);

/* The same, but for this thread, which has what it asks for. */
void faults_begin_elsewhere(int n);

/* Memory is there again. Returns how many requests have failed. */
int faults_end(void);

/* The n-th call from now on to one of FAULTS or FAILURES, counted from 0, does nothing and fails,
with this errno. Each function says so in its own way. */
void faults_fail(const char *name, int n, int error);

/* Whether it has; if not, it will not. */
int faults_has_failed(void);

/* No descriptor is left; they are there again. */
void faults_close_descriptors(void);
void faults_open_descriptors(void);

#endif
