# What vinefast's Cython code uses of taskvine.h, in the header's order. The hot path's calls are in csrc/vf_loop.c.

from libc.stdint cimport int64_t


cdef extern from "debug.h" nogil:
    void debug_flags_clear()


cdef extern from *:
    """
    #include "taskvine.h"
    #ifndef VF_HAVE_SCHEDULE_DISK
    #define VINE_SCHEDULE_DISK VINE_SCHEDULE_UNSET
    #endif
    """


cdef extern from "taskvine.h" nogil:
    struct vine_manager
    struct vine_task
    struct vine_file

    ctypedef enum vine_cache_level_t:
        VINE_CACHE_LEVEL_TASK
        VINE_CACHE_LEVEL_WORKFLOW

    ctypedef enum vine_category_mode_t:
        VINE_ALLOCATION_MODE_MAX
        VINE_ALLOCATION_MODE_MAX_THROUGHPUT
        VINE_ALLOCATION_MODE_EXHAUSTIVE_BUCKETING

    ctypedef enum vine_file_flags_t:
        VINE_PEER_NOSHARE

    ctypedef enum vine_schedule_t:
        VINE_SCHEDULE_FILES
        VINE_SCHEDULE_TIME
        VINE_SCHEDULE_RAND
        VINE_SCHEDULE_WORST
        VINE_SCHEDULE_DISK

    vine_task *vine_task_create(const char *full_command)
    void vine_task_delete(vine_task *t)
    void vine_task_set_library_provided(vine_task *t, const char *name)
    void vine_task_set_function_slots(vine_task *t, int nslots)
    void vine_task_set_function_exec_mode_from_string(vine_task *t, const char *exec_mode)
    int vine_task_add_input(vine_task *t, vine_file *f, const char *remote_name, int flags)
    void vine_task_set_memory(vine_task *t, int64_t memory)
    void vine_task_set_disk(vine_task *t, int64_t disk)
    void vine_task_set_gpus(vine_task *t, int ngpus)
    void vine_task_set_cores(vine_task *t, int cores)
    void vine_task_set_category(vine_task *t, const char *category)
    void vine_task_set_env_var(vine_task *t, const char *name, const char *value)

    vine_file *vine_declare_buffer(
        vine_manager *m, const char *buffer, size_t size, vine_cache_level_t cache, int flags
    )
    vine_file *vine_declare_file(vine_manager *m, const char *source, vine_cache_level_t cache, int flags)

    vine_manager *vine_ssl_create(int port, const char *key, const char *cert)
    void vine_delete(vine_manager *m)
    void vine_manager_install_library(vine_manager *m, vine_task *t, const char *name)
    int vine_port(vine_manager *m)
    void vine_set_name(vine_manager *m, const char *name)
    int vine_enable_monitoring(vine_manager *m, int watchdog, int time_series)
    int vine_disable_peer_transfers(vine_manager *m)
    void vine_set_password(vine_manager *m, const char *password)
    void vine_set_scheduler(vine_manager *m, vine_schedule_t algorithm)
    void vine_set_bandwidth_limit(vine_manager *m, const char *bandwidth)
    int vine_enable_disconnect_slow_workers_category(vine_manager *m, const char *category, double multiplier)
    int vine_tune(vine_manager *m, const char *name, double value)
    void vine_set_runtime_info_path(const char *path)
