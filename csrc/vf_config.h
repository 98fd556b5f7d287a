/* What the manager thread is started with, and does not change: its manager, and the settings. */

#ifndef VF_CONFIG_H
#define VF_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "vf_locality.h"
#include "vf_sizing.h"

struct vine_file;
struct vine_manager;

struct vf_config {
	struct vine_manager *manager;
	const char *password; /* of the manager; NULL: none */
	/* Regular mode: the shell command of one call; NULL: function calls of a library. */
	const char *command;
	const char *library;  /* name of the library, in serverless mode */
	struct vine_file **inputs; /* regular mode: files that each task needs */
	const char **input_names;
	uint32_t n_inputs;
	const char **env; /* regular mode: name, value, name, value, ... */
	uint32_t n_env;
	int64_t max_retries; /* negative: no limit */
	uint32_t max_losses; /* a call may lose so many workers before it fails */
	uint32_t slice_ms;
	struct vf_sizing_rule rule;
	const char *category;  /* of calls that do not name one; NULL: their function's name */
	/* How TaskVine chooses the resources of a category's tasks; negative: it does not. */
	int allocation_mode;
	size_t inline_nbytes;  /* larger frames are spilled */
	/* TaskVine starts no library anywhere for so long after one has failed. */
	uint64_t library_pause_ns;
	/* In a row, with no bundle that came back in between; then calls fail. */
	uint32_t max_library_failures;
	double slow_factor; /* of disconnect-slow-worker-factor; 0: none */
	double slots_per_worker; /* 0: slots = cores */
	double cores_per_library; /* 0: a library takes its worker whole */
	int monitored; /* tell when workers join and leave */
	/* Choose workers ourselves (vf_workers.h), which needs one library per worker. */
	int placing;
	/* Let a worker go that had nothing to do for so long; 0: keep it. */
	uint64_t idle_timeout_ns;
	uint32_t min_workers;     /* but keep so many */
	int locality;             /* score calls that read files (vf_score.h) */
	struct vf_locality_rule scoring;
	int learn_bandwidth;      /* what `scoring` says of it is where to begin */
	int is_watching;          /* TaskVine brings what libraries log while they run */
	int peer_transfers;       /* workers may fetch files from each other */
	/* Make temporary files that are lost again before anybody needs them. */
	int recover_at_once;
	/* Somebody ends the workers that do not hear that they are to leave. */
	int ends_workers;
	/* Of their paths here, if workers may not fetch from each other; nobody else's. */
	const char *temps_prefix;
};

#endif
