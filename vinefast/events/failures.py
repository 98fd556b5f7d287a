"""Why calls failed, as their exceptions would say it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from vinefast import errors
from vinefast.events.run import Failure, whole
from vinefast.library import protocol

# Also those of UUIDs, of digests and of temporary files, which would make each failure a group of its own.
_NUMBERS = re.compile(
    r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|(?<![a-zA-Z0-9])(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}(?![a-zA-Z0-9])|\d+"
)
_MESSAGE_NCHARS = 200
_WALLTIME = "parsl.app.errors.AppTimeout"


@dataclass(frozen=True)
class Reason:
    """What a call's exception says.

    Attributes
    ----------
    name : str
        Of its type.
    message : str
        Of one line or more.
    detail : str
        The traceback, the stack, or the end of the output of the process, if there is one.
    in_common : str
        What the message is without what differs from call to call; empty: its first line without numbers.
    peak_nbytes : int
        How much memory the process of the call had at the most, which may have run other calls before; 0: not known.
    """

    name: str
    message: str
    detail: str = ""
    in_common: str = ""
    peak_nbytes: int = 0

    @property
    def group(self) -> str:
        """What it has in common with others: its name and message, without the numbers in that."""
        line = self.in_common or _NUMBERS.sub("N", self.message.strip().partition("\n")[0][:_MESSAGE_NCHARS])
        return f"{self.name}: {line}" if line else self.name


def reason_of(failure: Failure, app: str, result: int) -> Reason:
    """Tell why a call failed.

    Parameters
    ----------
    failure : Failure
        What the event log has of it.
    app : str
        Name of the function.
    result : int
        A ``vine_result_t``, if the engine has failed the call.
    """
    if failure.status == protocol.STATUS_ENGINE:
        return _of(errors.task_failure(result, failure.payload.decode("utf-8", "replace").rstrip("\0")))
    if len(failure.payload) < failure.nbytes:
        why = f"the event log has {len(failure.payload)} of {failure.nbytes} bytes that say it"
        return Reason("not kept", f"{why}: of one failure it keeps 16 kB, of those of a second 1 MB")
    try:
        fields = failure.fields()
        known = [whole(value) if isinstance(value, str) else value for value in fields or ()]
        reason = _REASONS[failure.status](app, *known)
        name, message, detail = map(_as_text, (reason.name, reason.message, reason.detail))
        return Reason(name, message, detail, _as_text(reason.in_common), _as_size(reason.peak_nbytes))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return Reason("unknown", f"this vinefast does not know status {failure.status}, or what goes with it")


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in the place of a text")
    return value


def _as_size(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise TypeError(f"{type(value).__name__} in the place of a size")
    return value


def _raised(app: str, name: str, message: str, trace: str, wrapped: bytes | None, peak_nbytes: int = 0) -> Reason:
    if name == _WALLTIME and not message:
        # Parsl's own walltime, which says nothing; its future has the same exception as the executor's.
        return _timed_out(app, f"{app} ran for longer than its walltime and was ended", trace)
    return Reason(name, message, trace, peak_nbytes=peak_nbytes)


def _timed_out(app: str, message: str, stack: str) -> Reason:
    # Of calls with one walltime some are ended by Parsl and some by vinefast, whichever is the first.
    in_common = f"{app} ran for longer than its limit and was ended"
    return Reason(errors.CallTimedOut.__name__, message, stack, in_common)


def _died(
    app: str, exit_code: int | None, signal_number: int | None, log_tail: str, memory: tuple[int, int] | None
) -> Reason:
    if memory is None:
        return _of(errors.CallDied(exit_code, signal_number), log_tail)
    limit, peak = memory
    if limit:
        return _of(errors.MemoryLimitExceeded(app, limit >> 20, peak >> 20), log_tail, peak)
    return _of(errors.OutOfMemory(app, peak >> 20), log_tail, peak)


def _of(error: BaseException, detail: str = "", peak_nbytes: int = 0) -> Reason:
    return Reason(type(error).__name__, str(error), detail, peak_nbytes=peak_nbytes)


_REASONS: dict[int, Callable[..., Reason]] = {
    protocol.STATUS_EXCEPTION: _raised,
    protocol.STATUS_DIED: _died,
    protocol.STATUS_TOO_LARGE: lambda app, *fields: _of(errors.ResultTooLarge(*fields)),
    protocol.STATUS_INPUT_CHANGED: lambda app, *fields: _of(errors.InputChanged(*fields)),
    protocol.STATUS_TIMED_OUT: lambda app, limit_s, stack: _timed_out(
        app, str(errors.CallTimedOut(app, limit_s)), stack
    ),
}
