"""What TaskVine lays into sandboxes are links into the worker's cache: a call that writes to them changes them for all.

Permissions do not stop root. So a file is sealed before the first call sees it: a mode bit without meaning for files
says so, and the time of its last change gets a fraction of a second that is ours. Whoever writes moves that time, which
every call can see, before and after, even one of a later worker in the same workspace.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from typing import NamedTuple

from . import trees

# Whole milliseconds, which all file systems keep that keep fractions at all.
_FRACTION_NS = 271_000_000
_SECOND_NS = 10**9
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class Seal(NamedTuple):
    """A sealed file, as a call has it.

    Attributes
    ----------
    path:
        Where it is.
    inode:
        Its number; what the call puts in its place is another file.
    time_ns:
        Of its last change.
    is_kept:
        Whether the file system keeps what seals it.
    """

    path: str
    inode: int
    time_ns: int
    is_kept: bool

    def is_broken(self) -> bool:
        """Whether somebody has written to the file since it was sealed. One who has only changed its mode has not."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False  # the call has removed its name for it
        if not self.is_kept or status.st_ino != self.inode:
            return False
        if status.st_mtime_ns != self.time_ns:
            return True
        if not status.st_mode & stat.S_ISVTX:
            with suppress(OSError):
                os.chmod(self.path, stat.S_IMODE(status.st_mode) | stat.S_ISVTX)
        return False


def is_intact(path: str) -> bool:
    """Whether nobody has written to a file, as far as it is sealed."""
    return _is_intact(os.stat(path))


def seal(path: str, read_only: bool = False) -> Seal | None:
    """Seal a file; None if it was sealed and somebody has written to it."""
    status = os.stat(path)
    if not status.st_mode & stat.S_ISVTX:
        with suppress(PermissionError), open(path, "rb") as file:
            # Else what is written after another slot has sealed it could be taken for what was there before.
            with suppress(OSError):  # not every file system can; NFS, only for files that are open for writing
                fcntl.flock(file, fcntl.LOCK_EX)
            status = os.fstat(file.fileno())
            if not status.st_mode & stat.S_ISVTX:
                status = _mark(file.fileno(), status, read_only)
    if not _is_intact(status):
        return None
    return Seal(path, status.st_ino, status.st_mtime_ns, bool(status.st_mode & stat.S_ISVTX))


def _mark(descriptor: int, status: os.stat_result, read_only: bool) -> os.stat_result:
    time_ns = status.st_mtime_ns - status.st_mtime_ns % _SECOND_NS + _FRACTION_NS
    mode = stat.S_IMODE(status.st_mode) & ~(_WRITABLE if read_only else 0)
    os.utime(descriptor, ns=(status.st_atime_ns, time_ns))
    is_kept = os.fstat(descriptor).st_mtime_ns == time_ns
    os.fchmod(descriptor, mode | (stat.S_ISVTX if is_kept else 0))
    return os.fstat(descriptor)


def close_tree(directory: str) -> None:
    """Let only root write to the files of a directory, which all calls see; done once."""
    mode = os.stat(directory).st_mode
    if mode & stat.S_ISVTX:
        return
    with suppress(PermissionError):
        for _, entry in trees.walk(directory):
            if entry.is_file(follow_symlinks=False):
                os.chmod(entry.path, stat.S_IMODE(entry.stat().st_mode) & ~_WRITABLE)
        # Not the directories: who cannot write to them cannot remove what is in them.
        os.chmod(directory, stat.S_IMODE(mode) | stat.S_ISVTX)


def unseal(path: str) -> None:
    """Take the seal from a copy that is no longer like the file it was made of."""
    status = os.stat(path)
    if not _is_intact(status):
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~stat.S_ISVTX)


def _is_intact(status: os.stat_result) -> bool:
    is_sealed = stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_ISVTX
    return not is_sealed or status.st_mtime_ns % _SECOND_NS == _FRACTION_NS
