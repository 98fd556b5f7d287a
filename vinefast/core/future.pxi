# The future of a call.
#
# concurrent.futures.Future makes a condition variable and two lists when it is born: most of what a short call would
# cost on the submitting side, in time and in memory. Most calls are finished before anybody waits for them, so here
# these come into being when somebody first asks for them.

import threading
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, LOGGER, PENDING


class _Lazy:
    """A non-data descriptor: the first access makes the value and stores it in the instance."""

    def __init__(self, make):
        self._make = make

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        # setdefault, since two threads may come here at once
        return instance.__dict__.setdefault(self._name, self._make())


class CallFuture(Future):
    """The future of one call: a `concurrent.futures.Future` in all that can be seen from outside.

    Attributes
    ----------
    parsl_executor_task_id : int
        The executor's own number of the call.
    """

    _state = PENDING
    _result = None
    _exception = None
    _call = 0
    _condition = _Lazy(threading.Condition)
    _waiters = _Lazy(list)
    _done_callbacks = _Lazy(list)

    def __init__(self):
        pass

    def add_done_callback(self, fn):
        """Call `fn(future)` when the call is done, at once if it is done already."""
        cdef dict state = self.__dict__
        cdef list callbacks = state.setdefault("_done_callbacks", [])
        # Nothing from here to the append lets another thread run.
        if "_condition" not in state and "_state" not in state:
            callbacks.append(fn)
        else:
            Future.add_done_callback(self, fn)

    def cancel(self):
        """Cancel the call if no worker has it yet.

        Returns
        -------
        bool
            False when the call has been sent to a worker or is done.
        """
        cdef size_t address
        with self._condition:
            if self._state == PENDING:
                address = self.__dict__.get("_call", 0)
                if address and not vf_call_cancel(<vf_call *>address):
                    return False
        return Future.cancel(self)


cdef object future_new = CallFuture.__new__


cdef inline bint is_done(dict state):
    return "_state" in state


cdef int run_callbacks(object future, dict state) except -1:
    for callback in state.get("_done_callbacks", ()):
        try:
            callback(future)
        except Exception:
            LOGGER.exception("exception calling callback for %r", future)
    return 0


cdef int complete(object future, object result, object exception) except -1:
    """Finish a future unless it is done. The lock is needed only if somebody has made it."""
    cdef dict state = future.__dict__
    if "_condition" not in state:
        if "_state" in state:
            return 0
        if exception is None:
            state["_result"] = result
        else:
            state["_exception"] = exception
        state["_state"] = FINISHED
        return run_callbacks(future, state)
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
