"""What a worker leaves that is killed.

It forks its transfer server, and a process for each file that it fetches from another worker or serves to one, which
may wait for an hour for a peer that stands still. All of them hold the worker's connection to the manager open, so that
the manager takes the worker for one that is still there, with all its calls.

A call, or a library, may start when its worker is gone already, since Python takes its time to start. It knows the
forks by the directory that the worker was in, and that they are in still.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from .process import (
    children_of,
    descendants_of,
    directory_of,
    is_gone,
    kill_processes,
    living,
    program_of,
    sockets_of,
    started_at,
)

_PAUSE_S = 0.01
_ROUNDS = 100


class WorkerForks:
    """A worker's forks, those to come included, as long as it has the connections that it has now.

    Parameters
    ----------
    worker_pid:
        The worker, as far as is known. We are in the sandbox of one of its tasks.

    Attributes
    ----------
    worker_was_there:
        Whether it had not been killed before this object was made.
    are_there:
        Whether the worker had some when this object was made.
    """

    def __init__(self, worker_pid: int) -> None:
        self._worker = started_at(worker_pid)
        # Whoever started it may have left a socket of his own open to it, and to other workers. These are elsewhere.
        self._program, self._directory = program_of(worker_pid), directory_of(worker_pid)
        # It has the first three from whoever started it, who may have them, too.
        self._sockets = {target for fd, target in sockets_of(worker_pid).items() if fd > 2}
        self._workspace = os.path.dirname(directory_of(os.getpid()))
        # What the worker was may be somebody else by now: who has adopted us, or has its number.
        self.worker_was_there: bool = directory_of(worker_pid) == self._workspace or not self._find_left()
        if not self.worker_was_there:
            self._worker = {}
        self.are_there: bool = any(self._is_one(pid) for pid in children_of(worker_pid))

    def _is_one(self, pid: int) -> bool:
        return (
            bool(self._program)
            and program_of(pid) == self._program
            and directory_of(pid) == self._directory
            and not self._sockets.isdisjoint(sockets_of(pid).values())
        )

    def _find_left(self) -> dict[int, bytes]:
        """What is in the worker's directory, not below it, and has started before us: not a worker that follows it, nor
        a shell, which has no connection.
        """
        own = [int(started) for started in started_at(os.getpid()).values()]

        def is_left(pid: int) -> bool:
            if directory_of(pid) != self._workspace or not any(fd > 2 for fd in sockets_of(pid)):
                return False
            return bool(own) and all(int(started) <= own[0] for started in started_at(pid).values())

        return _find(is_left)

    def _find(self) -> dict[int, bytes]:
        return _find(self._is_one) if self.worker_was_there else self._find_left()

    def end_without_worker(self) -> bool:
        """Kill them if the worker is no more, and tell whether that is so."""
        gone = all(is_gone(pid, started) for pid, started in self._worker.items())
        for _ in range(_ROUNDS if gone else 0):
            # The transfer server may just be forking.
            if not (left := self._find()):
                break
            kill_processes(left)
            time.sleep(_PAUSE_S)
        return gone


def _find(is_one: Callable[[int], bool]) -> dict[int, bytes]:
    """Give other processes that are so, and what they run."""
    found: dict[int, bytes] = {}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return found  # for lack of a descriptor: another look will find them
    for pid in pids:
        if pid != os.getpid() and is_one(pid):
            found |= {**started_at(pid), **descendants_of(pid)}
    found.pop(os.getpid(), None)
    return living(found)
