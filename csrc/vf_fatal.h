/* A fatal error of TaskVine's ends one thread's work, not the program. */

#ifndef VF_FATAL_H
#define VF_FATAL_H

/* TaskVine's fatal() on the calling thread calls `report(message, arg)`, and then the thread sleeps
for ever: the engine's memory cannot be trusted any more, the user's program can. */
void vf_fatal_catch(void (*report)(const char *message, void *arg), void *arg);

#endif
