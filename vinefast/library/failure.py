"""What a call that did not succeed sends back: payloads of the statuses STATUS_EXCEPTION and STATUS_DIED."""

from __future__ import annotations

import os
import pickle
import resource
import traceback
from types import TracebackType
from typing import Any

from . import parsl_side
from .memory import NoRoom

_NO_GLOBAL = (
    " on the worker. A function of the program's __main__ module brings the globals along that it names, if all of "
    "them can be serialized: import or define what is missing in the function itself, pass it as an argument, or put "
    "the function into a module of its own"
)


class Unrunnable(BaseException):
    """Raised in place of a call whose function cannot be run here; carries the record to give."""

    def __init__(self, status: int, payload: bytes) -> None:
        self.status = status
        self.payload = payload

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Take the function's place in the hot loop, which then needs no check per call."""
        raise self


def users_traceback(trace: TracebackType | None) -> TracebackType | None:
    """Drop the leading frames that are vinefast's own."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return trace


# Not by __file__: what is sent to workers is byte code, which knows where it was compiled.
_HERE = os.path.dirname(users_traceback.__code__.co_filename) + os.sep


def _explain_lack(exception: BaseException, trace: Any) -> None:
    """Say in a `NameError` about a global of the program's ``__main__`` why it is not there, and what to do."""
    if type(exception) is not NameError or trace is None or len(exception.args) != 1:
        return
    while trace.tb_next is not None:
        trace = trace.tb_next
    if trace.tb_frame.f_globals.get("__name__") == "__main__":
        exception.args = (f"{exception.args[0]}{_NO_GLOBAL}",)


def pack_exception(exception: BaseException) -> bytes:
    """Payload of status STATUS_EXCEPTION, whatever the exception's own methods do."""
    trace = users_traceback(exception.__traceback__)
    _explain_lack(exception, trace)
    return _pack(type(exception), exception, trace, None)


def pack_wrapper(wrapper: parsl_side.RemoteExceptionWrapper) -> bytes:
    """Payload of status STATUS_EXCEPTION for the exception that a ``python_app`` caught and returned wrapped.

    The manager's side can then name the exception even if it cannot rebuild it.
    """
    _explain_lack(wrapper.e_value, wrapper.e_traceback)
    trace = wrapper.e_traceback.as_traceback() if wrapper.e_traceback else None
    return _pack(wrapper.e_type, wrapper.e_value, trace, wrapper)


def pack_death(
    exit_code: int | None, signal_number: int | None, log_tail: str, cause: tuple[int, int] | None = None
) -> bytes:
    """Payload of status STATUS_DIED. `cause`: what memory it might take and took, as `out_of_memory.Cause` says."""
    return pickle.dumps((exit_code, signal_number, log_tail, cause and tuple(cause)), 5)


def pack_lack(function: object, lack: NoRoom) -> bytes:
    """Payload of status STATUS_TOO_LARGE. Short, whatever the function's name."""
    name = str(getattr(function, "__name__", None) or repr(function))
    return pickle.dumps((name[:200], lack.nbytes, lack.reason), 5)


def pack_timeout(limit_s: float, stack: str) -> bytes:
    """Payload of status STATUS_TIMED_OUT."""
    return pickle.dumps((limit_s, stack), 5)


def stack_of(exception: BaseException) -> str:
    """Give the frames of the user's from which an exception came that was raised in the midst of them."""
    try:
        frames = traceback.extract_tb(users_traceback(exception.__traceback__))
        return "".join(traceback.format_list([frame for frame in frames if not frame.filename.startswith(_HERE)]))
    except BaseException:
        return ""


def pack_changed(app: str, inputs: list[str]) -> bytes:
    """Payload of status STATUS_INPUT_CHANGED."""
    return pickle.dumps((app, inputs), 5)


def _pack(
    kind: type, exception: BaseException, trace: TracebackType | None, wrapper: parsl_side.RemoteExceptionWrapper | None
) -> bytes:
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(exception)
    except BaseException as error:
        message = f"<no message: {name}.__str__ raised {type(error).__name__}>"
    try:
        text = "".join(traceback.format_exception(kind, exception, trace))
    except BaseException:
        text = "".join(traceback.format_tb(trace)) + f"{name}: {message}\n"
    return pickle.dumps((name, message, text, _serialized(kind, exception, trace, wrapper), _peak_nbytes()), 5)


def _serialized(
    kind: type, exception: BaseException, trace: TracebackType | None, wrapper: parsl_side.RemoteExceptionWrapper | None
) -> bytes | None:
    """Serialize an exception with its traceback, or the last frames of that, or none; None: it cannot be."""
    for n_frames in (None, 20, 0):
        try:
            if n_frames is not None:
                # Of calls in calls, as in a recursion, there may be too many to be serialized.
                _shorten(exception, n_frames)
                trace, wrapper = _last_frames(trace, n_frames), None
            return parsl_side.serialize(wrapper or parsl_side.RemoteExceptionWrapper(kind, exception, trace))
        except BaseException:
            continue
    return None


def _shorten(exception: BaseException, n_frames: int) -> None:
    """Leave the last frames alone of an exception, and of all that it comes from."""
    waiting: list[BaseException | None] = [exception]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = _last_frames(each.__traceback__, n_frames)
            waiting += each.__cause__, each.__context__


def _last_frames(trace: TracebackType | None, count: int) -> TracebackType | None:
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    return frames[-count:][0] if frames and count else None


def _peak_nbytes() -> int:
    """Give the most memory that this process has had at a time; a slot's has run other calls before, perhaps."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
