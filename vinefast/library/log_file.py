"""The file that takes what a slot prints: where it is, and that it does not grow for ever.

It is always the same file, which processes have open that nobody knows, as daemons that a call has left. So what is too
much is moved out of it, to one older file beside it, and what that held before is gone.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

from . import memory as layout
from .memory import SlotMemory
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .process import output_prefix
from .protocol import VINEFAST_OUTPUT_NBYTES
from .stack import without_own_frames

# Of both files, where the program does not want them.
_UNKEPT_NBYTES = 4 << 20
_CHUNK_NBYTES = 1 << 20
_TAIL_NCHARS = 4096
# Room for the frames of vinefast in what faulthandler tells, which in a child of the fork server come from deep down.
_TAIL_NBYTES = 2 * _TAIL_NCHARS
# Who writes just when the file is cut may be faster than the line that says so.
# A call may have printed such a line, with any number.
_GONE = re.compile(rb"^=== .* (\d{1,18}) bytes before that are gone", re.MULTILINE)
_CONTINUED = re.compile(rb"=== [^\n]{1,100} continued from the older file; [^\n]{1,200} ===\n")
# Nobody else's business.
_MODE = 0o600
_GONE_WITHIN_NBYTES = 1 << 17


def mark(text: str) -> bytes:
    """Give a line that says whose the lines below it are."""
    seconds, rest_ms = divmod(time.time_ns() // 1_000_000, 1000)
    return f"=== {_moment(seconds)}.{rest_ms:03} {text} ===\n".encode("utf-8", "backslashreplace")


@lru_cache(1)
def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def append_line(fd: int, nbytes: int, line: bytes) -> int:
    """Write a line to a file of that size, below what may be there of another; gives how many bytes that took."""
    if nbytes and os.pread(fd, 1, nbytes - 1) != b"\n":
        line = b"\n" + line
    return os.write(fd, line)


def _older(path: str) -> str:
    return f"{path.removesuffix('.log')}.older.log"


class LogFile:
    """Where a process of the library sends its output.

    Parameters
    ----------
    name:
        Of the file in the library's own directory, which goes with the library. If the program keeps output, and its
        directory can be written to, the file is there, named after this machine and the library besides.

    Attributes
    ----------
    limit:
        Size from which on the file is cut.
    kept_name:
        Of the file in the run directory.
    """

    def __init__(self, name: str) -> None:
        spare = os.path.abspath(name)
        self._paths = [spare]
        wanted = int(os.environ.get(VINEFAST_OUTPUT_NBYTES) or 0)
        self.limit: int = (wanted or _UNKEPT_NBYTES) // 2
        self.kept_name: str = f"{os.uname().nodename}-{os.getpid()}-{os.path.basename(name)}"
        # Whether the program wants what is in the file, but will not find it there: True if not even a path is known.
        self._is_wanted = wanted > 0
        if kept := output_prefix(os.getpid()):
            self._paths.insert(0, os.path.join(kept[0], kept[1] + name))

    @property
    def path(self) -> str:
        """Where the file is."""
        for path in self._paths:
            if os.path.exists(path):
                return path
        return self._paths[0]

    def open(self) -> int:
        """Open the file for writing, or what there is in its place: the directory may be gone, or the disk full."""
        for path in self._paths:
            with suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
                with suppress(OSError):
                    os.fchmod(fd, _MODE)  # whatever umask, and whoever made it before
                return fd
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def is_to_be_sent(self, fd: int) -> bool:
        """Whether the program wants what is in the file, and the file is not where it looks."""
        if not self._is_wanted or len(self._paths) == 1:
            return self._is_wanted
        try:
            return not os.path.samestat(os.fstat(fd), os.stat(self._paths[0]))
        except OSError:
            return True

    def nbytes(self) -> int:
        """Give the size of the file; -1: there is none."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return -1

    def append(self, line: bytes) -> None:
        """Write a line from another process than the one whose output this is."""
        with suppress(OSError):
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            try:
                append_line(fd, os.fstat(fd).st_size, line)
            finally:
                os.close(fd)

    def tail(self, start: int) -> str:
        """Give the end of what was written, but nothing from before `start`; 0: also of the older file.

        Of a stack that Python has written there, the frames of vinefast are left out.
        """
        path = self.path
        data, end = _read_end(path, start, _TAIL_NBYTES)
        if (not start or start > end) and len(data) < _TAIL_NBYTES:
            # It was cut meanwhile.
            data = _read_end(_older(path), 0, _TAIL_NBYTES - len(data))[0] + data
        return without_own_frames(data.decode("utf-8", "replace"))[-_TAIL_NCHARS:]

    def pieces(self, start: int, end: int, was_cut: bool, fd: int = -1) -> list[tuple[int, bytes]]:
        """Give what lies between two offsets and is still there, each piece behind its offset.

        Parameters
        ----------
        start, end:
            What is negative was cut off last, and is in the older file.
        was_cut:
            Whether the file begins with a mark that says so, which is left out.
        fd:
            The file, if it is open.
        """
        found = []
        if start < 0:
            data, size = _read(_older(self.path if fd < 0 else self._path_of(fd)), start, min(end, 0))
            found.append((max(start, -size), data))
        if end > 0:
            start = max(start, 0)
            if fd >= 0:
                data = _pread(fd, start, end)
            else:
                data, _ = _read(self.path, start, end)
            if was_cut and not start and (line := _CONTINUED.match(data)):
                start, data = line.end(), data[line.end() :]
            found.append((start, data))
        return found

    def cut_if_large(self) -> int:
        """Do what `cut` does, in another process."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            return self.cut(fd)
        finally:
            os.close(fd)

    def cut(self, fd: int) -> int:
        """Move what the file holds to the older one; gives how many bytes it had, 0 if that was not done.

        Parameters
        ----------
        fd:
            The file, open for reading and appending.

        What another process writes just then may be lost.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # the supervisor and the slot's child do it both
        except OSError:
            pass  # this file system has no locks
        try:
            nbytes = os.fstat(fd).st_size
            if nbytes <= self.limit:
                return 0
            gone = _gone_before(fd)
            before = max(0, nbytes - self.limit)
            try:
                gone += _move(fd, before, _older(self._path_of(fd))) + before
                why = ""
            except OSError as error:
                gone += nbytes
                why = f" ({error.strerror})"
            os.ftruncate(fd, 0)
            with suppress(OSError):
                os.write(fd, mark(f"continued from the older file; {gone} bytes before that are gone{why}"))
            return nbytes
        except OSError:
            return 0
        finally:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)

    def _path_of(self, fd: int) -> str:
        for path in self._paths:
            with suppress(OSError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    return path
        raise FileNotFoundError(0, "the file has been removed")


def _read_end(path: str, start: int, most: int) -> tuple[bytes, int]:
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= end else 0, end - most))
            return file.read(most), end
    except OSError:
        return b"", 0


def _read(path: str, start: int, end: int) -> tuple[bytes, int]:
    """Give what lies between two offsets, which count from the end if they are not positive, and the size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b"", 0
    try:
        size = os.fstat(fd).st_size
        if start < 0:
            start, end = max(0, size + start), size + end
        return _pread(fd, start, end), size
    except OSError:
        return b"", 0
    finally:
        os.close(fd)


def _pread(fd: int, start: int, end: int) -> bytes:
    parts = []
    while start < end and (part := os.pread(fd, min(end - start, _CHUNK_NBYTES), start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _gone_before(fd: int) -> int:
    found = _GONE.search(os.pread(fd, _GONE_WITHIN_NBYTES, 0))
    return int(found[1]) if found else 0


def _move(fd: int, start: int, path: str) -> int:
    """Copy a file from `start` on to another; gives how much that other one held before."""
    new = f"{path}.{os.getpid()}"
    copy = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
    try:
        with suppress(OSError):
            os.fchmod(copy, _MODE)
        left = os.fstat(fd).st_size - start
        while left > 0 and (chunk := os.pread(fd, min(left, _CHUNK_NBYTES), start)):
            start += len(chunk)
            left -= len(chunk)
            while chunk:
                chunk = chunk[os.write(copy, chunk) :]
        try:
            held = os.stat(path).st_size
        except OSError:
            held = 0
        os.replace(new, path)
        return held
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    finally:
        os.close(copy)


class LogWatch:
    """The supervisor looks at the files of its slots: C code, and what calls have started, know no limit.

    Parameters
    ----------
    logs:
        The file and the memory of each slot.

    Attributes
    ----------
    look_at:
        Monotonic time in seconds of the next look.
    """

    def __init__(self, logs: Sequence[tuple[LogFile, SlotMemory]], clock: Callable[[], float] = time.monotonic) -> None:
        self._logs = logs
        self._sizes = [-1] * len(logs)
        self.look_at: float = clock() + _REST_S

    def look(self, now: float) -> None:
        """Cut what is too long."""
        has_grown = False
        for index, (log, memory) in enumerate(self._logs):
            nbytes = log.nbytes()
            has_grown |= nbytes > self._sizes[index] + log.limit // 8
            if nbytes > log.limit:
                memory.counters[layout.CUTTING] = 1
                try:
                    memory.counters[layout.CUT_BY_SUPERVISOR] += log.cut_if_large()
                finally:
                    memory.counters[layout.CUTTING] = 0
            self._sizes[index] = nbytes
        self.look_at = now + (_BUSY_S if has_grown else _REST_S)


_BUSY_S = 0.1
_REST_S = 1.0
