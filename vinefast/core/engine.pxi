# The engine: one TaskVine manager, the thread that owns it, and the thread that finishes futures.

import os
import threading

from posix.unistd cimport getpid

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

cdef double POLL_SECONDS = 0.05
cdef double JOIN_SECONDS = 5.0
# Of transfers between workers, bytes/s, before there were any: low, since what is not moved need not be moved back.
cdef int64_t FIRST_BANDWIDTH = 16 << 20


# TaskVine has one place per process for where the next manager's directory is to be, and for its debug log.
cdef object starting = threading.Lock()


def _forget_starts():
    global starting
    starting = threading.Lock()


os.register_at_fork(after_in_child=_forget_starts)


cdef void report_fatal(const char *message, void *arg) noexcept nogil:
    cdef Fatal *fatal = <Fatal *>arg
    strncpy(fatal.message, message, FATAL_NBYTES - 1)
    fatal.happened = 1
    vf_loop_close_done(fatal.loop)
    if PyGILState_Check():  # while the manager is set up: this thread now sleeps for ever, the others must not
        PyEval_SaveThread()


cdef inline int64_t extra_cores(const vf_spec *spec) noexcept nogil:
    """What a call asks for beyond one core."""
    return <int64_t>ceil(spec.needs.cores) - 1 if spec.needs.cores > 1 else 0


cdef class Engine:
    """One TaskVine manager with its two threads.

    The manager thread owns the manager and runs C code without the GIL; the demux thread takes the GIL once per batch
    of results and finishes their futures, so completion callbacks run there. All methods may be called from any thread.

    Parameters
    ----------
    settings : vinefast.config.EngineSettings
        Not changed here.
    on_failure : callable
        Called with an `errors.EngineFailure` on the demux thread when the engine dies at run time, after all
        outstanding futures have been failed with it.
    on_node : callable, optional
        Called on the demux thread when a worker has joined or left, with JSON about its node (`library/node.py`), its
        slots, and whether it has joined.
    """

    cdef vf_loop *loop
    cdef Fatal fatal
    cdef object settings, on_failure, on_node
    cdef FunctionRegistry functions, chunk_functions
    cdef SpecRegistry specs
    cdef SpecRecord default_spec
    cdef TaskParts task_parts
    cdef bytes command, category
    cdef vf_call *newest  # all outstanding calls, linked by `older`
    cdef uint64_t n_submitted, n_finished
    cdef int64_t n_extra_cores  # of the outstanding calls
    cdef uint64_t serialize_ns, return_ns, complete_ns
    cdef bint closed, ended
    cdef set temps  # those that the manager thread may look at
    cdef bytes temps_dir
    cdef object stop_lock, opened, open_error
    cdef object manager_thread, demux_thread
    cdef int pid
    cdef readonly int port

    def __cinit__(self, settings, on_failure, on_node=None):
        self.settings = settings
        self.on_failure = on_failure
        self.on_node = on_node
        self.functions = FunctionRegistry(settings.context)
        self.chunk_functions = FunctionRegistry(settings.context)
        self.specs = SpecRegistry()
        self.default_spec = self.specs.find(CallSpec())
        self.default_spec.n_calls = 1  # and so it stays
        self.temps = set()
        self.stop_lock = threading.Lock()
        self.opened = threading.Event()
        self.closed = True
        self.pid = getpid()
        self.loop = <vf_loop *>calloc(1, sizeof(vf_loop))
        if self.loop == NULL:
            raise MemoryError()
        if vf_loop_init(self.loop):
            free(self.loop)
            self.loop = NULL
            raise OSError("cannot create an eventfd for the engine: too many open files?")
        self.fatal.loop = self.loop

    def __dealloc__(self):
        # A fork of the user's program has a copy of this object, but not its threads; and a thread that did not end
        # still uses the loop.
        if self.loop != NULL and self.pid == getpid() and (self.ended or self.manager_thread is None):
            vf_loop_free(self.loop)
            free(self.loop)

    def start(self):
        """Start the threads and wait until the manager listens.

        Raises
        ------
        errors.EngineStartError, errors.InvalidConfiguration
            With the reason; nothing is left behind.
        """
        self.manager_thread = threading.Thread(target=self._own_manager, name="vinefast-manager", daemon=True)
        with starting:  # here, since a thread that met fatal() would never let go of it
            self.manager_thread.start()
            try:
                while not self.opened.wait(POLL_SECONDS):
                    if self.fatal.happened:
                        raise errors.EngineStartError(self._fatal_text())
            except BaseException:
                vf_loop_stop(self.loop)
                raise
        if self.open_error is not None:
            self.manager_thread.join()
            self._end()
            raise self.open_error
        self.closed = False
        self.demux_thread = threading.Thread(target=self._finish_futures, name="vinefast-demux", daemon=True)
        self.demux_thread.start()

    def submit(self, func, tuple args, dict kwargs, spec=None, bint chunk=False, plan=None):
        """Serialize one call and hand it to the manager thread.

        Parameters
        ----------
        func : callable
        args : tuple
        kwargs : dict
        spec : vinefast.resources.CallSpec, optional
            The call's resource specification.
        chunk : bool
            Call the function once for each row of the columns that `args` then are. The result is a list of results;
            if a row raised, a tuple of the list so far and what `rebuild_exception` takes, pickled.
        plan : vinefast.files.CallPlan, optional
            Finds the files that TaskVine is to move, some of them while the arguments are pickled.

        Returns
        -------
        CallFuture

        Raises
        ------
        parsl.serialize.errors.SerializationError
            If the function or its arguments cannot be serialized.
        errors.EngineStopped
        """
        if self.closed:
            raise errors.EngineStopped()
        cdef uint64_t start_ns = vf_now_ns()
        cdef int kind
        # By itself, since a chunk takes another time than a call.
        cdef FunctionRecord function = (self.chunk_functions if chunk else self.functions).find(func)
        cdef SpecRecord spec_record = self.default_spec if spec is None else self.specs.find(spec)
        cdef CallFiles files = None
        cdef bytes payload
        if plan is None:
            payload = serialize_arguments(func, args, kwargs, &kind)
        else:
            with plan:
                payload = serialize_arguments(func, args, kwargs, &kind)
            files = plan.files()
            if files is not None:
                payload = checked_size(func, files.after(payload))
                kind |= VF_PAYLOAD_FILES
        cdef Call future = CallFuture.__new__(CallFuture)
        # Serializing may have run any code, on any thread, shutdown included. From here on nothing does.
        if self.closed:
            raise errors.EngineStopped()
        future.payload = payload
        future.function = function
        future.spec = spec_record
        spec_record.n_calls += 1
        future.files = files
        future.parsl_executor_task_id = self.n_submitted
        cdef vf_call *call = &future.c_call
        call.function = &function.c_function
        call.spec = &spec_record.c_spec
        call.payload = PyBytes_AS_STRING(payload)
        call.nbytes = <uint32_t>PyBytes_GET_SIZE(payload)
        if files is not None:
            call.files = files.c_files
        call.kind = kind | VF_PAYLOAD_CHUNK if chunk else kind
        if files is not None and files.made():
            Again(future, files)
        call.submitted_ns = vf_now_ns()
        self.serialize_ns += call.submitted_ns - start_ns
        call.future = <void *>future
        Py_INCREF(future)
        call.older = self.newest
        if self.newest != NULL:
            self.newest.newer = call
        self.newest = call
        self.n_submitted += 1
        if spec is not None:
            self.n_extra_cores += extra_cores(call.spec)
        vf_loop_submit(self.loop, call)
        return future

    cdef Call _forget(self, vf_call *call):
        """Take a call out of the books; returns its future."""
        cdef Call future = <Call>call.future
        if call.newer != NULL:
            call.newer.older = call.older
        else:
            self.newest = call.older
        if call.older != NULL:
            call.older.newer = call.newer
        self.n_finished += 1
        if call.spec != &self.default_spec.c_spec:
            self.n_extra_cores -= extra_cores(call.spec)
        future.payload = None
        future.function = None
        future.spec.n_calls -= 1
        if future.spec.n_calls == 0:
            self.specs.forget(future.spec)
        future.spec = None
        Py_DECREF(future)
        return future

    cdef int let_go(self, Temp temp) except -1:
        """Nobody will ask for a temporary file any more."""
        if self.ended or self.pid != getpid():
            self.temps.discard(temp)
        else:
            vf_loop_let_go(self.loop, &temp.c_temp)
        return 0

    def outstanding(self):
        """The number of calls that have been submitted and are not done, each counted once per core it asks for."""
        return self.n_submitted - self.n_finished + self.n_extra_cores

    def specifications(self):
        """All distinct resource specifications of the calls that are outstanding."""
        return self.specs.known()

    def too_large(self, seconds):
        """The specifications of calls that wait, and for so long have been too large for all workers that are there."""
        return self.specs.too_large(seconds)

    def refuse(self, specifications, make_exception):
        """Fail the calls of these specifications that no worker has, each with what is made for its specification."""
        refused = {<size_t><PyObject *>spec for spec in specifications}
        futures = []
        # Nothing within this loop lets another thread run, or starts a garbage collection, which might.
        cdef vf_call *call = self.newest
        while call != NULL:
            if <size_t>(<void *>(<Call>call.future).spec.spec) in refused:
                futures.append(<Call>call.future)
            call = call.older
        for future in reversed(futures):
            record = (<Call>future).spec
            if record is not None and vf_call_cancel(&(<Call>future).c_call):
                complete(future, None, make_exception((<SpecRecord>record).spec))

    def fail_outstanding(self, exception):
        """Fail the futures of all outstanding calls; what the workers still return for them is dropped."""
        cdef vf_call *call = self.newest
        futures = []
        while call != NULL:
            futures.append(<Call>call.future)
            call = call.older
        for future in reversed(futures):
            complete(future, None, exception)

    def stats(self):
        """Counts since the start, and the state now.

        Returns
        -------
        dict
            The counters of csrc/vf_loop.h (`VF_COUNTERS`); `functions_serialized`, those that were not known here by
            themselves or by Parsl's wrapper around them; and, summed over calls, the times spent in `submit`
            (`serialize_ns`), until their bundle's turn came in the demux thread (`return_ns`), and finishing their
            futures, callbacks included (`complete_ns`, counted when all of a bundle are finished). All times in
            nanoseconds.
        """
        cdef vf_snapshot snapshot
        vf_loop_count(self.loop, &snapshot)
        return dict(
            snapshot,
            calls_submitted=self.n_submitted,
            calls_outstanding=self.n_submitted - self.n_finished,
            functions_serialized=self.functions.n_serialized + self.chunk_functions.n_serialized,
            serialize_ns=self.serialize_ns,
            return_ns=self.return_ns,
            complete_ns=self.complete_ns,
        )

    def stop(self):
        """End the threads, disconnect the workers and fail what is outstanding with `errors.EngineStopped`.

        May be called more than once, from any thread, in any state; takes seconds at the most.
        """
        self.closed = True
        with self.stop_lock:
            if self.manager_thread is None or self.ended:
                return
            vf_loop_stop(self.loop)
            manager_ended = self._join(self.manager_thread)
            vf_loop_close_done(self.loop)
            demux_ended = self.demux_thread is None or self._join(self.demux_thread)
            self.fail_outstanding(errors.EngineStopped())
            # A thread that is stuck (TaskVine in a write to a dead host, a callback of the user's) still uses the
            # calls.
            if manager_ended and demux_ended:
                while self.newest != NULL:
                    deliver(self._forget(self.newest))
                self._end()

    cdef int _end(self) except -1:
        self.ended = True
        self.temps.clear()
        vf_loop_free(self.loop)  # its descriptors; the memory goes with this object
        return 0

    def _join(self, thread):
        if thread is threading.current_thread():
            return False
        thread.join(JOIN_SECONDS if not self.fatal.happened else 0)
        return not thread.is_alive()

    # ---- the manager thread ----

    def _own_manager(self):
        vf_fatal_catch(report_fatal, &self.fatal)
        cdef vine_manager *manager = NULL
        try:
            manager = open_manager(self.settings)
            self.loop.manager = manager
            self._configure_loop()
            self.port = vine_port(manager)
        except BaseException as error:
            self.open_error = error
        self.opened.set()
        if self.open_error is None:
            with nogil:
                vf_loop_run(self.loop)
        if manager != NULL:
            with nogil:
                vine_workers_shutdown(manager, 0)
                vine_delete(manager)

    cdef int _configure_loop(self) except -1:
        cdef vf_loop_config *config = &self.loop.config
        settings = self.settings
        tuning = settings.tuning
        config.max_retries = -1 if settings.max_retries is None else settings.max_retries
        config.max_losses = tuning.max_losses
        config.slice_ms = tuning.slice_ms
        config.rule.target_ns = tuning.bundle_ms * 1e6
        config.rule.max_nbytes = tuning.bundle_nbytes
        config.inline_nbytes = tuning.inline_nbytes
        config.slow_factor = tuning.disconnect_slow_worker_factor
        config.allocation_mode = -1
        if settings.allocation_mode is not None:
            config.allocation_mode = ALLOCATION_MODES[settings.allocation_mode]
        if settings.category is not None:
            self.category = settings.category.encode()
            config.category = PyBytes_AS_STRING(self.category)
        config.library = LIBRARY_NAME
        config.slots_per_worker = settings.slots
        config.cores_per_library = settings.library_cores or 0
        config.placing = settings.placing
        config.monitored = self.on_node is not None
        config.idle_timeout_ns = settings.idle_timeout_s * 1000000000
        config.min_workers = settings.min_workers
        config.locality = tuning.locality
        config.learn_bandwidth = not tuning.locality_bandwidth
        config.scoring.bandwidth_bytes_per_ns = (tuning.locality_bandwidth or FIRST_BANDWIDTH) * 1e-9
        config.scoring.queue_weight = tuning.locality_queue_weight
        config.scoring.moved = VF_LOCALITY_MOVED_BATCH
        config.recover_at_once = tuning.immediate_recovery or tuning.transfer_temps_recovery
        config.peer_transfers = tuning.peer_transfers
        if not tuning.peer_transfers:
            self.temps_dir = os.fsencode(os.path.join(settings.runtime_dir, "temporary-files"))
            os.makedirs(self.temps_dir, exist_ok=True)
            config.temps_dir = PyBytes_AS_STRING(self.temps_dir)
        if settings.exec_mode == "serverless":
            return install_library(self.loop.manager, settings)
        self.command = settings.command.encode()
        self.task_parts = TaskParts()
        self.task_parts.fill(self.loop.manager, settings)
        config.command = PyBytes_AS_STRING(self.command)
        config.inputs = self.task_parts.files
        config.input_names = self.task_parts.names
        config.n_inputs = self.task_parts.n_files
        config.env = self.task_parts.env
        config.n_env = self.task_parts.n_env
        config.rule.target_ns = 0  # a fresh process for each call
        return 0

    # ---- the demux thread ----

    def _finish_futures(self):
        cdef vf_bundle *bundle
        cdef vf_bundle *following
        while True:
            with nogil:
                bundle = vf_loop_take_done(self.loop)
            if bundle == NULL:
                break
            while bundle != NULL:
                following = <vf_bundle *>bundle.link.next
                if bundle.temp != NULL:
                    self.temps.discard(<Temp>bundle.temp.object)
                elif bundle.news:
                    self.on_node(bundle.frame, bundle.worker_slots, bundle.news == VF_NODE_JOINED)
                else:
                    self._finish_bundle(bundle)
                vf_bundle_free(bundle)
                bundle = following
        if self.fatal.happened:
            self._fail()

    cdef int _finish_bundle(self, vf_bundle *bundle) except -1:
        cdef uint32_t i
        cdef const vf_record *record
        cdef FrameMemory memory = None
        cdef uint64_t start_ns = vf_now_ns()
        if bundle.returned_ns:
            self.return_ns += bundle.n_outcomes * (start_ns - bundle.returned_ns)
        for i in range(bundle.n_outcomes):
            future = self._forget(bundle.outcomes[i].call)
            record = &bundle.outcomes[i].record
            # Where one result makes up most of a frame, its arrays may keep the frame alive.
            if record.status == VF_STATUS_BUFFERS and record.nbytes > bundle.frame_nbytes // 2:
                memory = keep_frame(bundle, memory)
                finish(future, bundle, record, memory)
            else:
                finish(future, bundle, record, None)
        if bundle.returned_ns:
            self.complete_ns += vf_now_ns() - start_ns
        return 0

    def _fail(self):
        self.closed = True
        failure = errors.EngineFailure(self._fatal_text())
        self.fail_outstanding(failure)
        self.on_failure(failure)

    def _fatal_text(self):
        return f"TaskVine gave up: {self.fatal.message.decode('utf-8', 'replace')}"
