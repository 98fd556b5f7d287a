# The future of a call.
#
# concurrent.futures.Future makes a condition variable and two lists when it is born: most of what a short call would
# cost on the submitting side, in time and in memory. Most calls are finished before anybody waits for them, so here
# these come into being when somebody first asks for them. What remains is one object of some 250 bytes that is also
# the engine's record of the call, and that the garbage collector does not look at: with a million calls outstanding,
# its passes would cost more than the calls do.
#
# Until somebody has asked for its condition, a future has no lock but the GIL. So between a test and the store that
# relies on it nothing may run that lets go of the GIL. What may: Python code of any kind; freeing the last reference to
# an object, whose finalizer is such code; and, on Python 3.10 and 3.11, making any object that the collector counts (a
# list, a tuple, an exception), for then it may start, and runs finalizers. What cannot: plain C; reading, counting or
# replacing references to what has others (None and the states); PyObject_GC_Track; appending to a list, which at the
# most moves its array. Each place that relies on it says so.

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(void *op) noexcept
    void PyObject_GC_Track(object op)
    bint PyObject_GC_IsTracked(object op)
    bint PyObject_IS_GC(object op)
    int PyObject_GenericSetAttr(object op, object name, object value) except -1
    ctypedef struct PyTypeObject:
        object (*tp_new)(PyTypeObject *cls, PyObject *args, PyObject *kwargs)


class CallCondition(threading.Condition):
    """A condition that is locked, and let go of, in one step.

    Those of `threading` are in Python: KeyboardInterrupt comes there while the lock is held, and nobody lets go of it.
    """

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *args):
        return self._lock.__exit__(*args)


if _locks.IS_LEFT_LOCKED:
    CallCondition.__enter__ = _locks.enter


cdef tuple NO_ARGUMENTS = ()
cdef tuple NOTHING_PRINTED = (0, b"")
cdef tuple NO_ROOM_FOR_PRINTED = (None, b"")
# What is set by an assignment to anything else may be part of a cycle.
cdef frozenset OWN_ATTRIBUTES = frozenset(
    ("_state", "_result", "_exception", "_condition", "_waiters", "_done_callbacks")
)


cdef class Call:
    """The C half of a `CallFuture`: the engine's record of the call, and the state of the future.

    The attributes with an underscore are those of `concurrent.futures.Future`, whose methods (and functions such as
    `concurrent.futures.wait`) read and write them.
    """

    cdef vf_call c_call
    cdef bytes payload              # while it is outstanding, as is
    cdef FunctionRecord function
    cdef SpecRecord spec            # None: the engine's default
    cdef CallFiles files
    cdef object printed             # (bytes that are left out before, bytes), while None: nothing is known
    cdef object state, outcome, exception_, condition, waiter_list, callbacks
    cdef void *submitter            # lives at least as long as this is pending; NULL: was made by itself
    cdef bint is_listed, is_withdrawn  # in the books of the engine, and cancelled before a worker had it

    cdef public object report_late
    """Called with the callback by which Parsl waits, if that comes when the call is back; None: nobody asks for it."""

    cdef readonly uint64_t parsl_executor_task_id
    """The executor's own number of the call."""

    cdef readonly uint64_t duration_ns
    """How long the call took on its worker, unpickling and pickling included; 0 while it is not done."""

    def __cinit__(self):
        self.state = PENDING
        PyObject_GC_UnTrack(<void *>self)

    def __setattr__(self, name, value):
        PyObject_GenericSetAttr(self, name, value)
        if name not in OWN_ATTRIBUTES:
            watch(self)

    cdef bint brings_back(self):
        return self.files is not None and self.files.brings

    @property
    def stdout(self):
        """What the call printed, to standard error as well, once it is done; None if that was not asked for.

        It is asked for by ``capture_output=True`` of the executor, or of the call's resource specification. That takes
        in what the call's C code, loggers and child processes wrote until the call ended, whether it returned, raised,
        died or was ended; also what other threads of its process wrote meanwhile, which earlier calls have left there.
        Of more than 64 kB the end is there, below a line that says how much is not; so it is where the result frame had
        no room. What a cancelled call has printed comes later than its future is done, and is empty until then.
        """
        if not self.done():
            return None
        if self.printed is None:
            return "" if self.spec is not None and self.spec.c_spec.captures else None
        gone, data = self.printed
        if gone is None:
            return "... there was no room for what this call has printed ...\n"
        head = f"... {gone} bytes before that are left out ...\n" if gone else ""
        return head + data.decode("utf-8", "replace")

    @property
    def _state(self):
        return self.state

    @_state.setter
    def _state(self, value):
        self.state = value

    @property
    def _result(self):
        return self.outcome

    @_result.setter
    def _result(self, value):
        self.outcome = value
        watch(self)

    @property
    def _exception(self):
        return self.exception_

    @_exception.setter
    def _exception(self, value):
        self.exception_ = value
        watch(self)

    @property
    def _condition(self):
        if self.condition is None:
            condition = CallCondition()
            if self.condition is None:  # another thread may have been here while that was made
                self.condition = condition
        return self.condition

    @property
    def _waiters(self):
        check_wait(self, None)
        if self.waiter_list is None:
            waiters = []
            if self.waiter_list is None:  # another thread may have been here while that was made
                self.waiter_list = waiters
                watch(self)
        return self.waiter_list

    @_waiters.setter
    def _waiters(self, value):
        self.waiter_list = value

    @property
    def _done_callbacks(self):
        return callbacks_of(self)

    @_done_callbacks.setter
    def _done_callbacks(self, value):
        self.callbacks = value

    # These four answer in a few nanoseconds what Future answers with its lock held.

    def done(self):
        """Return True if the call was cancelled or has finished."""
        state = self.state
        return state is FINISHED or state is CANCELLED or state is CANCELLED_AND_NOTIFIED

    def running(self):
        """Return True if the call has been sent to a worker and has not come back: it runs, or waits there.

        As in the standard library, `cancel` refuses such a call (but see there). It may be False again: a call whose
        worker is lost, or hands it back, waits once more.
        """
        if self.state is PENDING and self.c_call.future != NULL:
            return vf_call_is_sent(&self.c_call)
        return Future.running(self)

    def result(self, timeout=None):
        """Return what the call returned, or raise what it raised, waiting for it if need be.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at the most.

        Raises
        ------
        concurrent.futures.CancelledError
            If the call was cancelled.
        TimeoutError
            If the call has not finished in time.
        vinefast.errors.WaitInCallback
            At once, on the thread that finishes it.
        vinefast.errors.EngineStopped
            At once, in a process that was forked while the call was outstanding.
        """
        if self.state is FINISHED and self.exception_ is None:
            return self.outcome
        check_wait(self, timeout)
        value = Future.result(self, timeout)
        # The standard library's takes an exception that is false for none.
        if self.exception_ is not None:
            raise self.exception_
        return value

    def exception(self, timeout=None):
        """Return what the call raised, or None, waiting for it as `result` does."""
        check_wait(self, timeout)
        return Future.exception(self, timeout)

    def __await__(self):
        return awaiting(self)

    def add_done_callback(self, fn):
        """Call `fn(future)` when the call is done, at once if it is done already."""
        cdef list callbacks = callbacks_of(self)
        if type(fn) is partial:
            begin_try(fn, self)
        # From here to the append nothing lets another thread run.
        if self.condition is None and self.state is PENDING:
            callbacks.append(fn)
        else:
            if self.state is CANCELLED or self.state is CANCELLED_AND_NOTIFIED:
                forgo_retries(fn)
            Future.add_done_callback(self, fn)

    def cancel(self):
        """Cancel the call if no worker has it yet; of an executor with ``cancel_running=True``, also one that runs.

        Returns
        -------
        bool
            False when the call is done, or has been sent to a worker and is to go on there.
        """
        # Once it is done, the submitter may be no more.
        cdef bint sent = self.state is PENDING and self.submitter != NULL
        return cancel_call(self, sent and (<Submitter>self.submitter).cancel_running)


def cancel_sent(Call future):
    """Cancel a call, also one that a worker has or runs.

    Returns
    -------
    bool
        False when the call is done.
    """
    return cancel_call(future, True)


cdef bint cancel_call(Call self, bint sent) except -1:
    if self.c_call.future == NULL:
        return Future.cancel(self)
    if self.state is PENDING and self.submitter != NULL and (<Submitter>self.submitter).loop.is_elsewhere():
        return False
    cdef bint cancelled = False
    try:
        # Not left to Future: what comes back of the call, once that is withdrawn, would be faster now and then.
        with self._condition:
            if self.state is PENDING and withdraw(self, sent):
                (<Submitter>self.submitter).n_cancelled += 1
                self.state = CANCELLED
                cancelled = True
                self.condition.notify_all()
    finally:
        try:
            if cancelled:
                Future._invoke_callbacks(self)
        finally:
            # In the standard library the thread does this that would have run the call, when it comes to it.
            notify_cancelled(self)
    return self.cancelled()


cdef bint withdraw(Call self, bint sent) noexcept:
    """Let the manager thread know that a call is not wanted any more; tells whether that is so."""
    if vf_call_cancel(&self.c_call):
        (<Submitter>self.submitter).calls.withdraw(self)
        return True
    # What comes back unrun is queued again meanwhile.
    while sent and not vf_call_is_cancelled(&self.c_call):
        if vf_call_cancel(&self.c_call):
            (<Submitter>self.submitter).calls.withdraw(self)
            return True
        if vf_call_cancel_sent(&self.c_call):
            (<Submitter>self.submitter).loop.cancel_sent()
            return True
    return False


class CallFuture(Call, Future):
    """The future of one call: a `concurrent.futures.Future` in all that can be seen from outside."""

    __slots__ = ()

    def __init__(self):
        pass

    def __reduce__(self):
        raise TypeError(
            "A future cannot be an argument of a call: give the call its result(), or use Parsl apps, which wait for "
            "the futures that they are given"
        )


cdef inline Call new_call():
    """As `CallFuture.__new__(CallFuture)`, at a third of its cost."""
    cdef PyTypeObject *cls = <PyTypeObject *>CallFuture
    return <Call>cls.tp_new(cls, <PyObject *>NO_ARGUMENTS, NULL)


cdef int check_wait(Call future, timeout) except -1:
    """Refuse to wait where that would be for ever."""
    if timeout is not None and timeout <= 0:
        return 0
    # From here to the reference to the submitter nothing lets another thread run.
    if future.submitter != NULL and future.state is PENDING:
        (<Submitter>future.submitter).check_wait(future)
    return 0


cdef inline int watch(Call self) except -1:
    """Show a future to the garbage collector, since from now on it may be part of a cycle."""
    if not PyObject_GC_IsTracked(self):
        PyObject_GC_Track(self)
    return 0


cdef list callbacks_of(Call future):
    if future.callbacks is None:
        callbacks = []
        if future.callbacks is None:  # another thread may have been here while that was made
            future.callbacks = callbacks
            watch(future)
    return future.callbacks


cdef int notify_cancelled(Call future) except -1:
    """Wake those who wait for a cancelled future with `concurrent.futures.wait` or `as_completed`, once."""
    with future._condition:
        if future.state is CANCELLED:
            Future.set_running_or_notify_cancel(future)
    return 0


cdef void log_exception(object log, object text, object subject) noexcept:
    """Log what is being handled. What a handler of the log raises goes to `sys.unraisablehook`."""
    extra = fields(executor_task=subject.parsl_executor_task_id) if isinstance(subject, Call) else None
    log.exception(text, subject, extra=extra)


cdef void run_callbacks(Call future, list callbacks) noexcept:
    """Call them all, whatever they raise: the thread that does this has other futures to finish.

    If one forks, the child calls no others: they are the parent's.
    """
    cdef int forks = n_forks
    for callback in callbacks:
        try:
            callback(future)
        except BaseException:
            log_exception(LOGGER, "exception calling callback for %r", future)
        if forks != n_forks:
            return


cdef inline void count_failure(Call future) noexcept:
    if future.submitter != NULL:
        (<Submitter>future.submitter).n_failed += 1


cdef int complete(Call future, object result, object exception, bint withdrawing=False) except -1:
    """Finish a future unless it is done. The lock is needed only if somebody has made it.

    With `withdrawing`, only that of a call that no worker has, and none will.
    """
    cdef list callbacks = None
    # From here to the state nothing lets another thread run.
    if future.condition is None:
        if future.state is not PENDING or (withdrawing and not vf_call_cancel(&future.c_call)):
            return 0
        if exception is None:
            future.outcome = result
            if PyObject_IS_GC(result):
                watch(future)
        else:
            future.exception_ = exception
            count_failure(future)
            watch(future)
        callbacks = future.callbacks
        future.callbacks = None
        future.state = FINISHED
        if callbacks is not None:
            run_callbacks(future, callbacks)
        return 0
    try:
        with future.condition:
            if future.done():
                notify_cancelled(future)
                return 0
            if withdrawing and not vf_call_cancel(&future.c_call):
                return 0
            # Not left to Future, which stops at the first one that raises SystemExit.
            callbacks = callbacks_of(future)
            future.callbacks = None
            if exception is None:
                Future.set_result(future, result)
            else:
                count_failure(future)
                Future.set_exception(future, exception)
    finally:
        if callbacks is not None:
            run_callbacks(future, callbacks)
    return 0
