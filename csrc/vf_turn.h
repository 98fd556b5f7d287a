/* What the manager thread does in one turn, split by topic; used by vf_loop.c alone. */

#ifndef VF_TURN_H
#define VF_TURN_H

#include "vf_loop.h"
#include "vf_replica.h"

#define VF_COUNT(loop, name, n) atomic_fetch_add_explicit(&(loop)->counters.name, (n), memory_order_relaxed)
#define VF_SET(loop, name, n) atomic_store_explicit(&(loop)->counters.name, (n), memory_order_relaxed)

/* ---- vf_send.c: from submitted calls to TaskVine's tasks ---- */

/* Sort what was submitted into the waiting lists. */
void vf_send_take(struct vf_loop *loop);

/* Send bundles as long as calls wait and slots are free. Tells whether no slot is left for any call. */
int vf_send_waiting(struct vf_loop *loop);

/* Send one bundle, to `worker` unless that is NULL; with no calls, one that only makes TaskVine start a library. */
void vf_send_bundle(struct vf_loop *loop, uint32_t n_calls, struct vf_call *const *calls, struct vf_worker *worker, double expected_ns);

/* Put a call that was not run back at the head of its waiting list. */
void vf_send_again(struct vf_loop *loop, struct vf_call *call);

/* ---- vf_return.c: from TaskVine's tasks to the done ring ---- */

struct vf_bundle *vf_bundle_create(uint32_t n_calls, struct vf_call *const *calls);

/* Deal with a task that vine_wait() returned; deletes it. */
void vf_return_task(struct vf_loop *loop, struct vine_task *task);

/* Hand a bundle over in the end of the turn; and do so. Where it is handed over, its calls may be freed, with their specification and
with what makes a temporary file again: no such thing is looked at there. */
void vf_return_later(struct vf_loop *loop, struct vf_bundle *bundle);
void vf_return_over(struct vf_loop *loop);

/* Tell of a worker that has joined or left, if its node is known. */
void vf_return_news(struct vf_loop *loop, const struct vf_worker *worker, enum vf_node_news news);

/* Fail all calls of a bundle with the engine's result code. Takes the bundle over. */
void vf_return_failed(struct vf_loop *loop, struct vf_bundle *bundle, int engine_result, const char *text);

/* ---- vf_watch.c: the workers, and what is lost with them ---- */

/* Count workers and slots, and look for bundles that nobody will finish. Does nothing if it was done a moment ago and the number of
connections is the same. */
void vf_watch_workers(struct vf_loop *loop, int connections);

/* Whether some worker that is there is large enough. */
int vf_watch_fits(const struct vf_loop *loop, const struct vf_resources *needs);

/* A call that has lost so many workers is a suspect: it travels alone, and shares no worker with another, so that those that lost
theirs only by bad company soon get through. */
enum {
	VF_SUSPECT_LOSSES = 2,
};

/* Whether a bundle is on a worker now, and whether its call is a suspect. */
int vf_watch_runs(const struct vf_bundle *bundle);
int vf_watch_is_suspect(const struct vf_bundle *bundle);

/* Whether libraries have ended so often by themselves that no call will ever run; what to tell of that. */
int vf_watch_is_hopeless(const struct vf_loop *loop);
const char *vf_watch_why_hopeless(void);

/* A bundle is to be cancelled; it has come back. */
void vf_watch_abandon(struct vf_loop *loop, struct vf_bundle *bundle);
void vf_watch_end(struct vf_bundle *bundle);

/* A poller's `may_run` and `library_ended`. */
int vf_watch_may_run(void *loop, struct vine_task *task);
void vf_watch_library_ended(void *loop, const char *worker, int by_itself);

/* Cancel what is to be given up. Outside vine_wait(): to cancel a task that runs may end its worker's connection, which vine_wait()
would still use. */
void vf_watch_give_up(struct vf_loop *loop);

/* Let workers go that have been idle for long, if that is wanted. Outside vine_wait() for the same reason. */
void vf_watch_release_idle(struct vf_loop *loop);

/* Tell all workers to end. Nobody is told of their leaving: call it when the loop has ended. */
void vf_watch_release_all(struct vf_loop *loop);

/* ---- vf_place.c: which worker gets a bundle ---- */

/* The worker for the next bundle of these calls, NULL for none yet, and whether one may be sent at all. */
int vf_place_next(struct vf_loop *loop, const struct vf_spec *spec, struct vf_worker **worker);

/* A new bundle has no worker yet; it gets one, or with NULL has none any more; it has come back. */
void vf_place_begin(struct vf_loop *loop, struct vf_bundle *bundle);
void vf_place_bundle(struct vf_loop *loop, struct vf_bundle *bundle, struct vf_worker *worker);
void vf_place_end(struct vf_bundle *bundle);

/* Bundles without a worker get those that have room, before others do. */
void vf_place_unplaced(struct vf_loop *loop);

/* Send an empty bundle to each worker that has not had any. */
void vf_place_warm_up(struct vf_loop *loop);

/* A poller's `joined`, `left`, `choose` and `sending`. */
void vf_place_joined(void *loop, struct vine_worker_info *worker, int fd);
void vf_place_left(void *loop, struct vine_worker_info *worker);
struct vine_worker_info *vf_place_choose(void *loop, struct vine_task *task);
void vf_place_sending(void *loop, const struct vine_worker_info *worker, int begin);

#endif
