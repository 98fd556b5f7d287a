"""Lets transfers between workers begin at once, and ends those of which no more comes.

Others fetch files from our worker's transfer server, whose queue holds six of them. The kernel drops a seventh that
comes before the server has had its turn, and it tries again after a second: a shuffle took half as long again for that
(docs/performance.md). We are a child of that worker, and make the queue of its socket longer.

A worker that fetches a file from another one forks, and the fork waits up to 900 s for bytes (TaskVine 7.14.5), even if
the other's host has been cut off and the manager has long given it up. Nobody can tell the fork. But we are a child of
the same worker: we take the fork's connection from it, so that it says what has failed, and the worker and the manager
hear of that. Where the kernel does not let us have a worker's or a fork's sockets, queues stay as they are, and a fork
is killed, if it has begun to write.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterable, Iterator

from .process import children_of, kill_processes, open_files, say, sockets_of

# Looks are counted, not seconds: a worker that was suspended with all its processes finds none of them guilty.
_N_LOOKS = 3
_LEAST_INTERVAL_S = 1.0

# The same on all architectures. Python has the first one only where it was built with new headers.
_SYS_PIDFD_OPEN = 434
_SYS_PIDFD_GETFD = 438


def admit_more(worker_pid: int) -> None:
    """Let as many others as the kernel allows wait for the transfer server of a worker."""
    for connection in _copies(worker_pid, sockets_of(worker_pid)):
        with connection:
            if _is_tcp(connection) and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                connection.listen(socket.SOMAXCONN)


class TransferWatch:
    """Looks at the worker's children now and then.

    Parameters
    ----------
    worker_pid:
        Whose children.
    workspace:
        The worker's directory, without symbolic links.
    timeout_s:
        A transfer of which nothing comes for so long is ended; 0: none is.

    Attributes
    ----------
    look_at:
        Monotonic time in seconds of the next `look`; None: never.
    """

    def __init__(self, worker_pid: int, workspace: str, timeout_s: float) -> None:
        self._worker_pid = worker_pid
        self._transfers = os.path.join(workspace, "transfer", "")
        self._trash = os.path.join(workspace, "trash", "")
        self._interval_s = max(timeout_s / _N_LOOKS, _LEAST_INTERVAL_S)
        # By process: bytes that it had moved, and how many looks in a row have found no more.
        self._seen: dict[tuple[int, bytes], tuple[bytes, int]] = {}
        self.look_at = time.monotonic() + self._interval_s if timeout_s else None

    def look(self, now: float) -> None:
        """End the transfers that have moved nothing during the last looks."""
        self.look_at = now + self._interval_s
        seen, self._seen = self._seen, {}
        children = children_of(self._worker_pid)
        # The worker's transfer server has connections of its own, too, and is older than any library.
        oldest = int(children.get(os.getpid(), b"0"))
        for pid, started in children.items():
            moved = _moved(pid)
            before, n_looks = seen.get((pid, started), (b"", 0))
            n_looks = n_looks + 1 if moved and moved == before else 0
            self._seen[pid, started] = (moved, n_looks)
            # Other children are silent for good reason; only a transfer has its own connection, or a file open there.
            if n_looks < _N_LOOKS:
                continue
            # It is told first, and ends by itself, unless it is suspended.
            if n_looks < 2 * _N_LOOKS and int(started) >= oldest and self._disconnect(pid):
                continue
            if name := self._fetched(pid):
                self._end(pid, started, name)

    def _disconnect(self, pid: int) -> bool:
        """Shut the connections down that a child has and the worker does not; tells whether there were any."""
        shared = {*open_files(self._worker_pid).values()}
        if not shared:
            return False  # it has some: nobody can look now, and one of them is that to the manager
        own = [fd for fd, inode in sockets_of(pid).items() if inode not in shared]
        return any([_shut_down(connection) for connection in _copies(pid, own)])

    def _fetched(self, pid: int) -> str:
        for target in open_files(pid).values():
            if target.startswith(self._transfers):
                return target[len(self._transfers) :].partition("/")[0]
        return ""

    def _end(self, pid: int, started: bytes, name: str) -> None:
        path = self._transfers + name
        try:
            # A worker that finds no message here takes an uninitialized pointer for it, and aborts.
            with open(f"{path}.error", "w") as file:
                file.write("nothing came from the other worker any more\n")
            # A directory that is there already could not be fetched again.
            os.rename(path, f"{self._trash}{name}.{pid}")
        except OSError:
            return
        say(f"ending the transfer of {name}, of which nothing comes any more")
        kill_processes({pid: started})


def _copies(pid: int, fds: Iterable[int]) -> Iterator[socket.socket]:
    """Take sockets from a process that has them, as far as the kernel lets us."""
    syscall = ctypes.CDLL(None).syscall
    process = syscall(_SYS_PIDFD_OPEN, pid, 0)
    if process < 0:
        return
    try:
        for fd in fds:
            copy = syscall(_SYS_PIDFD_GETFD, process, fd, 0)
            if copy >= 0:
                yield socket.socket(fileno=copy)
    finally:
        os.close(process)


def _is_tcp(connection: socket.socket) -> bool:
    return connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM


def _shut_down(connection: socket.socket) -> bool:
    with connection:
        if not _is_tcp(connection) or connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        if not _connected(connection):
            # Workers try again at once, for 300 s (7.15): they shall hear of it in a few seconds that nobody answers.
            if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT) == 1:
                return True
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was about to connect, and has stopped
    return True


def _connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _moved(pid: int) -> bytes:
    """Bytes read and written so far; empty if the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            return b"".join(file.readlines()[:2])
    except OSError:
        return b""
