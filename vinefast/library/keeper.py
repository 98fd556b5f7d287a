"""A tiny process that cleans up after a supervisor that was killed outright.

A worker ends a library by SIGKILL to its process group. The children then die with the supervisor (``PDEATHSIG``), but
what user code started in turn lives in the children's groups, and nobody is left to kill those: but for the keeper,
which sleeps in a read of a pipe until the supervisor's end of it closes.
"""

from __future__ import annotations

import mmap
import os
import signal
from typing import NoReturn

from .process import kill_group


class Keeper:
    """The supervisor's side: a shared table of process groups.

    Forked before anything big is imported, so that it stays small.

    Parameters
    ----------
    n_groups:
        Entries of the table: one per slot, and one for the nursery.
    close:
        Descriptors that the keeper must not hold open.
    """

    def __init__(self, n_groups: int, close: tuple[int, ...]) -> None:
        self._groups = memoryview(mmap.mmap(-1, 8 * n_groups)).cast("Q")
        read_fd, self._fd = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            pid = -1  # one can live without
        if pid == 0:
            for fd in (self._fd, *close):
                os.close(fd)
            self._watch(read_fd)
        os.close(read_fd)

    def note(self, index: int, pid: int) -> None:
        """Enter the group of a slot's child, or of the nursery; 0: it has none."""
        self._groups[index] = pid

    def close(self) -> None:
        """In a child: let go of the pipe, which must close when the supervisor ends."""
        os.close(self._fd)

    def _watch(self, fd: int) -> NoReturn:
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for standard in range(3):
                os.dup2(null, standard)
            os.read(fd, 1)
            for pid in self._groups:
                if pid:
                    kill_group(pid)
        finally:
            os._exit(0)
