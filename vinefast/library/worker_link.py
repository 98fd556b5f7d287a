"""The supervisor's end of TaskVine's pipe protocol."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import signal
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .process import children_of, command_of, started_at
from .worker_forks import WorkerForks

_CHUNK_NBYTES = 1 << 20
# Of a message's length, which the worker writes as a number on a line.
_LENGTH_NBYTES = 24
_FIRST_LOOK_S = 0.001
_LAST_LOOK_S = 1.0
_PACKAGE = __name__.partition(".")[0].encode()


class NoMessage(ValueError):
    """What came is nothing that a worker says: nobody knows where its next message begins."""


class WorkerGone(Exception):
    """The worker closed its end, or is no more."""


class WorkerLink:
    """Two pipes and a signal.

    The worker sleeps up to five seconds with a result waiting if SIGCHLD lands at the wrong moment; `heal` repeats the
    signal while the out pipe holds unread bytes.

    Parameters
    ----------
    in_fd, out_fd:
        Pipe ends inherited from the worker.
    worker_pid:
        Whom to signal.

    Attributes
    ----------
    look_at:
        Monotonic time in seconds of the next `heal`; None while nothing is known to be unread.
    """

    def __init__(self, in_fd: int, out_fd: int, worker_pid: int) -> None:
        self.in_fd = in_fd
        self.out_fd = out_fd
        self.look_at: float | None = None
        self._look_again_s = _FIRST_LOOK_S
        self._worker_pid = worker_pid
        self._library_pid = os.getpid()
        self._library = started_at(self._library_pid)
        self._forks = WorkerForks(worker_pid)
        self._unread = bytearray()
        # One for all reads: one for each costs as much as the rest of a small message.
        self._chunk = memoryview(mmap.mmap(-1, _CHUNK_NBYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        for fd in (in_fd, out_fd):
            os.set_inheritable(fd, False)
        os.set_blocking(in_fd, False)
        try:
            # Room for a whole large message: the worker then does not wait for us in the middle of it.
            fcntl.fcntl(in_fd, fcntl.F_SETPIPE_SZ, _CHUNK_NBYTES)
        except (OSError, AttributeError):
            pass

    def announce(self, name: str, task_id: int, now: float) -> None:
        """Tell the worker who we are; it checks every field."""
        self._send(json.dumps({"name": name, "taskid": task_id, "exec_mode": "fork"}).encode(), now)

    def report(self, task_id: bytes, exit_code: int, now: float) -> None:
        """Tell the worker that a bundle is done."""
        self._send(b"%s %d" % (task_id, exit_code), now)

    def _send(self, body: bytes, now: float) -> None:
        message = b"%d\n%s" % (len(body), body)
        try:
            while message:
                message = message[os.write(self.out_fd, message) :]
        except BrokenPipeError:
            raise WorkerGone("the worker closed the pipe of results") from None
        self._signal()
        self._look_again_s = _FIRST_LOOK_S
        self.look_at = now + _FIRST_LOOK_S

    def _signal(self) -> None:
        try:
            os.kill(self._worker_pid, signal.SIGCHLD)
        except ProcessLookupError:
            raise WorkerGone("the worker is no more") from None
        except PermissionError:
            pass

    def heal(self, now: float) -> None:
        """Signal again if what was sent is still unread, ever more rarely."""
        (unread,) = struct.unpack("i", fcntl.ioctl(self.out_fd, termios.FIONREAD, b"\0\0\0\0"))
        if not unread:
            self.look_at = None
            return
        self._signal()
        self._look_again_s = min(2 * self._look_again_s, _LAST_LOOK_S)
        self.look_at = now + self._look_again_s

    @contextmanager
    def healing(self) -> Iterator[None]:
        """Heal by timer signal while the caller is busy with something long that is no event loop."""

        def look(*_: object) -> None:
            if self.look_at is None:
                return
            try:
                self.heal(time.monotonic())
            except WorkerGone:
                os._exit(0)
            if self.look_at is not None:
                signal.setitimer(signal.ITIMER_REAL, self._look_again_s)

        signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, self._look_again_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def clean_up_after_worker(self) -> bool:
        """Kill what the worker has left if it is no more, and tell whether that is so."""
        return self._forks.end_without_worker()

    def outlive_library(self) -> None:
        """Stay when the library has ended: until the worker knows it, and to clean up after the worker until it has
        another library that will.
        """
        pause_s = _FIRST_LOOK_S
        while not self.clean_up_after_worker() and (
            started_at(self._library_pid) == self._library or (self._forks.are_there and not self._has_successor())
        ):
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_LOOK_S)

    def _has_successor(self) -> bool:
        children = children_of(self._worker_pid).keys() - {self._library_pid}
        return any(_PACKAGE in command_of(pid) for pid in children)

    def receive(self) -> list[tuple[bytes, bytes]]:
        """Read what is there; give complete messages as (task id, ``COMMAND SANDBOX STDOUT_FILE``).

        Raises
        ------
        NoMessage
            If something else is.
        WorkerGone
            If there will be nothing more.
        """
        try:
            nbytes = os.readv(self.in_fd, [self._chunk])
        except BlockingIOError:
            return []
        if not nbytes:
            raise WorkerGone("the worker closed the pipe of messages")
        unread = self._unread
        unread += self._chunk[:nbytes]
        messages = []
        start = 0
        while True:
            line_end = unread.find(b"\n", start, start + _LENGTH_NBYTES)
            if line_end < 0 and len(unread) - start < _LENGTH_NBYTES:
                break
            if line_end < 0 or not unread[start:line_end].isdigit():
                raise NoMessage(f"the worker has sent {bytes(unread[start : start + 80])!r} in the place of a length")
            end = line_end + 1 + int(unread[start:line_end])
            if end > len(unread):
                break
            space = unread.find(b" ", line_end + 1, end)
            if space < 0:
                raise NoMessage(
                    f"the worker has sent {bytes(unread[line_end + 1 : end][:80])!r}, without a task's message"
                )
            messages.append((bytes(unread[line_end + 1 : space]), bytes(unread[space + 1 : end])))
            start = end
        del unread[:start]
        return messages
