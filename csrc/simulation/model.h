/* What must come out: every call with what has happened to it, as the script of the run has it and
not as csrc does, and the rules that it is judged by. */

#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#include "vf_call.h"
#include "vf_file.h"
#include "vf_temp.h"

struct bundle;
struct vf_bundle;
struct vf_loop;
struct vine_task;

enum {
	JOB_FILES_MAX = 4,
};

/* What a call does where it runs. */
enum deed {
	DEED_RETURN,
	DEED_RAISE,
	DEED_KILL_WORKER,
	DEED_KILL_LIBRARY,
};

struct job {
	struct vf_call call, again; /* the second makes its temporary files again */
	struct vf_file_list *files, *files_again;
	uint32_t id;
	char payload[32];
	enum deed deed;
	uint64_t duration_ns;
	int n_back;
	int is_cancelled, is_never_to_run;
	/* What may have been held against it, and what must have been. */
	uint32_t n_losses, n_sure_losses;
	int was_lied_about, lacked_room, was_spoiled, was_signalled;
	uint32_t inputs; /* a bit each */
	int has_url;
	int at_task; /* that it is with a worker in; 0: none */
	uint64_t since_ns; /* nothing has happened to it */
	struct job *maker;  /* of what it reads */
	int wants_large; /* only a worker of the largest kind takes it */
};

struct temp_of {
	struct vf_temp temp;
	char name[32];
	struct job *maker;
	int is_let_go, n_given;
};

/* What went wrong on purpose, for the report. */
/* clang-format off */
#define FAULT_KINDS(_) \
	_(worker_died) _(worker_killed_by_call) _(worker_left) _(worker_stalled) \
	_(library_ended) _(bundle_given_back) _(bundle_forsaken) _(result_malformed) \
	_(no_room_for_result) _(no_room_for_file) _(transfer_failed) _(transfer_slow) \
	_(file_forgotten) _(send_broken) _(input_spoiled) _(input_missing) _(input_changed) \
	_(look_slow) _(call_cancelled) _(stopped_early)
/* clang-format on */

enum fault {
#define FAULT_NUMBER(name) FAULT_##name,
	FAULT_KINDS(FAULT_NUMBER)
#undef FAULT_NUMBER
	/* clang-format off */
	N_FAULTS,
	/* clang-format on */
};

struct model {
	struct vf_loop *loop;
	struct job **jobs;
	uint32_t n_jobs, jobs_room;
	struct temp_of **temps;
	uint32_t n_temps, temps_room;
	uint32_t n_submitted, n_back;
	uint32_t n_library_ends;
	uint64_t library_ended_ns;
	uint32_t max_losses;
	int is_stopped, has_url_failed;
	uint32_t n_asked, n_answered;
};

extern struct model model;
extern uint64_t fault_counts[N_FAULTS];
extern const char *const fault_names[N_FAULTS];

void model_begin(struct vf_loop *loop);
void model_end(void);

/* Something goes wrong on purpose. */
void model_fault(enum fault fault, const char *about, uint32_t number);

struct job *model_add_job(void);
struct temp_of *model_add_temp(void);
struct job *model_job(uint32_t id);
/* Free a block in the end. */
void model_keep(void *block);

/* TaskVine has given a task to a worker; it has left that; it was lost with it. */
void model_sent(const struct vine_task *task);
void model_left(const struct vine_task *task);
void model_lost(const struct vine_task *task, int is_sure);

/* A worker runs a call. */
void model_runs(struct job *job);

/* What comes out of the done ring. */
void model_take(const struct vf_bundle *bundle);

/* No call waits for long while a worker that it fits has nothing to do. */
void model_check_waiting(void);

/* Each call has ended. */
int model_is_done(void);
/* The rule that says that it must, is broken. */
_Noreturn void model_never_done(void);

/* Nothing is under way, or ought to be. */
void model_check_quiet(void);

#endif
