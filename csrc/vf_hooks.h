/* The functions that the linker replaces by ours (--wrap), and all that is to be known of each,
once.

A row is: the function; the first and the last release of TaskVine that it is replaced in (100 times
the major plus the minor number; 999 for the newest); the object that defines it, libc for the C
library's; the objects whose calls are meant; why. The linker replaces no call that an object makes
to a function of its own: so the build proves that these are different objects, and that these call
(conf/border.py, which reads the rows as they stand here and makes the linker's flags of them). A
function is declared as in the header that it is from, so one that does not fit does not compile.
vf_selftest.c sees each of them at work.

A new hook is a row, a function __wrap_NAME() that begins with VF_FIRED(NAME), and, if no header of
TaskVine's declares it, its prototype in taskvine_private.h. */

#ifndef VF_HOOKS_H
#define VF_HOOKS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "category.h"
#include "debug.h"
#include "itable.h"
#include "link.h"
#include "taskvine_private.h"

#define VF_HOOKS(_) \
	_(link_poll, 714, 999, "link", "vine_manager", \
		"vine_wait() sleeps there: we take a turn first, and may end the sleep") \
	_(vine_worker_create, 714, 999, "vine_worker_info", "vine_manager", "a connection begins") \
	_(vine_worker_delete, 714, 999, "vine_worker_info", "vine_manager", \
		"a connection has ended") \
	_(vine_schedule_task_to_worker, 714, 999, "vine_schedule", "vine_manager", \
		"a task gets a worker, or another since it lost one without a word: we choose") \
	_(vine_manager_put_task, 714, 999, "vine_manager_put", "vine_manager", \
		"a task is sent in a dozen small writes: we gather them") \
	_(vine_task_set_result, 714, 999, "vine_task", "vine_manager", \
		"TaskVine learns that a library has ended, and keeps it to itself") \
	_(vine_file_replica_table_insert, 714, 714, "vine_file_replica_table", \
		"vine_manager vine_manager_get vine_manager_put", "a worker gets a replica") \
	_(vine_file_replica_table_get_or_create, 715, 999, "vine_file_replica_table", \
		"vine_manager vine_manager_get vine_manager_put", "a worker gets a replica") \
	_(vine_file_replica_table_remove, 714, 999, "vine_file_replica_table", "vine_manager", \
		"a worker loses a replica") \
	_(vine_txn_log_write_cache_update, 714, 999, "vine_txn_log", "vine_manager", \
		"it is logged how long a worker took to get or make a file") \
	_(vine_current_transfers_set_failure, 714, 999, "vine_current_transfers", "vine_manager", \
		"a worker is blamed for a transfer, and may be dropped amid its message") \
	_(vine_current_transfers_url_in_use, 714, 999, "vine_current_transfers", "vine_manager", \
		"one more worker may get a URL from its server: we say when") \
	_(vine_file_has_changed, 714, 999, "vine_file", "vine_manager_put", \
		"each input of each task is looked at, also if it is at the worker") \
	_(cctools_debug, 714, 999, "debug", "vine_manager", \
		"it is said, and no more than that, why a worker did not get a file") \
	_(cctools_fatal, 714, 999, "debug", "vine_manager vine_task", \
		"it would end the user's process") \
	_(link_readline, 714, 999, "link", "vine_manager", \
		"it waits an hour for the rest of a line, which is taken at its word") \
	_(link_close, 714, 999, "link", "vine_worker_info", \
		"TaskVine goes on with what it has polled, where that is freed, too") \
	_(itable_lookup, 714, 999, "itable", "vine_manager", \
		"a task that a worker completes twice would be given back twice") \
	_(link_soak, 714, 999, "link", "vine_manager", \
		"of a task that it has forgotten it skips more than its worker sends") \
	_(link_accept, 714, 999, "link", "vine_manager", \
		"it tries for 5 s without a pause if no descriptor is left") \
	_(accept, 714, 999, "libc", "link", \
		"a connection takes none of the program's descriptors, and has spoken first") \
	_(link_auth_password, 714, 999, "link_auth", "vine_manager", \
		"it reads for 5 s from one connection: we have heard the password before") \
	_(link_ssl_wrap_accept, 714, 999, "link", "vine_manager", \
		"it waits for one connection for as long as that takes: we have done so before") \
	_(read, 714, 999, "libc", "link", "what a worker sends is decrypted, without waiting") \
	_(write, 714, 999, "libc", "link", "what a worker is sent is encrypted, without waiting") \
	_(close, 714, 999, "libc", "link", "what encrypts for a worker ends") \
	_(bind, 714, 999, "libc", "link", \
		"the manager would listen at all addresses of the machine") \
	_(listen, 714, 999, "libc", "link", \
		"its queue of workers that want to join holds six, and the others try later") \
	_(link_read, 714, 999, "link", "vine_manager", \
		"a task whose output has come in part comes back as if that were all") \
	_(link_buffer_empty, 714, 999, "link", "vine_manager", \
		"such a task comes back before its worker is seen to be gone") \
	_(vine_manager_get_output_files, 714, 999, "vine_manager_get", "vine_manager", \
		"a task comes back without its output, or a worker is used that has been freed") \
	_(fopen, 714, 999, "libc", "vine_manager", "a log is opened, which would grow for ever") \
	_(category_task_max_resources, 714, 999, "category", "vine_manager vine_txn_log", \
		"what it returns is freed by whichever manager of the process asks next") \
	_(category_task_min_resources, 714, 999, "category", "vine_manager vine_txn_log", \
		"what it returns is freed by whichever manager of the process asks next") \
	_(debug_file_path, 714, 999, "debug_file", "debug", \
		"a debug log that cannot be opened would end the user's process") \
	_(debug_file_write, 714, 999, "debug_file", "debug", \
		"a full disk under the debug log would end the user's process") \
	_(malloc, 714, 999, "libc", "vine_manager", \
		"a task's output begins where arrays can be used as they lie") \
	_(free, 714, 999, "libc", "vine_task", "a task's output outlives the task")

#define VF_HOOK_DECLARE(name, ...) \
	extern __typeof__(name) __real_##name; \
	extern __typeof__(name) __wrap_##name;
VF_HOOKS(VF_HOOK_DECLARE)
#undef VF_HOOK_DECLARE

enum vf_hook {
#define VF_HOOK_NUMBER(name, ...) VF_HOOK_##name,
	VF_HOOKS(VF_HOOK_NUMBER)
#undef VF_HOOK_NUMBER
	/* clang-format off */
	VF_N_HOOKS,
	/* clang-format on */
};

/* Those that have been at work on this thread, a bit for each. */
extern _Thread_local uint64_t vf_hooks_fired __attribute__((tls_model("initial-exec")));

#define VF_FIRED(name) (vf_hooks_fired |= UINT64_C(1) << VF_HOOK_##name)

#endif
