# The engine: one TaskVine manager, the thread that owns it, and the thread that finishes futures.

cdef double POLL_SECONDS = 0.05
cdef double JOIN_SECONDS = 5.0
# For as long as workers with TLS are waited for (csrc/vf_tls.c), and a little more.
cdef double LEAVE_SECONDS = 6.0

# Of TaskVine, as the manager speaks it.
PROTOCOL = VINE_PROTOCOL

# Those of csrc/vf_histogram.h, as `vinefast.calls.overhead` calls them.
STAGES = ("queue", "dispatch", "transfer", "library", "companions", "execute", "return")
BOUNDS_NS = tuple([1 << (VF_HISTOGRAM_FIRST_BIT + i) for i in range(VF_HISTOGRAM_BUCKETS - 1)])

# TaskVine has one place per process for where the next manager's directory is to be, and for its debug log.
cdef object starting = threading.Lock()


def _let_start_in_child():
    global starting
    starting = threading.Lock()


os.register_at_fork(after_in_child=_let_start_in_child)


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
        slots, whether it has joined, and the number of the worker.
    on_output : callable, optional
        Called on the demux thread with what workers elsewhere have written to the files of their slots: the name of the
        file, how many bytes before that are left out, and the bytes. Must not wait for anything.
    on_calls : callable, optional
        Called on the demux thread when calls that have run come back, before their futures are finished: with the
        number of the worker, the slot, the process of the library, and for each call its future and when it began and
        ended, in nanoseconds of this machine's monotonic clock. Must not wait for anything.
    """

    cdef object settings, on_failure
    cdef Loop loop
    cdef Outstanding calls
    cdef readonly Submitter submitter
    cdef Questions questions
    cdef Finisher finisher
    cdef object stopped
    cdef bint opened, stopping
    cdef object opening, open_error, failed, over
    cdef readonly object demux_thread
    cdef readonly int port

    cdef readonly uint64_t n_cut_off
    """Calls that had not come back when the two threads ended; their futures are done."""

    def __cinit__(self, settings, on_failure, on_node=None, on_output=None, on_calls=None):
        self.settings = settings
        self.on_failure = on_failure
        self.loop = Loop()
        self.calls = Outstanding()
        self.stopped = errors.EngineStopped()
        self.submitter = Submitter(self.loop, self.calls, settings.context, self.stopped)
        self.questions = Questions(self.loop)
        self.finisher = Finisher(self.loop, self.calls, self.questions, on_node, on_output, on_calls)
        # A lock, not an event: that of an event may stay locked when whoever waits for it is interrupted.
        self.opening = threading.Lock()
        self.opening.acquire()
        self.failed = threading.Event()
        self.over = threading.Event()

    def start(self):
        """Start the threads and wait until the manager listens.

        Raises
        ------
        errors.EngineStartError, errors.InvalidConfiguration
            With the reason; nothing is left behind.
        errors.EngineStopped
            If it has been stopped before, or meanwhile.
        """
        self.demux_thread = threading.Thread(target=self._serve, name="vinefast-demux", daemon=True)
        with starting:  # here, since a thread that met fatal() would never let go of it
            try:
                self.demux_thread.start()
                while not self.opening.acquire(timeout=POLL_SECONDS):
                    if self.loop.fatal.happened:
                        raise errors.EngineStartError(self.loop.fatal_text())
            except BaseException:
                self.stopping = True
                vf_loop_stop(self.loop.c_loop)
                raise
        if self.open_error is not None:
            if not self.loop.fatal.happened:
                self.over.wait()
                self.demux_thread.join()
            raise self.open_error

    def outstanding(self):
        """The number of calls that have been submitted and are not done, each counted once per core it asks for."""
        return self.calls.n_cores()

    def pending(self):
        """One of the outstanding calls that are not done; None if there is none."""
        return self.calls.pending()

    def specifications(self):
        """All distinct resource specifications of the calls that are outstanding."""
        return self.calls.specs.known()

    def too_large(self, seconds):
        """The specifications of calls that wait, and for so long have been too large for all workers that are there."""
        return self.calls.specs.too_large(seconds)

    def refuse(self, specifications, make_exception):
        """Fail the calls of these specifications that no worker has, each with what is made for its specification."""
        futures = self.calls.futures({<size_t><PyObject *>spec for spec in specifications})
        with failing(futures):
            for future in futures:
                record = (<Call>future).spec
                if record is not None:
                    # Made before: once a call is withdrawn, it comes back, and says that it was cancelled.
                    complete(future, None, make_exception((<SpecRecord>record).spec), True)
                if self.loop.is_elsewhere():
                    return

    def futures(self, app=None, category=None):
        """Return the futures of the outstanding calls, in the order in which they were submitted.

        Parameters
        ----------
        app, category : str, optional
            Only calls of functions of that name, only those of that category; where nothing gives a call a category,
            the name of its function is.
        """
        cdef Call future
        cdef list futures = []
        for future in self.calls.futures(None):
            if future.state is not PENDING or future.function is None or future.brings_back():
                continue  # cancelled before, or none of the user's
            name = (<FunctionRecord>future.function).name.decode("utf-8", "replace")
            given = (<SpecRecord>future.spec).spec.category or self.settings.category or name
            if app in (None, name) and category in (None, given):
                futures.append(future)
        return futures

    def stack(self, Call call):
        """Ask the worker that runs a call where that is.

        Returns
        -------
        concurrent.futures.Future
            Of the Python stack as text; None if the call does not run.
        """
        return self.questions.ask(call)

    def fail_outstanding(self, exception):
        """Fail the futures of all outstanding calls, each with its own copy of `exception`, and refuse further calls.

        What the workers still return for them is dropped.
        """
        self.submitter.close(exception)
        futures = self.calls.futures(None)
        with failing(futures):
            for future in futures:
                try:
                    complete(future, None, errors.anew(exception))
                except BaseException:
                    log_exception(logger, "cannot fail %r", future)
                if self.loop.is_elsewhere():
                    return

    def finishing_s(self):
        """For how long the futures of one bundle have been being finished, with their callbacks; 0: none are."""
        return self.finisher.busy_s()

    def stats(self):
        """Counts since the start, and the state now.

        Returns
        -------
        dict
            Those of csrc/vf_counters.h (`VF_COUNTERS`), and those that are kept on this side. What each is stands in
            vinefast/calls/counters.py.
        """
        cdef vf_snapshot snapshot
        vf_counters_read(&self.loop.c_loop.counters, &snapshot)
        # The manager thread does not know yet what is in the ring, and counts what has gone until its next turn.
        cdef uint64_t n_outstanding = self.calls.n_calls()
        cdef uint64_t n_queued = snapshot.calls_waiting + self.calls.n_submitted - snapshot.calls_taken
        # Cancelled ones leave the queue when their turn comes.
        n_queued -= min(n_queued, self.calls.n_withdrawn)
        snapshot.calls_waiting = min(n_queued, n_outstanding)
        return dict(
            snapshot,
            calls_submitted=self.calls.n_submitted,
            calls_outstanding=n_outstanding,
            calls_failed=self.submitter.n_failed,
            calls_cancelled=self.submitter.n_cancelled,
            functions_serialized=self.submitter.n_functions(),
            serialize_ns=self.submitter.serialize_ns,
            return_ns=self.finisher.return_ns,
            complete_ns=self.finisher.complete_ns,
        )

    def left(self):
        """What the books still have when both threads have ended, for an audit (vinefast/events/own_audit.py).

        Returns
        -------
        dict of str to int
            How many of what; all are to be 0. None while a thread goes on: one is stuck in a callback, or in TaskVine.
        """
        if self.loop.begun and not self.over.is_set():
            return None
        return {
            "outstanding calls": self.calls.n_listed(),
            "cores of outstanding calls": self.calls.n_cores(),
            # One is always there, and counts as that of a call.
            "specifications of outstanding calls": len(self.calls.specs.known()) - 1,
            "calls of the usual specification": self.calls.default_spec.n_calls - 1,
            "bundles with the thread that finishes futures": int(self.finisher.aside != NULL),
        }

    def foreign_workers(self):
        """Which workers have come with another protocol of TaskVine's, and were sent away: the first of each host.

        Returns
        -------
        list of tuple of (str, int, str)
            What a worker has said of itself: its host, the protocol, and the release of its TaskVine. In the order in
            which they came, and of some hosts at the most.
        """
        cdef const vf_foreign *foreign = &self.loop.c_loop.foreign
        cdef const vf_foreign_worker *worker
        cdef unsigned i
        cdef list found = []
        for i in range(vf_foreign_count(foreign)):
            worker = &foreign.workers[i]
            found.append((worker.host.decode("ascii"), worker.protocol, worker.release.decode("ascii")))
        return found

    def histograms(self):
        """How the times of calls are spread, by stage.

        Returns
        -------
        dict of str to list of int
            For each of `STAGES` how many calls took so long, for each of `BOUNDS_NS` those that took no longer than
            that, and longer than the bound before; and at last those that took longer than all. The sums are in
            `stats`, and are of the same calls.
        """
        cdef uint32_t i, bucket
        cdef const vf_histogram *histogram
        cdef dict found = {}
        for i in range(VF_STAGES):
            histogram = &self.loop.c_loop.histograms[i]
            found[STAGES[i]] = [vf_histogram_get(histogram, bucket) for bucket in range(VF_HISTOGRAM_BUCKETS)]
        return found

    def stop(self):
        """End the threads, disconnect the workers and fail what is outstanding with `errors.EngineStopped`.

        May be called more than once, from any thread, in any state; takes seconds at the most. Whoever is interrupted
        while this waits has nothing to make up for.
        """
        if self.loop.is_elsewhere() or self.loop.ended:
            return
        self.stopping = True
        self.submitter.close(self.stopped)
        if not self.loop.begun:  # and it will not
            self.loop.end()
            return
        vf_loop_stop(self.loop.c_loop)
        if finishes_futures():
            return
        # A thread may be stuck: TaskVine in a write to a dead host, or a callback of the user's. It still uses the
        # calls, so that nothing is freed before it goes on.
        deadline = time.monotonic() + JOIN_SECONDS + LEAVE_SECONDS
        if not self.failed.wait(JOIN_SECONDS):
            vf_done_close(&self.loop.c_loop.done)
            if not self.failed.wait(JOIN_SECONDS):
                self.fail_outstanding(self.stopped)
        elif not self.loop.fatal.happened and self.over.wait(deadline - time.monotonic()):
            self.demux_thread.join()

    # ---- the manager thread ----

    def _own_manager(self):
        try:
            self.loop.open(self.settings, self.finisher.on_node is not None)
            self.port = vine_port(self.loop.c_loop.config.manager)
        except BaseException as error:
            self.open_error = error
        if self.open_error is None and not self.stopping:
            self.submitter.refusal = None
        self.opened = True
        self.opening.release()
        if self.open_error is None:
            self.loop.run()
        self.loop.close()

    # ---- the demux thread ----

    def _serve(self):
        if self.stopping:
            self.open_error = errors.anew(self.stopped)
            self.over.set()
            self.opening.release()
            return
        self.loop.begun = True
        this_thread.finisher = self.finisher
        manager_thread = threading.Thread(target=self._own_manager, name="vinefast-manager", daemon=True)
        reason = None
        try:
            manager_thread.start()
            self.finisher.run()
            if self.loop.fatal.happened:
                reason = self.loop.fatal_text()
            elif not self.stopping and self.open_error is None:
                reason = "the manager thread has ended"
        except BaseException as error:
            reason = f"the thread that finishes futures has failed: {errors.described(error)}"
            log_exception(logger, "%s", reason)
        if not self.loop.is_elsewhere():
            if reason is None:
                self.fail_outstanding(self.stopped)
            else:
                self._fail(reason)
        if self.loop.is_elsewhere():  # a callback has forked, and this is the child, which ends with this thread
            return
        self.questions.end()
        self.failed.set()
        if self.loop.fatal.happened:
            return  # the manager thread sleeps for ever, and its memory with it
        if manager_thread.ident is not None:
            manager_thread.join()
        while self.calls.newest != NULL:
            self.n_cut_off += 1
            drop(self.calls.remove(self.calls.newest))
        self.finisher.drop()
        self.loop.end()
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
