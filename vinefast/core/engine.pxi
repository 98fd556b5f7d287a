# The engine: one TaskVine manager, the thread that owns it, and the thread that finishes futures.

import os
import threading
import time
import uuid
from contextlib import contextmanager

from posix.unistd cimport getpid

cdef extern from "Python.h" nogil:
    bint PyGILState_Check()
    void *PyEval_SaveThread()

cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)

cdef enum:
    FATAL_NBYTES = 1024

cdef struct Fatal:
    # Written once by the manager thread without the GIL.
    vf_loop *loop
    int happened
    char message[FATAL_NBYTES]


# How often this process is a fork of another: threads of an engine are in the process that started them alone.
cdef int n_forks = 0


cdef void note_fork() noexcept nogil:
    global n_forks
    n_forks += 1


pthread_atfork(NULL, NULL, note_fork)

# Its `engine`, on a demux thread, is the one whose futures that finishes; `failing` are those that it is to fail.
cdef object this_thread = threading.local()


def finishes_futures():
    """Whether this thread is finishing futures of calls, so that what asks may be one of their callbacks."""
    return hasattr(this_thread, "engine") or getattr(this_thread, "failing", None) is not None


@contextmanager
def failing(list futures):
    """Fail these on whatever thread. It may be one that a shutdown waits for, so their callbacks must not do that."""
    before = getattr(this_thread, "failing", None)
    this_thread.failing = futures
    try:
        yield
    finally:
        this_thread.failing = before


cdef double POLL_SECONDS = 0.05
cdef double JOIN_SECONDS = 5.0
# Of transfers between workers, bytes/s, before there were any: low, since what is not moved need not be moved back.
cdef int64_t FIRST_BANDWIDTH = 16 << 20


# TaskVine has one place per process for where the next manager's directory is to be, and for its debug log.
cdef object starting = threading.Lock()


def _begin_in_child():
    global starting, this_thread
    starting = threading.Lock()
    this_thread = threading.local()  # a callback may have forked


os.register_at_fork(after_in_child=_begin_in_child)


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

    The demux thread starts the manager thread and outlives it. However that ends, all futures that are left are failed
    with the reason then, and what the two have used is freed; nobody has to be there for it.

    Parameters
    ----------
    settings : vinefast.settings.engine.EngineSettings
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
    cdef public object make_plan
    """A weak reference to what makes a plan: ``make_plan(func, args, kwargs, chunk)``."""

    cdef FunctionRegistry functions, chunk_functions
    cdef SpecRegistry specs
    cdef SpecRecord default_spec
    cdef TaskParts task_parts
    cdef bytes command, category, password
    cdef vf_call *newest  # all outstanding calls, linked by `older`
    cdef uint64_t n_submitted, n_finished
    cdef int64_t n_extra_cores  # of the outstanding calls
    cdef uint64_t serialize_ns, return_ns, complete_ns
    cdef uint64_t finishing_since_ns  # the bundle whose futures are being finished; 0: none is
    cdef object refusal  # of calls, an exception; None: they are taken
    cdef object stopped
    cdef bint begun, opened, stopping, ended
    cdef set temps  # those that the manager thread may look at
    cdef bytes temps_dir, temps_prefix
    cdef vf_bundle *aside  # the demux thread has them, and finishes the first one
    cdef vf_bundle *aside_last  # valid while it waits for something that is brought back
    cdef object opening, open_error, failed, over
    cdef readonly object demux_thread
    cdef int pid, forks
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
        self.refusal = self.stopped = errors.EngineStopped()
        # A lock, not an event: that of an event may stay locked when whoever waits for it is interrupted.
        self.opening = threading.Lock()
        self.opening.acquire()
        self.failed = threading.Event()
        self.over = threading.Event()
        self.pid = getpid()
        self.forks = n_forks
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
        if self.loop != NULL and self.forks == n_forks and (self.ended or not self.begun):
            vf_loop_free(self.loop)
            free(self.loop)

    def start(self):
        """Start the threads and wait until the manager listens.

        Raises
        ------
        errors.EngineStartError, errors.InvalidConfiguration
            With the reason; nothing is left behind.
        """
        self.demux_thread = threading.Thread(target=self._serve, name="vinefast-demux", daemon=True)
        with starting:  # here, since a thread that met fatal() would never let go of it
            try:
                self.demux_thread.start()
                while not self.opening.acquire(timeout=POLL_SECONDS):
                    if self.fatal.happened:
                        raise errors.EngineStartError(self._fatal_text())
            except BaseException:
                self.stopping = True
                vf_loop_stop(self.loop)
                raise
        if self.open_error is not None:
            if not self.fatal.happened:
                self.over.wait()
                self.demux_thread.join()
            raise self.open_error

    def submit(self, func, tuple args, dict kwargs, spec=None, bint chunk=False, plan=None):
        """Serialize one call and hand it to the manager thread.

        Parameters
        ----------
        func : callable
        args : tuple
        kwargs : dict
        spec : vinefast.settings.resources.CallSpec, optional
            The call's resource specification.
        chunk : bool
            Call the function once for each row of the columns that `args` then are. The result is a list of results;
            if a row raised, a tuple of the list so far and what `rebuild_exception` takes, pickled.
        plan : vinefast.data.plan.CallPlan, optional
            Of the files that TaskVine is to move. If not given, `make_plan` makes it once such a file is found, which
            happens while the arguments are pickled.

        Returns
        -------
        CallFuture

        Raises
        ------
        parsl.serialize.errors.SerializationError
            If the function or its arguments cannot be serialized.
        errors.EngineStopped
        """
        cdef Arguments here
        here.func, here.args, here.kwargs = <PyObject *>func, <PyObject *>args, <PyObject *>kwargs
        here.make_plan, here.chunk = <PyObject *>self.make_plan, chunk
        here.plan = here.error = NULL
        cdef SpecRecord spec_record = self.default_spec if spec is None else self.specs.find(spec)
        spec_record.n_calls += 1  # before anything else runs, which may end its last other call
        if plan is not None:
            Py_INCREF(plan)
            here.plan = <PyObject *>plan
        try:
            return self._submit(&here, func, spec_record, chunk)
        except BaseException:
            self.specs.release(spec_record)
            if here.plan != NULL:
                (<object>here.plan).withdraw()
            raise
        finally:
            Py_XDECREF(here.plan)
            Py_XDECREF(here.error)

    cdef Call _submit(self, Arguments *here, object func, SpecRecord spec_record, bint chunk):
        if self.refusal is not None or self.is_elsewhere():
            raise self._refuse()
        cdef uint64_t start_ns = vf_now_ns()
        cdef int kind = VF_PAYLOAD_NONE
        # By itself, since a chunk takes another time than a call.
        cdef FunctionRecord function = (self.chunk_functions if chunk else self.functions).find(func)
        cdef CallFiles files = None
        cdef bytes payload = serialize_call(here, function.keeps, &kind)
        if here.plan != NULL:
            files = (<object>here.plan).files()
            if files is not None:
                payload = checked_size(func, files.after(payload))
                kind |= VF_PAYLOAD_FILES
        cdef Call future = new_call()
        future.payload = payload
        future.function = function
        future.spec = spec_record
        future.files = files
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
        # All this may have run any code, on any thread, shutdown included. From here on nothing does.
        if self.refusal is not None:
            raise self._refuse()
        self._take(future)
        self.serialize_ns += call.submitted_ns - start_ns
        return future

    cdef void _take(self, Call future) noexcept:
        """Take a call into the books and hand it over. Plain C: nobody sees this half done."""
        cdef vf_call *call = &future.c_call
        future.parsl_executor_task_id = self.n_submitted
        self.n_submitted += 1
        if call.spec != &self.default_spec.c_spec:
            self.n_extra_cores += extra_cores(call.spec)
        call.future = <void *>future
        future.engine = <void *>self
        Py_INCREF(future)
        call.older = self.newest
        if self.newest != NULL:
            self.newest.newer = call
        self.newest = call
        call.submitted_ns = vf_now_ns()
        vf_loop_submit(self.loop, call)

    cdef object _refuse(self):
        if self.is_elsewhere():
            return errors.EngineStopped(
                f"the executor works in the process that started it (pid {self.pid}), from which this one "
                f"(pid {getpid()}) was forked: submit calls and wait for them there, or start another executor here"
            )
        return errors.anew(self.refusal)

    cdef Call _forget(self, vf_call *call):
        """Take a call out of the books; returns its future. Plain C up to where that forgets what it held."""
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
        self.specs.release(future.spec)
        future.spec = None
        Py_DECREF(future)
        return future

    cdef int let_go(self, Temp temp) except -1:
        """Nobody will ask for a temporary file any more."""
        if self.ended or self.is_elsewhere():
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
        with failing(futures):
            for future in reversed(futures):
                record = (<Call>future).spec
                if record is not None and vf_call_cancel(&(<Call>future).c_call):
                    complete(future, None, make_exception((<SpecRecord>record).spec))
                if self.is_elsewhere():
                    return

    def fail_outstanding(self, exception):
        """Fail the futures of all outstanding calls, each with its own copy of `exception`, and refuse further calls.

        What the workers still return for them is dropped.
        """
        if self.refusal is None:
            self.refusal = exception
        futures = []
        # No other thread can take a call out while this walks along: appending does not let one run.
        cdef vf_call *call = self.newest
        while call != NULL:
            futures.append(<Call>call.future)
            call = call.older
        with failing(futures):
            for future in reversed(futures):
                try:
                    complete(future, None, errors.anew(exception))
                except BaseException:
                    log_exception(logger, "cannot fail %r", future)
                if self.is_elsewhere():
                    return

    def finishing_s(self):
        """For how long the futures of one bundle have been being finished, with their callbacks; 0: none are."""
        cdef uint64_t since_ns = self.finishing_since_ns
        return (vf_now_ns() - since_ns) * 1e-9 if since_ns else 0.0

    def pending(self):
        """Give one of the outstanding calls that are not done; None if there is none."""
        cdef vf_call *call = self.newest
        while call != NULL:
            if (<Call>call.future).state is PENDING:
                return <Call>call.future
            call = call.older
        return None

    cdef bint is_elsewhere(self) noexcept:
        """Whether this is the copy in a process that was forked, also a moment ago by a callback."""
        return self.forks != n_forks

    cdef int check_wait(self, future) except -1:
        """Refuse to wait for a call of this engine where nobody would finish it."""
        if self.is_elsewhere():
            raise self._refuse()
        if getattr(this_thread, "engine", None) is self:
            raise errors.WaitInCallback()
        for other in getattr(this_thread, "failing", None) or ():
            if other is future:
                raise errors.WaitInCallback()
        return 0

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

        May be called more than once, from any thread, in any state; takes seconds at the most. Whoever is interrupted
        while this waits has nothing to make up for.
        """
        if self.is_elsewhere() or self.ended:
            return
        self.stopping = True
        if self.refusal is None:
            self.refusal = self.stopped
        if not self.begun:  # and it will not
            self.ended = True
            vf_loop_free(self.loop)
            return
        vf_loop_stop(self.loop)
        if finishes_futures():
            return
        # A thread may be stuck: TaskVine in a write to a dead host, or a callback of the user's. It still uses the
        # calls, so that nothing is freed before it goes on.
        deadline = time.monotonic() + JOIN_SECONDS
        if not self.failed.wait(JOIN_SECONDS):
            vf_loop_close_done(self.loop)
            if not self.failed.wait(JOIN_SECONDS):
                self.fail_outstanding(self.stopped)
        elif not self.fatal.happened and self.over.wait(deadline - time.monotonic()):
            self.demux_thread.join()

    cdef int _end(self) except -1:
        self.ended = True
        self.temps.clear()
        vf_loop_free(self.loop)  # its descriptors; the memory goes with this object
        return 0

    # ---- the manager thread ----

    def _own_manager(self):
        vf_fatal_catch(report_fatal, &self.fatal)
        cdef vine_manager *manager = NULL
        try:
            if self.settings.password_file is not None:
                self.password = read_password(self.settings.password_file)
            manager = open_manager(self.settings, self.password)
            self.loop.manager = manager
            self._configure_loop()
            self.port = vine_port(manager)
        except BaseException as error:
            self.open_error = error
        if self.open_error is None and not self.stopping:
            self.refusal = None
        self.opened = True
        self.opening.release()
        if self.open_error is None:
            with nogil:
                vf_loop_run(self.loop)
        vf_loop_close_done(self.loop)
        if manager != NULL:
            with nogil:
                vine_delete(manager)

    cdef int _configure_loop(self) except -1:
        cdef vf_loop_config *config = &self.loop.config
        settings = self.settings
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
            # Another engine, of this program or of the next, may have the same directory.
            directory = os.path.join(settings.runtime_dir, "temporary-files")
            os.makedirs(directory, exist_ok=True)
            self.temps_prefix = os.fsencode(os.path.join(directory, f"temp-{uuid.uuid4().hex}"))
            config.temps_prefix = PyBytes_AS_STRING(self.temps_prefix)
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

    def _serve(self):
        if self.stopping:
            return
        self.begun = True
        this_thread.engine = self
        manager_thread = threading.Thread(target=self._own_manager, name="vinefast-manager", daemon=True)
        reason = None
        try:
            manager_thread.start()
            self._finish_futures()
            if self.fatal.happened:
                reason = self._fatal_text()
            elif not self.stopping and self.open_error is None:
                reason = "the manager thread has ended"
        except BaseException as error:
            reason = f"the thread that finishes futures has failed: {errors.described(error)}"
            log_exception(logger, "%s", reason)
        if not self.is_elsewhere():
            if reason is None:
                self.fail_outstanding(self.stopped)
            else:
                self._fail(reason)
        if self.is_elsewhere():  # a callback has forked, and this is the child, which ends with this thread
            return
        self.failed.set()
        if self.fatal.happened:
            return  # the manager thread sleeps for ever, and its memory with it
        if manager_thread.ident is not None:
            manager_thread.join()
        while self.newest != NULL:
            deliver(self._forget(self.newest))
        self._end()
        self.over.set()

    def _fail(self, str reason):
        failure = errors.EngineFailure(reason)
        self.fail_outstanding(failure)
        if not self.opened:
            self.open_error = errors.EngineStartError(reason)
            self.opening.release()
        else:
            try:
                self.on_failure(failure)
            except BaseException:
                log_exception(logger, "exception reporting %r", failure)

    cdef vf_bundle *_take_done(self) noexcept:
        cdef vf_bundle *bundle = self.aside
        if bundle == NULL:
            with nogil:
                bundle = vf_loop_take_done(self.loop)
            self.aside = bundle
        return bundle

    cdef bint _await_brought(self, int timeout_ms) except -1:
        """Let results come, and finish those that were brought back; tells whether any may still come.

        For user's code on this thread that waits for one of them.
        """
        cdef vf_bundle *bundle
        cdef bint closed = vf_loop_is_done_closed(self.loop)
        with nogil:
            bundle = vf_loop_take_done_within(self.loop, timeout_ms)
        if bundle == NULL:
            return not closed
        if self.aside == NULL:
            self.aside = bundle
        else:
            self.aside_last.link.next = &bundle.link
        self._finish_brought(bundle)
        return True

    cdef int _finish_brought(self, vf_bundle *bundle) except -1:
        """From this bundle on, finish what was brought back; all else stays aside, in its order.

        The others' callbacks are not called: they would run within the user's code that waits, each within the one
        before.
        """
        cdef uint32_t i
        cdef vf_outcome *outcome
        cdef vf_bundle *last = bundle
        while last != NULL:  # first of all: what is unpickled below may come here again
            self.aside_last = last
            last = <vf_bundle *>last.link.next
        while bundle != NULL:
            for i in range(bundle.n_outcomes):
                outcome = &bundle.outcomes[i]
                if outcome.call == NULL or not (<Call>outcome.call.future).brings_back():
                    continue
                future = self._forget(outcome.call)
                outcome.call = NULL
                # Not with the frame, which is the others' as well.
                finish_surely(future, bundle, &outcome.record, None)
            bundle = <vf_bundle *>bundle.link.next
        return 0

    cdef int _wait_here(self, future, deadline) except -1:
        """On the demux thread, in user's code: wait for a future of what is brought back, of whatever engine."""
        future.add_done_callback(self._wake_demux)
        self._finish_brought(self.aside)  # it may have come already, with what this thread is finishing
        while not future.done():
            left_s = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
            if left_s <= 0 or not self._await_brought(<int>ceil(1000 * left_s)):
                break
        return 0

    def _wake_demux(self, future):
        vf_loop_wake_taker(self.loop)

    def _finish_futures(self):
        """Until the done ring is closed. What comes from the user's code ends this as little as what it returns."""
        cdef vf_bundle *bundle = self._take_done()
        while bundle != NULL:
            if bundle.temp != NULL:
                self.temps.discard(<Temp>bundle.temp.object)
            elif bundle.news:
                self._note_node(bundle)
            else:
                self._finish_bundle(bundle)
            if self.is_elsewhere():
                return
            self.aside = <vf_bundle *>bundle.link.next
            vf_bundle_free(bundle)
            bundle = self._take_done()

    cdef int _note_node(self, vf_bundle *bundle) except -1:
        about = <bytes>bundle.frame
        try:
            self.on_node(about, bundle.worker_slots, bundle.news == VF_NODE_JOINED)
        except BaseException:
            log_exception(logger, "exception telling monitoring of the node %s", about)
        return 0

    cdef int _finish_bundle(self, vf_bundle *bundle) except -1:
        cdef uint32_t i
        cdef vf_call *call
        cdef const vf_record *record
        cdef FrameMemory memory = None
        cdef FrameMemory kept
        cdef uint64_t start_ns = vf_now_ns()
        self.finishing_since_ns = start_ns
        if bundle.returned_ns:
            self.return_ns += bundle.n_outcomes * (start_ns - bundle.returned_ns)
        for i in range(bundle.n_outcomes):
            call = bundle.outcomes[i].call
            if call == NULL:
                continue  # finished by _finish_brought
            bundle.outcomes[i].call = NULL
            future = self._forget(call)
            record = &bundle.outcomes[i].record
            kept = None
            # Where one result makes up most of a frame, its arrays may keep the frame alive.
            if record.status == VF_STATUS_BUFFERS and record.nbytes > bundle.frame_nbytes // 2:
                kept = memory = keep_frame(bundle, memory)
            finish_surely(future, bundle, record, kept)
            if self.is_elsewhere():
                return 0
        self.finishing_since_ns = 0
        if bundle.returned_ns:
            self.complete_ns += vf_now_ns() - start_ns
        return 0

    def _fatal_text(self):
        return f"TaskVine gave up: {self.fatal.message.decode('utf-8', 'replace')}"
