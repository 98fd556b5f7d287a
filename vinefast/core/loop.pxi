# The manager thread's loop, and all that it is given to look at.

cdef extern from "Python.h" nogil:
    bint PyGILState_Check()
    void *PyEval_SaveThread()

cdef enum:
    FATAL_NBYTES = 1024

cdef struct Fatal:
    # Written once by the manager thread without the GIL.
    vf_loop *loop
    int happened
    char message[FATAL_NBYTES]

# Of transfers between workers, bytes/s, before there were any: low, since what is not moved need not be moved back.
cdef int64_t FIRST_BANDWIDTH = 16 << 20


cdef void report_fatal(const char *message, void *arg) noexcept nogil:
    cdef Fatal *fatal = <Fatal *>arg
    strncpy(fatal.message, message, FATAL_NBYTES - 1)
    fatal.happened = 1
    vf_done_close(&fatal.loop.done)
    if PyGILState_Check():  # while the manager is set up: this thread now sleeps for ever, the others must not
        PyEval_SaveThread()


@cython.final
cdef class Loop:
    """The memory of a loop (csrc/vf_loop.h), and of what it points to.

    It stays while a thread may look at it. What a fork has is a copy, without the threads.
    """

    cdef vf_loop *c_loop
    cdef Fatal fatal
    cdef TaskParts task_parts
    cdef bytes command, category, password, temps_prefix
    cdef set temps  # those that the manager thread may look at
    cdef bint begun, ended  # of the two threads that use it
    cdef int forks

    def __cinit__(self):
        self.temps = set()
        self.forks = n_forks
        self.c_loop = <vf_loop *>calloc(1, sizeof(vf_loop))
        if self.c_loop == NULL:
            raise MemoryError()
        if vf_loop_init(self.c_loop):
            free(self.c_loop)
            self.c_loop = NULL
            raise OSError("cannot create an eventfd for the engine: too many open files?")
        self.fatal.loop = self.c_loop

    def __dealloc__(self):
        if self.c_loop != NULL and not self.is_elsewhere() and (self.ended or not self.begun):
            vf_loop_free(self.c_loop)
            free(self.c_loop)

    cdef bint is_elsewhere(self) noexcept:
        """Whether this is the copy in a process that was forked, also a moment ago by a callback."""
        return self.forks != n_forks

    cdef int end(self) except -1:
        """No thread uses it any more, or will."""
        self.ended = True
        self.temps.clear()
        vf_loop_free(self.c_loop)  # its descriptors; the memory goes with this object
        return 0

    cdef int let_go(self, Temp temp) except -1:
        """Nobody will ask for a temporary file any more."""
        if self.ended or self.is_elsewhere():
            self.temps.discard(temp)
        else:
            vf_loop_let_go(self.c_loop, &temp.c_temp)
        return 0

    cdef void cancel_sent(self) noexcept:
        """Calls that the manager thread has sent are not wanted any more."""
        if not self.ended and not self.is_elsewhere():
            vf_loop_cancel_sent(self.c_loop)

    # ---- on the manager thread, one after the other ----

    cdef int open(self, object settings, bint monitored) except -1:
        """Open the manager, which this thread owns from now on. It listens, but serves nobody yet."""
        vf_fatal_catch(report_fatal, &self.fatal)
        if settings.password_file is not None:
            self.password = read_password(settings.password_file)
        self.c_loop.config.manager = open_manager(settings, self.password, &self.c_loop.counters)
        self.open_events(settings)
        return self.configure(settings, monitored)

    cdef int open_events(self, object settings) except -1:
        """Begin the event log. Without the memory or the thread for it there is none, which a warning says."""
        cdef vf_eventlog *log = &self.c_loop.log
        if settings.events_path is None or not settings.tuning.events_nbytes:
            return 0
        log.file = vf_eventfile_open(os.fsencode(settings.events_path), settings.tuning.events_nbytes)
        if log.file == NULL:
            logger.warning("There is no event log of this run, which vinefast status and why need: %s",
                           os.strerror(errno.errno))
            return 0
        vf_eventlog_run(log, settings.about.encode())
        return 0

    cdef int run(self) except -1:
        with nogil:
            vf_loop_run(self.c_loop)
        return 0

    cdef int close(self) except -1:
        vf_done_close(&self.c_loop.done)
        with nogil:  # a disk may hang
            vf_eventlog_close(&self.c_loop.log, &self.c_loop.counters)  # if it was never served
        if self.c_loop.config.manager != NULL:
            close_manager(self.c_loop.config.manager, &self.c_loop.counters)
        return 0

    cdef int configure(self, object settings, bint monitored) except -1:
        cdef vf_config *config = &self.c_loop.config
        tuning = settings.tuning
        if self.password is not None:
            config.password = PyBytes_AS_STRING(self.password)
        config.max_retries = -1 if settings.max_retries is None else settings.max_retries
        config.max_losses = tuning.max_losses
        config.slice_ms = tuning.slice_ms
        config.rule.target_ns = tuning.bundle_ms * 1e6
        config.rule.max_nbytes = tuning.bundle_nbytes
        config.inline_nbytes = tuning.inline_nbytes
        config.library_pause_ns = <uint64_t>(tuning.transient_error_interval * 1e9)
        config.max_library_failures = tuning.max_library_retries
        config.slow_factor = tuning.disconnect_slow_worker_factor
        config.allocation_mode = -1
        if settings.allocation_mode is not None:
            config.allocation_mode = ALLOCATION_MODES[settings.allocation_mode]
        if settings.category is not None:
            self.category = settings.category.encode()
            config.category = PyBytes_AS_STRING(self.category)
        config.library = VF_LIBRARY_NAME
        config.slots_per_worker = settings.slots
        config.cores_per_library = settings.library_cores or 0
        config.placing = settings.placing
        config.monitored = monitored
        config.idle_timeout_ns = settings.idle_timeout_s * 1000000000
        config.min_workers = settings.min_workers
        config.ends_workers = settings.ends_workers
        config.locality = tuning.locality
        config.learn_bandwidth = not tuning.locality_bandwidth
        config.scoring.bandwidth_bytes_per_ns = (tuning.locality_bandwidth or FIRST_BANDWIDTH) * 1e-9
        config.scoring.queue_weight = tuning.locality_queue_weight
        config.scoring.moved = VF_LOCALITY_MOVED_BATCH
        config.recover_at_once = tuning.immediate_recovery or tuning.transfer_temps_recovery
        config.is_watching = tuning.watch_library_logfiles
        config.peer_transfers = tuning.peer_transfers
        if not tuning.peer_transfers:
            # Another engine, of this program or of the next, may have the same directory.
            directory = os.path.join(settings.runtime_dir, "temporary-files")
            os.makedirs(directory, exist_ok=True)
            self.temps_prefix = os.fsencode(os.path.join(directory, f"temp-{uuid.uuid4().hex}"))
            config.temps_prefix = PyBytes_AS_STRING(self.temps_prefix)
        if settings.exec_mode == "serverless":
            return install_library(self.c_loop.config.manager, settings)
        self.command = settings.command.encode()
        self.task_parts = TaskParts()
        self.task_parts.fill(self.c_loop.config.manager, settings)
        config.command = PyBytes_AS_STRING(self.command)
        config.inputs = self.task_parts.files
        config.input_names = self.task_parts.names
        config.n_inputs = self.task_parts.n_files
        config.env = self.task_parts.env
        config.n_env = self.task_parts.n_env
        config.rule.target_ns = 0  # a fresh process for each call
        return 0

    # ---- on any other ----

    cdef str fatal_text(self):
        return f"TaskVine gave up: {self.fatal.message.decode('utf-8', 'replace')}"
