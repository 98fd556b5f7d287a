"""What calls may change in their slot's process for those that come after them, and what is put back of it.

These are limits that were lowered (Python's own on recursion, too), signal handlers and masks, timers, umask, CPU
affinity, working directory, environment, Python's built-in names, and what the standard descriptors and streams are.
Descriptors that were left open are nobody's to close: when hardly one is left, the process is replaced. What a function
or a context changes while it is loaded is there to stay.
"""

from __future__ import annotations

# `signal` makes an enumeration's member of each number, which would take most of the time.
import _signal  # type: ignore[import-not-found]
import builtins
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from os import fstat
from typing import Any

from .output import Output
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .process import identity

# Between two looks at what trusted functions leave behind, at least and at most; in between, so many times what the
# last look took: that is 15 microseconds while calls follow each other, and 100 where each of them has slept.
_FIRST_LOOK_NS = 5_000_000
_LAST_LOOK_NS = 50_000_000
_LOOK_SHARE = 400
# After so many looks in a row that found nothing, of the same functions, looks at the end of a bundle are too much.
_CALM = 1000
# A process that has no more descriptors left than that is replaced, since a call may need some.
_SPARE_DESCRIPTORS = 16
# Functions that are remembered.
_MAX_KNOWN = 4096

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = tuple(number for number in range(1, 32) if number not in (signal.SIGKILL, signal.SIGSTOP))
_LIMITS = {
    getattr(resource, name): name
    for name in (
        "RLIMIT_FSIZE",
        "RLIMIT_AS",
        "RLIMIT_DATA",
        "RLIMIT_STACK",
        "RLIMIT_CPU",
        "RLIMIT_NOFILE",
        "RLIMIT_NPROC",
    )
    if hasattr(resource, name)
}
# Not everywhere.
_get_affinity: Callable[[int], set[int]] = getattr(os, "sched_getaffinity", lambda pid: set())
# Digits of integers in text, 0 for any number; not on Python before 3.10.7.
_get_digits: Callable[[], int] = getattr(sys, "get_int_max_str_digits", lambda: 0)
# Its own dictionary: to compare through `os.environ` would decode every value.
_ENVIRONMENT: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
_BUILTINS: dict[str, Any] = vars(builtins)


class Surroundings:
    """The state of a process that calls run in.

    Parameters
    ----------
    log_path:
        Where standard output and standard error go.
    output:
        Makes streams and files for these; None: they are plain ones.

    Attributes
    ----------
    directory:
        Where calls run; None: wherever they are.
    look_at_ns:
        When it is time to look again, on the monotonic clock.
    spoilt:
        Whether something cannot be put back, so that the process has to be replaced.
    """

    def __init__(self, log_path: str, output: Output | None = None) -> None:
        self.directory: bytes | None = None
        self.look_at_ns: int = 0
        self.spoilt: bool = False
        self._log_path = os.path.abspath(log_path)
        self._output = output
        # Functions, by digest: of the last bundle; that have left everything as it was; that have not.
        self._running: list[bytes] = []
        self._trusted: set[bytes] = set()
        self._suspects: set[bytes] = set()
        self._told: set[str] = set()
        # Looks since something was changed, or another function came; and whether there was none after the last bundle.
        self._calm = 0
        self._unseen = False
        self.note()

    def note(self) -> None:
        """Take everything as it is now for what calls are to find."""
        self._timers = tuple(map(_signal.getitimer, _TIMERS))
        self._handlers = tuple(map(_signal.getsignal, _SIGNALS))
        self._limits = tuple(map(resource.getrlimit, _LIMITS))
        self._recursion = sys.getrecursionlimit()
        self._digits = _get_digits()
        self._blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        self._affinity = _get_affinity(0)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._standard = _standard()
        self._note_descriptors()
        self._streams: tuple[Any, ...] = (sys.stdin, sys.stdout, sys.stderr)
        self.note_environment()

    def note_environment(self) -> None:
        """The same for the environment alone."""
        self._environment = dict(_ENVIRONMENT)
        self._builtins = dict(_BUILTINS)
        self._n_modules = len(sys.modules)

    def _note_descriptors(self) -> None:
        try:
            own = _lowest_free()
        except OSError:
            own = 0
        self._last_descriptor = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS, own + 1)

    def begin(self, digests: list[bytes]) -> bool:
        """Tell whether to look after each call: if one of the functions is new here, or was found to change things."""
        self._running = digests
        if self._trusted.issuperset(digests):
            return False
        self._calm = 0
        return True

    def trust(self) -> None:
        """Remember that there was a look after each call of the bundle."""
        for known in (self._trusted, self._suspects):
            if len(known) > _MAX_KNOWN:
                known.clear()
        self._trusted.update(set(self._running) - self._suspects)

    def look_after_bundle(self) -> None:
        """Look while there is nothing to do: each time, but where that was in vain so often, when it is time."""
        if self._calm < _CALM or time.monotonic_ns() > self.look_at_ns:
            self.look(is_bundle_over=True)
        else:
            self._unseen = True

    def is_due(self) -> bool:
        """Whether to look before the first call of a bundle, since nobody has looked for long after those before."""
        return self._unseen and time.monotonic_ns() > self.look_at_ns

    def put_back_builtins(self) -> bool:
        """Put back the built-in names that were replaced or removed, which all else needs; tells whether any was.

        What was added stays, as `gettext` adds one.
        """
        try:
            if _BUILTINS == self._builtins:
                return False
        except BaseException:  # noqa: S110
            pass  # what stands there now cannot be compared
        before = _BUILTINS.copy()
        _BUILTINS.update(self._builtins)
        self._builtins = _BUILTINS.copy()
        return any(before.get(name) is not what for name, what in self._builtins.items())

    def look(self, is_bundle_over: bool = False) -> bool:
        """Put back what is not as it was; tells whether anything was not.

        Parameters
        ----------
        is_bundle_over:
            Whether the next call belongs to another bundle, which sees to the directory.
        """
        began_ns = time.monotonic_ns()
        try:
            changed = self._look(is_bundle_over)
        except (OSError, ValueError) as error:
            # No descriptor is left, say. The call is over, and none after it is to blame.
            self.spoilt = True
            self._tell([f"too much ({error}: the process is replaced)"])
            return True
        ended_ns = time.monotonic_ns()
        pause_ns = max(_FIRST_LOOK_NS, min(_LOOK_SHARE * (ended_ns - began_ns), _LAST_LOOK_NS))
        # What was found may be there again.
        self.look_at_ns = ended_ns + (_FIRST_LOOK_NS if changed else pause_ns)
        return changed

    def _look(self, is_bundle_over: bool) -> bool:
        changed: list[str] = []
        if self.put_back_builtins():
            changed.append("built-in names")
        # First what might strike in the midst of this.
        if (timers := tuple(map(_signal.getitimer, _TIMERS))) != self._timers:
            self._stop_timers(timers, changed)
        if (handlers := tuple(map(_signal.getsignal, _SIGNALS))) != self._handlers:
            self._put_back_handlers(handlers, changed)
        if os.umask(self._umask) != self._umask:
            changed.append("umask")
        if _get_affinity(0) != self._affinity:
            self._put_back_affinity()
            changed.append("CPU affinity")
        if sys.getrecursionlimit() < self._recursion:
            sys.setrecursionlimit(self._recursion)
            changed.append("recursion limit")
        if (digits := _get_digits()) != self._digits and digits and (digits < self._digits or not self._digits):
            sys.set_int_max_str_digits(self._digits)
            changed.append("limit of digits")
        if _signal.pthread_sigmask(_signal.SIG_BLOCK, ()) != self._blocked:
            self._unblock()
            changed.append("blocked signals")
        if tuple(map(resource.getrlimit, _LIMITS)) != self._limits:
            self._raise_limits(changed)
        if _standard() != self._standard:
            self._put_back_standard(changed)
        if _lowest_free() >= self._last_descriptor:
            self.spoilt = True
            changed.append("open descriptors (too many: the process is replaced)")
        n_modules = len(sys.modules)
        has_imported = n_modules != self._n_modules
        self._n_modules = n_modules
        stdin, stdout, stderr = self._streams
        if sys.stdin is not stdin or sys.stdout is not stdout or sys.stderr is not stderr:
            if has_imported:
                self._streams = (sys.stdin, sys.stdout, sys.stderr)
            else:
                sys.stdin, sys.stdout, sys.stderr = self._streams
                changed.append("standard streams")
        if _is_any_closed(self._streams):
            self._open_streams()
            changed.append("standard streams")
        if _ENVIRONMENT != self._environment:
            if has_imported:
                # Modules set variables for themselves, once: without these they might not work.
                self._environment = dict(_ENVIRONMENT)
            else:
                self._put_back_environment()
                changed.append("environment")
        if self.directory is not None and not is_bundle_over:
            try:
                os.chdir(self.directory)
            except OSError:
                pass  # a call has removed it
        self._unseen = False
        self._calm += 1
        if changed:
            self._calm = 0
            self._suspects.update(self._running)
            self._trusted.difference_update(self._running)
            self._tell(changed)
        return bool(changed)

    def _tell(self, changed: list[str]) -> None:
        what = ", ".join(changed)
        if what not in self._told:
            self._told.add(what)
            try:
                print(f"vinefast: put back what a call has changed: {what}", file=sys.stderr, flush=True)
            except (OSError, ValueError, AttributeError):
                pass

    def _stop_timers(self, timers: tuple[tuple[float, float], ...], changed: list[str]) -> None:
        for which, now, before in zip(_TIMERS, timers, self._timers, strict=True):
            if any(now) and not any(before):
                _signal.setitimer(which, 0)
                changed.append("timers")

    def _put_back_handlers(self, handlers: tuple[object, ...], changed: list[str]) -> None:
        for number, now, before in zip(_SIGNALS, handlers, self._handlers, strict=True):
            # None: it was not set by Python, and so cannot be put back by it.
            if now != before and before is not None:
                _signal.signal(number, before)
                changed.append(f"handler of {signal.Signals(number).name}")
        self._handlers = tuple(map(_signal.getsignal, _SIGNALS))

    def _put_back_affinity(self) -> None:
        try:
            os.sched_setaffinity(0, self._affinity)
        except OSError:
            pass  # the machine has taken some of these away
        self._affinity = _get_affinity(0)

    def _unblock(self) -> None:
        for number in _signal.sigpending():
            # To ignore one drops what is pending, which was for the call, and might end the process now.
            handler = _signal.getsignal(number)
            if handler is not None:
                _signal.signal(number, _signal.SIG_IGN)
                _signal.signal(number, handler)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._blocked)

    def _raise_limits(self, changed: list[str]) -> None:
        for (number, name), before in zip(_LIMITS.items(), self._limits, strict=True):
            now = resource.getrlimit(number)
            if not _is_less(now[0], before[0]):
                continue  # one that was raised harms nobody
            changed.append(name)
            for hard in (before[1], now[1]):
                try:
                    resource.setrlimit(number, (before[0], hard))
                    break
                except (OSError, ValueError):
                    continue
            else:
                self.spoilt = True
                changed[-1] += " (for good: the process is replaced)"
        self._limits = tuple(map(resource.getrlimit, _LIMITS))
        self._note_descriptors()

    def _put_back_environment(self) -> None:
        for name in _ENVIRONMENT.keys() - self._environment.keys():
            del os.environb[name]
        for name, value in self._environment.items():
            if _ENVIRONMENT.get(name) != value:
                os.environb[name] = value

    def _put_back_standard(self, changed: list[str]) -> None:
        for fd in range(3):
            if (identity(fd) or (None, None)) == self._standard[2 * fd : 2 * fd + 2]:
                continue
            source = self._open_log() if fd else os.open(os.devnull, os.O_RDONLY)
            if source == fd:
                os.set_inheritable(fd, True)
            else:
                os.dup2(source, fd)
                os.close(source)
            changed.append(("standard input", "standard output", "standard error")[fd])
        self._standard = _standard()
        if self._output is not None:
            self._output.note_log()

    def _open_log(self) -> int:
        if self._output is not None:
            return self._output.log.open()
        return os.open(self._log_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)

    def _open_streams(self) -> None:
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            if _is_closed(getattr(sys, name)):
                if fd and self._output is not None:
                    stream = self._output.open_stream(fd)
                else:
                    stream = open(fd, "w" if fd else "r", buffering=1, errors="backslashreplace", closefd=False)
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)


def _standard() -> tuple[int | None, ...]:
    """Give the `identity` of each standard descriptor, in one tuple."""
    try:
        # As most looks find them; a call for each would take as long as the three system calls.
        stdin, stdout, stderr = fstat(0), fstat(1), fstat(2)
    except OSError:
        return tuple(part for fd in range(3) for part in identity(fd) or (None, None))
    return stdin.st_dev, stdin.st_ino, stdout.st_dev, stdout.st_ino, stderr.st_dev, stderr.st_ino


def _lowest_free() -> int:
    """Give the number that the next descriptor would get."""
    fd = os.dup(0)
    os.close(fd)
    return fd


def _is_any_closed(streams: tuple[Any, ...]) -> bool:
    try:
        # The same here.
        return any([stream.closed for stream in streams])
    except Exception:
        return any(map(_is_closed, streams))


def _is_closed(stream: Any) -> bool:
    try:
        return getattr(stream, "closed", False)
    except Exception:
        return True  # what lay beneath it has been detached


def _is_less(limit: int, other: int) -> bool:
    return limit != resource.RLIM_INFINITY and (other == resource.RLIM_INFINITY or limit < other)
