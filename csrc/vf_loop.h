/* The manager thread: the only thread that touches a TaskVine manager once it runs.

vf_loop_run() alternates vine_wait() with turns of its own; a turn takes what was submitted, packs
bundles and gives them to TaskVine. Turns happen inside vine_wait() too (vf_border.h), so a submit
is never kept waiting: TaskVine alone would sleep there for up to a second.

No Python object is touched and the GIL is not held. The Python side calls this unit, takes what is
done (vf_done.h) and reads the counters; the steps know nothing of this unit. */

#ifndef VF_LOOP_H
#define VF_LOOP_H

#include <stdatomic.h>

#include "vf_ask.h"
#include "vf_cancel.h"
#include "vf_config.h"
#include "vf_counters.h"
#include "vf_declare.h"
#include "vf_done.h"
#include "vf_end.h"
#include "vf_eventlog.h"
#include "vf_events.h"
#include "vf_files.h"
#include "vf_foreign.h"
#include "vf_histogram.h"
#include "vf_inflight.h"
#include "vf_inputs.h"
#include "vf_leftover.h"
#include "vf_library.h"
#include "vf_locality.h"
#include "vf_place.h"
#include "vf_replica.h"
#include "vf_return.h"
#include "vf_ring.h"
#include "vf_score.h"
#include "vf_send.h"
#include "vf_tell.h"
#include "vf_temps.h"
#include "vf_waiting.h"
#include "vf_wake.h"
#include "vf_watch.h"
#include "vf_workers.h"

/* Each part has pointers to the few others that it uses: vf_loop_init() sets them. */
struct vf_loop {
	struct vf_config config; /* to be filled in before vf_loop_run() */
	struct vf_counters counters;
	struct vf_histogram histograms[VF_STAGES];
	struct vf_foreign foreign;

	/* What other threads give this one. */
	struct vf_ring submitted; /* of struct vf_call */
	struct vf_ring let_go;    /* of struct vf_temp */
	struct vf_wake wake;
	atomic_int stop; /* leave vf_loop_run() */

	struct vf_done done;
	struct vf_eventlog log; /* its file is to be opened before vf_loop_run() */

	/* What it knows. */
	struct vf_waiting waiting;
	struct vf_inflight inflight;
	struct vf_workers workers;
	struct vf_locality locality;
	struct vf_library library;
	struct vf_replicas replicas;

	/* What it does. */
	struct vf_leftovers leftovers;
	struct vf_declare declare;
	struct vf_inputs inputs;
	struct vf_temps temps;
	struct vf_files files;
	struct vf_end end;
	struct vf_score score;
	struct vf_place place;
	struct vf_events events;
	struct vf_tell tell;
	struct vf_cancel cancel;
	struct vf_ask ask;
	struct vf_send send;
	struct vf_return returns;
	struct vf_watch watch;
	int stopping;
};

/* Returns 0, or -1 with errno. The loop stays where it is from then on. */
int vf_loop_init(struct vf_loop *loop);

/* After both threads have ended. */
void vf_loop_free(struct vf_loop *loop);

/* The manager thread: until `stop`. The manager is ready, its library installed. Returns when
stopped; every bundle that was sent and not answered has been dropped (its calls stay outstanding at
the submitting side). */
void vf_loop_run(struct vf_loop *loop);

/* Any thread. */
void vf_loop_submit(struct vf_loop *loop, struct vf_call *call);
void vf_loop_let_go(struct vf_loop *loop, struct vf_temp *temp);
/* Calls that were sent have been cancelled (vf_call_cancel_sent). */
void vf_loop_cancel_sent(struct vf_loop *loop);
void vf_loop_ask(struct vf_loop *loop, struct vf_question *question);
void vf_loop_stop(struct vf_loop *loop);

#endif
