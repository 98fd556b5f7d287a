"""Ends transfers from other workers of which no more comes.

A worker that fetches a file from another one forks, and the fork waits up to 900 s for bytes (TaskVine 7.14.5), even if
the other's host has been cut off and the manager has long given it up. Nobody can tell the fork: a worker that is told
to delete what it fetches aborts. But we are a child of the same worker, and a fork that is killed is to the worker a
transfer that failed, which the manager hears of.
"""

from __future__ import annotations

import os
import time

from .process import children_of, kill_processes, start_time

# Looks are counted, not seconds: a worker that was suspended with all its processes finds none of them guilty.
_N_LOOKS = 3
_LEAST_INTERVAL_S = 1.0


class TransferWatch:
    """Looks at the worker's forks now and then.

    Parameters
    ----------
    worker_pid:
        Whose forks.
    timeout_s:
        A transfer of which nothing comes for so long is ended; 0: none is.

    Attributes
    ----------
    look_at:
        Monotonic time in seconds of the next `look`; None: never.
    """

    def __init__(self, worker_pid: int, timeout_s: float) -> None:
        self._worker_pid = worker_pid
        self._program = _program(worker_pid)
        self._born = int(start_time(os.getpid()) or 0)
        self._interval_s = max(timeout_s / _N_LOOKS, _LEAST_INTERVAL_S)
        # By process: bytes that it had moved, and how many looks in a row have found no more.
        self._seen: dict[tuple[int, bytes], tuple[bytes, int]] = {}
        self.look_at = time.monotonic() + self._interval_s if timeout_s and self._program else None

    def look(self, now: float) -> None:
        """End the transfers that have moved nothing during the last looks."""
        self.look_at = now + self._interval_s
        seen, self._seen = self._seen, {}
        for pid, started in children_of(self._worker_pid).items():
            # The worker's transfer server is a fork, too, and waits for good reason; but it is older than any library.
            if int(started) <= self._born or _program(pid) != self._program:
                continue
            moved = _moved(pid)
            before, n_looks = seen.get((pid, started), (b"", 0))
            n_looks = n_looks + 1 if moved and moved == before else 0
            # Other forks wait for a program that they have started: curl, or a mini task.
            if n_looks >= _N_LOOKS and _sockets(pid) - _sockets(self._worker_pid):
                print(f"vinefast: ending a transfer, process {pid}, of which nothing comes any more", flush=True)
                kill_processes({pid: started})
            else:
                self._seen[pid, started] = (moved, n_looks)


def _program(pid: int) -> tuple[str, bytes] | None:
    """What runs there. Its arguments tell as well, for the executable may be the system's loader."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.readlink(f"/proc/{pid}/exe"), file.read()
    except OSError:
        return None


def _moved(pid: int) -> bytes:
    """Bytes read and written so far; empty if the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            return b"".join(file.readlines()[:2])
    except OSError:
        return b""


def _sockets(pid: int) -> set[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return {target for entry in entries if (target := os.readlink(entry.path)).startswith("socket:")}
    except OSError:
        return set()  # it has ended
