"""What processes of the library do to themselves and to each other: descriptors, deaths, logs."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import stat
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Room for what faulthandler tells, which in a child of the nursery comes from deep down.
_LOG_TAIL_NBYTES = 4096


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel for `signal_number` when the parent dies; best effort, Linux only."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    except (OSError, AttributeError):
        pass


def adopt_orphans() -> bool:
    """Become the parent of all descendants whose own parent ends; tells whether that worked. Linux only."""
    try:
        return ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def identity(fd: int) -> tuple[int, int] | None:
    """Tell what a descriptor stands for from what it may stand for later; None: it is closed."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def has_ended(pid: int) -> bool:
    """Tell whether a child has ended; it stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def reap_others(own: set[int]) -> None:
    """Wait for children that have ended, up to the first of `own`, which somebody else waits for."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)


def close_inherited_pipes(keep: set[int]) -> None:
    """Close pipes and sockets other than standard ones and `keep`.

    The worker's processes inherit each other's pipe ends; one that is kept open here would hide a worker's death from
    another library.
    """
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd <= 2 or fd in keep:
            continue
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                os.close(fd)
        except OSError:
            pass


def lead_own_group() -> None:
    """Become the leader of a process group.

    The worker asks for that too, but from its side of the fork, where it comes too late if this program has started by
    then. It would go on to kill a group that does not exist, and wait for the end of a process that nobody killed.
    """
    try:
        os.setpgid(0, 0)
    except OSError:
        pass  # leads a session already


def children_of(pid: int) -> dict[int, bytes]:
    """Give the children of a process, each with its start time, which tells it from a later process of its number."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            children = [int(child) for child in file.read().split()]
    except OSError:
        return {}
    return {child: started for child in children if (started := _start_time(child))}


def kill_processes(processes: dict[int, bytes]) -> None:
    """SIGKILL those that still run."""
    for pid, started in processes.items():
        if _start_time(pid) == started:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def _start_time(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before it may hold anything.
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return b""


def kill_group(pid: int) -> None:
    """SIGKILL a child and all of its process group."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def flush_by_line() -> None:
    """Write out each line at once: what a call printed before it killed its process is what one wants to see."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def log_tail(path: str, start: int) -> str:
    """Give the end of a log, but nothing from before `start`."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start, end - _LOG_TAIL_NBYTES))
            return file.read(_LOG_TAIL_NBYTES).decode("utf-8", "replace")
    except OSError:
        return ""
