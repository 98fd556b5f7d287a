"""A tiny process that cleans up after the supervisor.

A worker ends a library by SIGKILL to its process group. The children then die with the supervisor (``PDEATHSIG``), but
what user code started in turn lives on, in the children's groups or in its own, and nobody is left to end it: but for
the janitor, which sleeps in a read of a pipe until the supervisor's end of it closes. It also ends what a worker leaves
that is killed while it has no library; and it keeps the pipe open on which the worker sends bundles, until the worker
knows that its library has ended: a worker that cannot send one there kills itself (TaskVine 7.14).
"""

from __future__ import annotations

import mmap
import os
import signal
from contextlib import suppress
from typing import NoReturn

from .process import Kin, end_processes, kill_processes, living, output_prefix
from .worker_link import WorkerLink

# What a pipe takes at once.
_ROOM_NBYTES = 65536


class Janitor:
    """The supervisor's side: a shared table of process groups.

    Forked before anything big is imported, so that it stays small.

    Parameters
    ----------
    n_groups:
        Entries of the table: one per slot, and one for the fork server.
    link:
        To the worker that is not to be survived by its transfer server.
    close:
        Other descriptors that the janitor must not hold open.
    """

    def __init__(self, n_groups: int, link: WorkerLink, close: tuple[int, ...]) -> None:
        self._groups = memoryview(mmap.mmap(-1, 8 * n_groups)).cast("Q")
        self._kin = Kin()
        library_pid = os.getpid()
        read_fd, self._fd = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            pid = -1  # one can live without
        if pid == 0:
            for fd in (self._fd, *close):
                os.close(fd)
            self._watch(read_fd, link, library_pid)
        os.close(read_fd)

    def note(self, index: int, pid: int) -> None:
        """Enter the group of a slot's child, or of the fork server; 0: it has none."""
        self._groups[index] = pid

    def close(self) -> None:
        """In a child: let go of the pipe, which must close when the supervisor ends."""
        os.close(self._fd)

    def tell(self, processes: dict[int, bytes]) -> None:
        """Name processes that are to end with the supervisor, which is about to; some of them may have hidden well."""
        text = b"".join(b"%d %s\n" % process for process in processes.items())
        try:
            os.write(self._fd, text[: text.rfind(b"\n", 0, _ROOM_NBYTES) + 1])
        except OSError:
            kill_processes(processes)  # there is no janitor

    def _watch(self, fd: int, link: WorkerLink, library_pid: int) -> NoReturn:
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for standard in range(3):
                os.dup2(null, standard)
            told = b""
            while chunk := os.read(fd, _ROOM_NBYTES):
                told += chunk
            named = {int(pid): started for pid, started in (line.split() for line in told.splitlines())}
            named.pop(os.getpid(), None)
            groups = set(self._groups) - {0}

            def find() -> dict[int, bytes]:
                link.clean_up_after_worker()
                return {**living(named), **self._kin.find(groups)}

            end_processes(find)
            _remove_empty_output(library_pid)
            link.outlive_library()
        finally:
            os._exit(0)


def _remove_empty_output(library_pid: int) -> None:
    """Most calls print nothing, and nobody wants a file of each of their slots."""
    kept = output_prefix(library_pid)
    if kept is None:
        return
    directory, prefix = kept
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and not entry.stat(follow_symlinks=False).st_size:
                os.unlink(entry.path)
