# vinefast's own C: one block per header of csrc/, only the members that Cython code touches.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from vinefast.libtaskvine cimport vine_file, vine_manager


cdef extern from "<stdatomic.h>" nogil:
    void atomic_init(unsigned char *object, unsigned char value)


cdef extern from "vf_ring.h" nogil:
    struct vf_link:
        vf_link *next

    struct vf_ring:
        pass

    void vf_ring_init(vf_ring *ring)
    void vf_ring_push(vf_ring *ring, vf_link *item)
    vf_link *vf_ring_take(vf_ring *ring)


cdef extern from "vf_wake.h" nogil:
    struct vf_wake:
        pass

    int vf_wake_open(vf_wake *wake)
    void vf_wake_close(vf_wake *wake)
    void vf_wake_signal(vf_wake *wake)
    void vf_wake_park(vf_wake *wake)
    void vf_wake_done(vf_wake *wake)


cdef extern from "vf_temp.h" nogil:
    struct vf_temp:
        vf_link link
        const char *name
        void *object

    void vf_temp_free(vf_temp *temp)


cdef extern from "vf_look.h" nogil:
    struct vf_look:
        pass

    void vf_look_here(const char *source, vf_look *look)

cdef extern from "vf_file.h" nogil:
    enum:
        VF_FILE_INPUT
        VF_FILE_URL
        VF_FILE_OUTPUT
        VF_FILE_READ
        VF_FILE_MADE

    struct vf_file:
        const char *source
        vf_look look
        const char *name
        int kind
        vf_temp *temp
        const char *key
        const char *label
        int level
        int unpack
        int linked
        uint64_t version

    struct vf_file_list:
        uint32_t n
        vf_file items[1]


cdef extern from "vf_wire.h" nogil:
    const char *VF_LIBRARY_NAME
    const char *VF_RESULT_MAGIC

    enum:
        VF_DIGEST_NBYTES
        VF_RESULT_HEADER_NBYTES
        VF_ALIGNMENT

    enum:
        VF_PAYLOAD_NONE
        VF_PAYLOAD_PICKLE
        VF_PAYLOAD_PARSL
        VF_PAYLOAD_BUFFERS
        VF_PAYLOAD_CHUNK
        VF_PAYLOAD_FILES

    enum:
        VF_STATUS_NONE
        VF_STATUS_PICKLE
        VF_STATUS_PARSL
        VF_STATUS_EXCEPTION
        VF_STATUS_DIED
        VF_STATUS_UNKNOWN_FUNCTION
        VF_STATUS_BUFFERS
        VF_STATUS_NODE
        VF_STATUS_TOO_LARGE
        VF_STATUS_INPUT_CHANGED
        VF_STATUS_TIMED_OUT
        VF_STATUS_ENGINE

    enum:
        VF_OUTPUT_OF_CALL
        VF_OUTPUT_FILE
        VF_OUTPUT_OF_SLOT


cdef extern from "vf_call.h" nogil:
    enum:
        VF_CALL_QUEUED

    struct vf_function:
        unsigned char digest[16]
        const char *body
        uint32_t body_nbytes
        const char *name
        double mean_ns
        uint32_t limit
        int delivered
        uint64_t bundle_stamp

    struct vf_call_list:
        vf_call *head

    struct vf_resources:
        double cores
        double memory
        double disk
        double gpus

    struct vf_group:
        pass

    struct vf_spec:
        double priority
        vf_resources needs
        int64_t running_time_min
        uint32_t limit_ms
        uint64_t memory_limit
        int captures
        const char *category
        vf_group *group

    struct vf_call:
        vf_link link
        vf_function *function
        vf_spec *spec
        const char *payload
        vf_file_list *files
        vf_call *again
        uint64_t submitted_ns
        uint64_t number
        uint32_t nbytes
        uint8_t kind
        unsigned char state  # atomic
        vf_call *newer
        vf_call *older
        void *future

    bint vf_call_cancel(vf_call *call)
    bint vf_call_cancel_sent(vf_call *call)
    bint vf_call_is_sent(vf_call *call)
    bint vf_call_is_cancelled(vf_call *call)
    void vf_call_list_push(vf_call_list *list, vf_call *call)
    uint64_t vf_group_too_large_ns(const vf_group *group)


cdef extern from "vf_buffer.h" nogil:
    struct vf_buffer:
        char *data
        size_t nbytes

    void vf_buffer_free(vf_buffer *buffer)


cdef extern from "vf_frame.h" nogil:
    struct vf_terms:
        uint32_t slice_ms

    int vf_frame_pack(
        vf_buffer *out, vf_call **calls, uint32_t n_calls, const vf_terms *terms, uint64_t stamp)
    int vf_frame_encode(vf_buffer *out, const vf_buffer *frame)
    int vf_frame_decode(vf_buffer *out, const char *encoded)

    struct vf_result_header:
        uint32_t n_records

    struct vf_record:
        uint32_t status
        uint32_t nbytes
        uint64_t duration_ns
        const char *payload

    int vf_result_open(const char *frame, size_t available, vf_result_header *header)
    int vf_result_next(const char *frame, const vf_result_header *header, uint64_t *offset, vf_record *record)


cdef extern from "vf_eventfile.h" nogil:
    struct vf_eventfile:
        pass

    vf_eventfile *vf_eventfile_open(const char *path, uint64_t max_nbytes)


cdef extern from "vf_eventlog.h" nogil:
    struct vf_eventlog:
        vf_eventfile *file

    void vf_eventlog_run(vf_eventlog *log, const char *about)
    void vf_eventlog_close(vf_eventlog *log, const vf_counters *counters)


cdef extern from "vf_sizing.h" nogil:
    enum:
        VF_SIZING_MAX_CALLS

    struct vf_sizing_rule:
        double target_ns
        size_t max_nbytes

    struct vf_sizing_choice:
        vf_sizing_rule rule
        uint64_t n_waiting
        uint32_t slots
        vf_call **calls
        uint32_t n

    bint vf_sizing_choose(vf_sizing_choice *choice, vf_call_list *waiting)


cdef extern from "vf_accept.h" nogil:
    int vf_accept_at(const char *address)


cdef extern from "vf_certificate.h" nogil:
    int vf_certificate_make(char **key, char **certificate)
    void vf_certificate_free_key(char *key)


cdef extern from "vf_tls.h" nogil:
    int vf_tls_begin(const char *key, const char *certificate, char *why, size_t why_nbytes)
    void vf_tls_end()


cdef extern from "vf_fatal.h" nogil:
    void vf_fatal_catch(void (*report)(const char *message, void *arg) noexcept nogil, void *arg)


cdef extern from "vf_locality.h" nogil:
    const uint32_t VF_LOCALITY_NONE
    const uint32_t VF_LOCALITY_UNLIMITED
    const int64_t VF_LOCALITY_MAX_NBYTES
    const int64_t VF_LOCALITY_MAX_QUEUE_NS

    enum vf_locality_moved:
        VF_LOCALITY_MOVED_IGNORE
        VF_LOCALITY_MOVED_BATCH
        VF_LOCALITY_MOVED_KEEP

    enum vf_locality_fault:
        VF_LOCALITY_FINE
        VF_LOCALITY_BAD_OFFSET
        VF_LOCALITY_BAD_FILE
        VF_LOCALITY_BAD_NBYTES

    struct vf_locality_rule:
        double bandwidth_bytes_per_ns
        double queue_weight
        vf_locality_moved moved

    struct vf_locality_worker:
        int64_t queued_ns
        uint32_t capacity

    struct vf_locality:
        uint32_t n_files
        uint32_t n_workers
        vf_locality_worker *workers

    int vf_locality_init(vf_locality *locality, const vf_locality_rule *rule, uint64_t seed)
    void vf_locality_free(vf_locality *locality)
    bint vf_locality_has_file(const vf_locality *locality, uint32_t file)
    bint vf_locality_has_worker(const vf_locality *locality, uint32_t worker)
    uint32_t vf_locality_add_file(vf_locality *locality, uint64_t nbytes)
    uint32_t vf_locality_add_worker(vf_locality *locality, uint32_t capacity)
    void vf_locality_forget_file(vf_locality *locality, uint32_t file)
    void vf_locality_remove_worker(vf_locality *locality, uint32_t worker)
    int vf_locality_add_replica(vf_locality *locality, uint32_t file, uint32_t worker)
    void vf_locality_remove_replica(vf_locality *locality, uint32_t file, uint32_t worker)
    bint vf_locality_has_replica(const vf_locality *locality, uint32_t file, uint32_t worker)
    void vf_locality_set_capacity(vf_locality *locality, uint32_t worker, uint32_t capacity)
    void vf_locality_set_queue(vf_locality *locality, uint32_t worker, uint64_t queued_ns)
    void vf_locality_finish(vf_locality *locality, uint32_t worker, uint64_t charged_ns)
    vf_locality_fault vf_locality_check(vf_locality *locality, uint64_t n_calls, const uint64_t *offsets,
                                        const uint32_t *files, uint64_t n_inputs, uint64_t *at)
    int vf_locality_assign(vf_locality *locality, uint64_t n_calls, const uint64_t *offsets, const uint32_t *files,
                           const uint64_t *durations_ns, uint32_t *workers, uint64_t *charged_ns)


cdef extern from "vf_clock.h" nogil:
    uint64_t vf_now_ns()


cdef extern from "vf_ask.h" nogil:
    struct vf_question:
        vf_link link
        vf_call *call
        void *object


cdef extern from "vf_bundle.h" nogil:
    struct vf_outcome:
        vf_call *call
        vf_record record

    enum vf_node_news:
        VF_NODE_NONE
        VF_NODE_JOINED
        VF_NODE_LEFT

    struct vf_stages:
        uint64_t run_ns
        uint32_t worker
        uint32_t slot
        uint32_t pid

    struct vf_bundle:
        vf_link link
        uint64_t sent_ns
        vf_stages stages
        char *frame
        size_t frame_nbytes
        size_t output_at
        int output_dropped
        int engine_result
        vf_node_news news
        uint32_t worker_slots
        vf_temp *temp
        vf_question *question
        uint64_t returned_ns
        uint32_t n_outcomes
        vf_outcome *outcomes

    void vf_bundle_free(vf_bundle *bundle)


cdef extern from "vf_counters.h" nogil:
    struct vf_counters:
        pass

    struct vf_snapshot:
        uint64_t calls_taken, calls_waiting, calls_too_large, calls_sent, calls_returned
        uint64_t calls_handed_back, calls_missed, calls_lost
        uint64_t bundles_sent, bundles_spilled, bundles_lost, bundles_running, bytes_sent, bytes_returned
        uint64_t pack_ns, wait_ns, run_ns
        uint64_t queue_ns, dispatch_ns, transfer_ns, library_ns, bundle_ns, calls_ns
        uint64_t calls_remade, temps_made, temps_lost
        uint64_t files_moved, file_bytes_moved, manager_bytes_sent, manager_bytes_received
        uint64_t workers_joined, slots_replaced, workers_connected, slots
        uint64_t accept_errno, transfer_rate, joins_without_ssl, joins_with_ssl
        uint64_t joins_wrong_password, joins_with_password, joins_other_protocol
        uint64_t max_cores, max_memory, max_disk, max_gpus
        uint64_t files_looked_at
        uint64_t log_bytes_dropped, log_bytes_unwritten, log_errno, event_log_errno
        uint64_t usable_cores, usable_memory, usable_disk, usable_gpus

    void vf_counters_read(const vf_counters *counters, vf_snapshot *snapshot)


cdef extern from "taskvine_private.h" nogil:
    enum:
        VINE_PROTOCOL


cdef extern from "vf_foreign.h" nogil:
    struct vf_foreign_worker:
        int64_t protocol
        const char *host
        const char *release

    struct vf_foreign:
        vf_foreign_worker *workers

    unsigned vf_foreign_count(const vf_foreign *foreign)


cdef extern from "vf_histogram.h" nogil:
    enum:
        VF_STAGE_RETURN
        VF_STAGES
        VF_HISTOGRAM_FIRST_BIT
        VF_HISTOGRAM_BUCKETS

    struct vf_histogram:
        pass

    void vf_histogram_add(vf_histogram *histogram, uint64_t ns, uint64_t n_calls)
    uint64_t vf_histogram_get(const vf_histogram *histogram, uint32_t bucket)


cdef extern from "vf_log.h" nogil:
    void vf_log_begin(uint64_t max_nbytes, vf_counters *counters)
    void vf_log_begun()
    void vf_log_end(const vf_counters *counters)


cdef extern from "vf_config.h" nogil:
    struct vf_config:
        vine_manager *manager
        const char *password
        const char *command
        const char *library
        vine_file **inputs
        const char **input_names
        uint32_t n_inputs
        const char **env
        uint32_t n_env
        int64_t max_retries
        uint32_t max_losses
        uint32_t slice_ms
        vf_sizing_rule rule
        const char *category
        int allocation_mode
        size_t inline_nbytes
        uint64_t library_pause_ns
        uint32_t max_library_failures
        double slow_factor
        double slots_per_worker
        double cores_per_library
        bint monitored
        bint placing
        uint64_t idle_timeout_ns
        uint32_t min_workers
        bint ends_workers
        bint locality
        vf_locality_rule scoring
        bint learn_bandwidth
        bint is_watching
        bint peer_transfers
        bint recover_at_once
        const char *temps_prefix


cdef extern from "vf_done.h" nogil:
    struct vf_done:
        pass

    vf_bundle *vf_done_take(vf_done *done)
    vf_bundle *vf_done_take_within(vf_done *done, int timeout_ms)
    void vf_done_wake_taker(vf_done *done)
    bint vf_done_is_closed(const vf_done *done)
    void vf_done_close(vf_done *done)


cdef extern from "vf_loop.h" nogil:
    struct vf_loop:
        vf_config config
        vf_counters counters
        vf_histogram *histograms  # an array, by stage
        vf_foreign foreign
        vf_done done
        vf_eventlog log

    int vf_loop_init(vf_loop *loop)
    void vf_loop_free(vf_loop *loop)
    void vf_loop_run(vf_loop *loop)
    void vf_loop_submit(vf_loop *loop, vf_call *call)
    void vf_loop_let_go(vf_loop *loop, vf_temp *temp)
    void vf_loop_cancel_sent(vf_loop *loop)
    void vf_loop_ask(vf_loop *loop, vf_question *question)
    void vf_loop_stop(vf_loop *loop)


cdef extern from "vf_selftest.h" nogil:
    int vf_selftest_run(const char *directory, char *wrong, size_t wrong_nbytes)
