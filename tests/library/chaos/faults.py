"""What is done to a library's processes, to its disk and to its clock, and what they look like."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_CLONE_NEWNS = 0x20000

# Has the wall clock of all processes of a library jump by days, back and forth, each time that somebody looks at it.
JUMPING_CLOCK = """
import itertools, time
_offsets = itertools.cycle([0, 86400 * 400, -86400 * 3000, 7, -7])
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + next(_offsets)
time.time_ns = lambda: _time_ns() + next(_offsets) * 10**9
"""


def children(library_pid: int) -> list[psutil.Process]:
    """Give the children of a library, oldest first."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(library_pid).children()
    return []


def slots(library_pid: int, name: str = "slot-") -> list[int]:
    """Give the processes of a library that are a slot's, or else the fork server, as their standard output tells.

    What calls have started, which may have the same, is not among them.
    """
    found = []
    for child in children(library_pid):
        pid = child.pid
        with suppress(OSError, psutil.NoSuchProcess):
            is_own = os.getpgid(pid) == pid and child.cmdline() == psutil.Process(library_pid).cmdline()
            if is_own and re.search(rf"/{name}[^/]*\.log$", os.readlink(f"/proc/{pid}/fd/1")):
                found.append(pid)
    return found


def zombies(library_pid: int) -> list[int]:
    """Give the children of a library that have ended and that it has not waited for."""
    found = []
    for child in children(library_pid):
        with suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.append(child.pid)
    return found


def describe(library_pid: int) -> list[str]:
    """Say what the children of a library are."""
    found = []
    for child in children(library_pid):
        with suppress(psutil.NoSuchProcess):
            found.append(f"{child.pid} {child.status()} {child.name()} group {os.getpgid(child.pid)}")
    return found


def send_signal(pids: list[int], number: int) -> None:
    """Send a signal to each that is there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def all_of(library_pid: int) -> list[int]:
    """Give a library and all that comes from it."""
    with suppress(psutil.NoSuchProcess):
        return [library_pid, *(each.pid for each in psutil.Process(library_pid).children(recursive=True))]
    return []


def suspend(pid: int) -> None:
    send_signal([pid], signal.SIGSTOP)


def allow_descriptors(pid: int, most: int | None) -> None:
    """Let a process have no number from `most` on for a new descriptor; None: as many as ever."""
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most if most is not None else min(hard, 1024), hard))


def fill_disk(directory: Path) -> Path:
    """Leave no room on a disk, also not in the last pages of what a library writes; gives the file that takes it."""
    path = directory / "ballast"
    for log in [*directory.glob("libr.*/*.log"), *directory.glob("libr.*/.taskvine.stdout")]:
        with suppress(OSError), open(log, "ab") as file:
            file.write(b"\n" * (-file.tell() % resource.getpagesize()))
    with suppress(OSError), open(path, "ab", buffering=0) as file:
        for nbytes in (1 << 20, 4096, 1):
            with suppress(OSError):
                while file.write(bytes(nbytes)) == nbytes:
                    pass
    return path


@contextmanager
def own_mounts() -> Iterator[bool]:
    """What this thread mounts meanwhile, nobody else sees, and it goes with the process; gives whether it may mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNS):
            yield False
            return
        try:
            tried = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True)
            yield tried.returncode == 0
        finally:
            libc.setns(before, _CLONE_NEWNS)
    finally:
        os.close(before)


@contextmanager
def small_disk(directory: Path, nbytes: int) -> Iterator[None]:
    """A directory is a disk of that size meanwhile."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "vinefast-test", str(directory)], check=True)
    try:
        yield
    finally:
        # Lazily: what is being killed may still have files there.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
