# The future of a call.
#
# concurrent.futures.Future makes a condition variable and two lists when it is born: most of what a short call would
# cost on the submitting side, in time and in memory. Most calls are finished before anybody waits for them, so here
# these come into being when somebody first asks for them. What remains is one object of some 250 bytes that is also
# the engine's record of the call, and that the garbage collector does not look at: with a million calls outstanding,
# its passes would cost more than the calls do.

import threading
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(void *op) noexcept
    void PyObject_GC_Track(object op)
    bint PyObject_GC_IsTracked(object op)
    bint PyObject_IS_GC(object op)

cdef object make_condition = threading.Condition


cdef class Call:
    """The C half of a `CallFuture`: the engine's record of the call, and the state of the future.

    The attributes with an underscore are those of `concurrent.futures.Future`, whose methods (and functions such as
    `concurrent.futures.wait`) read and write them.
    """

    cdef vf_call c_call
    cdef bytes payload              # while it is outstanding, as is
    cdef FunctionRecord function
    cdef CallFiles files
    cdef object state, outcome, exception_, condition, waiter_list, callbacks

    cdef readonly uint64_t parsl_executor_task_id
    """The executor's own number of the call."""

    cdef readonly uint64_t duration_ns
    """How long the call took on its worker, unpickling and pickling included; 0 while it is not done."""

    def __cinit__(self):
        self.state = PENDING
        PyObject_GC_UnTrack(<void *>self)

    cdef bint brings_back(self):
        return self.files is not None and self.files.brings

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
            condition = make_condition()
            if self.condition is None:  # another thread may have been here while that was made
                self.condition = condition
        return self.condition

    @property
    def _waiters(self):
        if self.waiter_list is None:
            self.waiter_list = []
            watch(self)
        return self.waiter_list

    @_waiters.setter
    def _waiters(self, value):
        self.waiter_list = value

    @property
    def _done_callbacks(self):
        if self.callbacks is None:
            self.callbacks = []
            watch(self)
        return self.callbacks

    @_done_callbacks.setter
    def _done_callbacks(self, value):
        self.callbacks = value

    # These three answer in a few nanoseconds what Future answers with its lock held.

    def done(self):
        """Return True if the call was cancelled or has finished."""
        state = self.state
        return state is FINISHED or state is CANCELLED or state is CANCELLED_AND_NOTIFIED

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
        """
        if self.state is FINISHED and self.exception_ is None:
            return self.outcome
        return Future.result(self, timeout)

    def add_done_callback(self, fn):
        """Call `fn(future)` when the call is done, at once if it is done already."""
        # Nothing from here to the append lets another thread run.
        if self.condition is None and self.state is PENDING:
            if self.callbacks is None:
                self.callbacks = [fn]
                watch(self)
            else:
                (<list>self.callbacks).append(fn)
        else:
            Future.add_done_callback(self, fn)

    def cancel(self):
        """Cancel the call if no worker has it yet.

        Returns
        -------
        bool
            False when the call has been sent to a worker or is done.
        """
        with self._condition:
            if self.state is PENDING and self.function is not None and not vf_call_cancel(&self.c_call):
                return False
        return Future.cancel(self)


class CallFuture(Call, Future):
    """The future of one call: a `concurrent.futures.Future` in all that can be seen from outside."""

    __slots__ = ()

    def __init__(self):
        pass


cdef inline int watch(Call self) except -1:
    """Show a future to the garbage collector, since from now on it may be part of a cycle."""
    if not PyObject_GC_IsTracked(self):
        PyObject_GC_Track(self)
    return 0


cdef int run_callbacks(Call future) except -1:
    if future.callbacks is None:
        return 0
    for callback in <list>future.callbacks:
        try:
            callback(future)
        except Exception:
            LOGGER.exception("exception calling callback for %r", future)
    return 0


cdef int complete(Call future, object result, object exception) except -1:
    """Finish a future unless it is done. The lock is needed only if somebody has made it."""
    if future.condition is None:
        if future.state is not PENDING:
            return 0
        if exception is None:
            future.outcome = result
            if PyObject_IS_GC(result):
                watch(future)
        else:
            future.exception_ = exception
            watch(future)
        future.state = FINISHED
        return run_callbacks(future)
    if future.done():
        return 0
    try:
        if exception is None:
            Future.set_result(future, result)
        else:
            Future.set_exception(future, exception)
    except InvalidStateError:
        pass  # cancelled by another thread a moment ago
    return 0
