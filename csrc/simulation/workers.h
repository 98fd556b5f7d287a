/* Workers by a script: they take bundles, run them by the model's calls, and fail in all ways that
they are known to. */

#ifndef WORKERS_H
#define WORKERS_H

#include <stdint.h>

struct vine_manager;

/* Chances in a thousand, each time that it might be. */
struct habits {
	uint32_t die, library_end, lie, give_back, forsake, stall, no_room, no_room_for_file;
	uint32_t transfer_fail, transfer_slow, forget;
	uint32_t library_fails_at_once, spoil;
};

extern struct habits habits;

void workers_begin(struct vine_manager *manager);
/* After the manager has been deleted. */
void workers_end(void);

/* One joins with these many cores. */
void workers_join(uint32_t cores);
uint32_t workers_n_there(void);
uint32_t workers_n_of(uint32_t cores);
/* Any of them leaves, at once or politely; any forgets a file. */
void workers_lose_any(void);
void workers_forget_any(void);

#endif
