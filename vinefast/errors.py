"""The exceptions of vinefast. All of them can be pickled."""

from __future__ import annotations

import copy
import signal
from typing import Any

from parsl.app.errors import AppTimeout
from parsl.errors import ParslError


class VineFastError(ParslError):
    """Base of everything that vinefast raises itself; an app's own exceptions are passed on as they are."""


class InvalidConfiguration(VineFastError, ValueError):
    """A constructor argument or a configuration field has a value that cannot work."""


class EngineStartError(VineFastError):
    """The engine or its workers could not be started; whatever had been started is gone again."""


class EngineFailure(VineFastError):
    """The engine died while it was in use, or its workers cannot run."""


class EngineStopped(VineFastError):
    """A call was submitted to an executor that has been shut down, or was unfinished when that happened.

    Raised in a process that the program has forked as well, where the executor has no threads.
    """

    def __init__(self, reason: str = "the executor has been shut down") -> None:
        super().__init__(reason)


class WaitInCallback(VineFastError):
    """A done callback waits for a call of its executor, which the thread of the callback would have to finish."""

    def __init__(self) -> None:
        super().__init__(
            "a done callback cannot wait for a call of its executor, for no call is done before it returns: give that "
            "call a callback with add_done_callback(), or wait on another thread; done() tells at once"
        )


class UnreachableFile(VineFastError):
    """A call names a relative path, which means nothing to a worker without the submit side's files."""


class TaskFailure(VineFastError):
    """TaskVine gave a task up.

    Parameters
    ----------
    detail : str, optional
        What more is known, for example the end of the task's output.

    Attributes
    ----------
    result : str
        Name of TaskVine's result, such as ``"VINE_RESULT_MAX_RETRIES"``.
    code : int
        Number of that result.
    """

    result = "VINE_RESULT_UNKNOWN"
    code = 32
    _sentence = (
        "TaskVine could not classify what happened to the task. Look at the logs of the manager and of the worker."
    )

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        text = f"{self._sentence} ({self.result})"
        return f"{text}\n{self.detail}" if self.detail else text


class InputMissing(TaskFailure):
    """An input file does not exist, or did not reach a worker."""

    result = "VINE_RESULT_INPUT_MISSING"
    code = 1
    _sentence = (
        "The task could not run because one of its input files is missing. Check that the file exists, can be read, and"
        " fits on a worker's disk."
    )


class InputChanged(VineFastError):
    """A file that calls share was written to on a worker while a call had it among its inputs.

    Either that call or another one at the same time has written to the file, which is sent to the worker anew for the
    calls to come.

    Parameters
    ----------
    app : str
        Name of the app.
    inputs : list of str
        Names of the files.
    """

    def __init__(self, app: str, inputs: list[str]) -> None:
        super().__init__(app, inputs)
        self.app = app
        self.inputs = inputs

    def __str__(self) -> str:
        return (
            f"While {self.app} ran, its input {', '.join(map(repr, self.inputs))} was written to on its worker, where "
            "calls share it. Copy it first, or give the app CachedFile(..., writable=True)"
        )


class OutputMissing(TaskFailure):
    """A declared output file was not made."""

    result = "VINE_RESULT_OUTPUT_MISSING"
    code = 2
    _sentence = "The task ran but did not make one of its output files. Check the path that the app writes to."


class StdoutMissing(TaskFailure):
    """The task's standard output, which carries its result, did not arrive whole."""

    result = "VINE_RESULT_STDOUT_MISSING"
    code = 4
    _sentence = "The task's output arrived truncated. Return less, or write large results to files."


class ResultTooLarge(StdoutMissing):
    """A call's result is larger than its worker's disk or TaskVine allows; other calls are not touched.

    Parameters
    ----------
    app : str
        Name of the app.
    nbytes : int
        Size of the result, serialized.
    reason : str
        The limit that the result exceeds.
    """

    def __init__(self, app: str, nbytes: int, reason: str) -> None:
        super().__init__(reason)
        self.args: tuple[Any, ...] = (app, nbytes, reason)
        self.app = app
        self.nbytes = nbytes

    def __str__(self) -> str:
        return (
            f"The result of {self.app} does not fit: it has {self.nbytes} bytes, but {self.detail}. "
            "Return less, or write large results to files."
        )


class TaskSignalled(TaskFailure):
    """The task's process was ended by a signal."""

    result = "VINE_RESULT_SIGNAL"
    code = 8
    _sentence = (
        "The task's process was ended by a signal. Look for a crash in native code or a kill for lack of memory."
    )


class ResourceExhaustion(TaskFailure):
    """The task used more than it asked for."""

    result = "VINE_RESULT_RESOURCE_EXHAUSTION"
    code = 16
    _sentence = (
        "The task used more cores, memory or disk than it asked for. Ask for more in its resource specification."
    )


class MaxEndTime(TaskFailure):
    """The task's deadline passed."""

    result = "VINE_RESULT_MAX_END_TIME"
    code = 24
    _sentence = "The task ran past its end time. Give it a later one, or more workers."


class UnknownResult(TaskFailure):
    """The engine could not say what happened."""


class Forsaken(TaskFailure):
    """The engine failed around the task, not the task itself."""

    result = "VINE_RESULT_FORSAKEN"
    code = 40
    _sentence = (
        "The task failed through no fault of its own, such as a broken worker or transfer. "
        "Run it again, for example with Parsl's retries."
    )


class MaxRetries(TaskFailure):
    """The task was tried as often as allowed."""

    result = "VINE_RESULT_MAX_RETRIES"
    code = 48
    _sentence = (
        "The task was tried as often as allowed, and given up. "
        "If workers were lost, look at why they die (often: lack of memory); if not, raise max_retries."
    )


class MaxWallTime(TaskFailure):
    """The task ran for too long."""

    result = "VINE_RESULT_MAX_WALL_TIME"
    code = 56
    _sentence = "The task ran for longer than it may. Give it more time."


class ResourceMonitorError(TaskFailure):
    """The resource monitor left no report."""

    result = "VINE_RESULT_RMONITOR_ERROR"
    code = 64
    _sentence = (
        "TaskVine's resource_monitor made no report of the task. Check that it is installed and runs on the worker."
    )


class OutputTransferError(TaskFailure):
    """An output could not be brought back."""

    result = "VINE_RESULT_OUTPUT_TRANSFER_ERROR"
    code = 72
    _sentence = (
        "An output of the task could not be brought back. Check disk space and write permissions on the submit side."
    )


class FixedLocationMissing(TaskFailure):
    """An input that cannot be moved is on no connected worker."""

    result = "VINE_RESULT_FIXED_LOCATION_MISSING"
    code = 80
    _sentence = "No connected worker holds an input file that must stay where it is. Check that its worker still runs."


class Cancelled(TaskFailure):
    """The task was cancelled."""

    result = "VINE_RESULT_CANCELLED"
    code = 88
    _sentence = "The task was cancelled before it had finished."


class LibraryExit(TaskFailure):
    """The library on the worker ended."""

    result = "VINE_RESULT_LIBRARY_EXIT"
    code = 96
    _sentence = (
        "The library that runs calls on the worker ended. "
        "Check that the worker's Python can import parsl, and init_command."
    )


class SandboxExhaustion(TaskFailure):
    """The task filled its sandbox."""

    result = "VINE_RESULT_SANDBOX_EXHAUSTION"
    code = 104
    _sentence = "The task used more disk than its sandbox may. Ask for more disk, or give the worker more."


class MissingLibrary(TaskFailure):
    """No worker offers the library that the task needs."""

    result = "VINE_RESULT_MISSING_LIBRARY"
    code = 112
    _sentence = (
        "The library that runs calls could not be started on any worker. "
        "Check that the workers' Python can import parsl, and init_command."
    )


RESULT_ERRORS: dict[int, type[TaskFailure]] = {error.code: error for error in TaskFailure.__subclasses__()}
"""The exception of each of TaskVine's result codes, success excluded."""


def task_failure(code: int, detail: str = "") -> TaskFailure:
    """Make the exception for one of TaskVine's result codes.

    Parameters
    ----------
    code : int
        A ``vine_result_t``.
    detail : str, optional
        What more is known.
    """
    known = RESULT_ERRORS.get(code)
    if known is None:
        return UnknownResult(f"result code {code}, unknown to this vinefast. {detail}".rstrip())
    return known(detail)


class CallDied(VineFastError):
    """The process that ran the call died before the call ended; other calls of the worker are not touched.

    Parameters
    ----------
    exit_code : int or None
        Exit status, if the process exited.
    signal_number : int or None
        Signal, if a signal killed the process.
    log_tail : str
        The end of what the process wrote to its standard output and error.
    """

    def __init__(self, exit_code: int | None = None, signal_number: int | None = None, log_tail: str = "") -> None:
        super().__init__(exit_code, signal_number, log_tail)
        self.exit_code = exit_code
        self.signal_number = signal_number
        self.log_tail = log_tail

    def __str__(self) -> str:
        if self.signal_number is not None:
            cause = f"was killed by {signal_text(self.signal_number)}"
        elif self.exit_code is not None:
            cause = f"exited with status {self.exit_code}"
        else:
            cause = "died for an unknown reason"
        return self._with_last_output(f"The process that ran this call {cause}")

    def _with_last_output(self, text: str) -> str:
        return f"{text}. Its last output:\n{self.log_tail}" if self.log_tail.strip() else text


class MemoryLimitExceeded(CallDied):
    """A call took more memory than it might, and was ended for that; other calls of the worker are not touched.

    Parameters
    ----------
    app : str
        Name of the function.
    limit_mb : int
        What the call might take: ``memory`` of its resource specification.
    peak_mb : int
        What its process, and all that had come from that, took when it was ended.
    log_tail : str
        The end of what the process wrote to its standard output and error.
    """

    def __init__(self, app: str, limit_mb: int = 0, peak_mb: int = 0, log_tail: str = "") -> None:
        super().__init__(None, signal.SIGKILL, log_tail)
        self.args: tuple[Any, ...] = (app, limit_mb, peak_mb, log_tail)
        self.app = app
        self.limit_mb = limit_mb
        self.peak_mb = peak_mb

    def __str__(self) -> str:
        return self._with_last_output(
            f"{self.app} took {self.peak_mb} MB of memory, with its process and all that this had started, and was "
            f"ended: its limit is {self.limit_mb} MB (memory of its resource specification, which enforce_memory makes "
            "a limit)"
        )


class OutOfMemory(CallDied):
    """The kernel killed the process of a call because no memory was left; other calls of the worker are not touched.

    Parameters
    ----------
    app : str
        Name of the function.
    peak_mb : int
        The most memory that its process is known to have had.
    log_tail : str
        The end of what the process wrote to its standard output and error.
    """

    def __init__(self, app: str, peak_mb: int = 0, log_tail: str = "") -> None:
        super().__init__(None, signal.SIGKILL, log_tail)
        self.args: tuple[Any, ...] = (app, peak_mb, log_tail)
        self.app = app
        self.peak_mb = peak_mb

    def __str__(self) -> str:
        return self._with_last_output(
            f"The process that ran {self.app} was killed by SIGKILL when the kernel killed for lack of memory "
            f"(oom_kill); it had up to {self.peak_mb} MB. Ask for memory in the resource specification, so that fewer "
            "calls run beside it"
        )


_SIGNAL_HINTS = {
    signal.SIGKILL: "often the kernel's answer to lack of memory",
    signal.SIGXCPU: "a limit on processor time",
}


def signal_text(number: int) -> str:
    """Name a signal, and say what it means."""
    try:
        name = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    words = _SIGNAL_HINTS.get(name) or (signal.strsignal(number) or "").lower()
    return f"{name.name} ({words})" if words else name.name


class CallTimedOut(VineFastError, AppTimeout):
    """The call ran for longer than its limit, and was ended; other calls of the worker are not touched.

    Parameters
    ----------
    app : str
        Name of the function.
    limit_s : float
        What its resource specification's `running_time_max`, or Parsl's `walltime`, allowed.
    stack : str
        The Python stack of the call when its time was over, without source lines if it had to be killed; empty: it
        was within C code that the app is.
    """

    def __init__(self, app: str, limit_s: float, stack: str = "") -> None:
        super().__init__(app, limit_s, stack)
        self.app = app
        self.limit_s = limit_s
        self.stack = stack

    def __str__(self) -> str:
        text = f"{self.app} ran for longer than its limit of {self.limit_s:.10g} s and was ended"
        return f"{text}. It was at:\n{self.stack}" if self.stack.strip() else text


class EventLogError(VineFastError):
    """There is no event log where one is to be read, or it is damaged, or from another vinefast."""


class AuditFailed(VineFastError):
    """An executor that audits itself (``VINEFAST_AUDIT=1``) has broken a rule of its own; all of it is shut down.

    Parameters
    ----------
    label : str
        The executor's.
    breaches : tuple of str
        The rule that each breaks, the call, and what has happened; the first ones of each rule.
    """

    def __init__(self, label: str, breaches: tuple[str, ...] = ()) -> None:
        super().__init__(label, breaches)
        self.label = label
        self.breaches = breaches

    def __str__(self) -> str:
        return "\n".join((f"The audit of executor {self.label} has failed:", *self.breaches))


class ContextError(VineFastError):
    """The context of a call could not be loaded; the exception's cause is what the context function raised.

    Parameters
    ----------
    context : str
        Name of the context function.
    reason : str
        Type and text of what that function raised.
    """

    def __init__(self, context: str, reason: str = "") -> None:
        super().__init__(context, reason)
        self.context = context
        self.reason = reason

    def __str__(self) -> str:
        return f"The context {self.context} of this call could not be loaded: {self.reason}"


class RemoteError(VineFastError):
    """An app raised an exception that cannot be raised on the submit side as it is; the cause of this one says more.

    Either the app's exception could not be rebuilt on the submit side, or it is none that a program goes on after
    (`SystemExit`, `KeyboardInterrupt`, and all else that is no `Exception`).

    Parameters
    ----------
    type_name : str
        Name of the class of the app's exception.
    message : str
        Text of the app's exception.
    traceback_text : str
        The remote traceback, formatted.
    """

    def __init__(self, type_name: str, message: str, traceback_text: str = "") -> None:
        super().__init__(type_name, message, traceback_text)
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        text = f"{self.type_name}: {self.message}" if self.message else self.type_name
        return f"{text}\n{self.traceback_text}" if self.traceback_text else text


def described(error: BaseException) -> str:
    """Return the repr of an exception, or only the name of its type if the repr raises."""
    try:
        return repr(error)
    except BaseException as lack:
        return f"{type(error).__name__}, whose repr raises {type(lack).__name__}"


def anew(exception: BaseException) -> BaseException:
    """Copy an exception, for one call to raise.

    Each raise makes an exception's traceback longer: an exception that many calls share would in the end have the
    traceback of them all, in each line of a log.
    """
    try:
        other = copy.copy(exception)
    except Exception:  # its class is not made for that
        return exception.with_traceback(None)
    other.__cause__ = exception.__cause__
    return other
