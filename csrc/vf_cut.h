/* Connections that end, or fall silent for too long, in the midst of what TaskVine reads from them.

TaskVine overlooks that where it reads what a task has written: the task comes back as if all of it
were there. So on a thread that has begun here such a worker is lost, as if its connection had ended
before, and so are its tasks, which run again. */

#ifndef VF_CUT_H
#define VF_CUT_H

struct link;

/* On the calling thread. */
void vf_cut_begin(void);
void vf_cut_end(void);

/* Less has come than was to be read from a link: nothing more is to be. */
void vf_cut_note(const struct link *link);
int vf_cut_is(const struct link *link);

/* That worker has been removed, or another one comes. */
void vf_cut_forget(void);

#endif
