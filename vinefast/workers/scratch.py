"""Directories for the files of workers on this machine, which go with the program, however it ends."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress

from parsl.executors.taskvine import TaskVineFactoryConfig

_MEMORY_DIR = "/dev/shm"
_MEMORY_MIN_NBYTES = 2 << 30

_PREFIX = f"vinefast-scratch-{re.sub(r'[^A-Za-z0-9.]', '_', platform.node())}-"
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")

# Sleeps until the program says a word, or has ended without one: by a signal. Its workers then end by themselves, and
# may write a little more.
_JANITOR = """
trap '' HUP INT TERM
read -r _ && exit
for _ in 1 2 3 4 5 6; do rm -rf "$1"; sleep 0.5; done
"""


def local_scratch_dir(config: TaskVineFactoryConfig) -> str | None:
    """Choose where workers on this machine keep their files; None: where temporary files are.

    For every bundle a worker makes and removes a directory and two files, which takes half a millisecond on a disk and
    a tenth of that in memory. Calls work elsewhere, so what lies there is small.
    """
    if config.scratch_dir is not None or "TMPDIR" in os.environ:
        return config.scratch_dir
    try:
        memory = os.statvfs(_MEMORY_DIR)
    except OSError:
        return None
    roomy = memory.f_bavail * memory.f_frsize >= _MEMORY_MIN_NBYTES
    usable = not memory.f_flag & os.ST_NOEXEC and os.access(_MEMORY_DIR, os.W_OK | os.X_OK)
    return _MEMORY_DIR if roomy and usable else None


class Scratch:
    """A directory that is locked as long as this program lives.

    What is left when everything is killed at once, as by a batch system, is removed by `sweep` at the next start.

    Parameters
    ----------
    parent : str or None
        Where to make it; None: where temporary files are.
    janitor : bool
        Have a process of its own remove it after a program that was killed.
    """

    def __init__(self, parent: str | None, janitor: bool = True) -> None:
        self._fd = -1
        while self._fd < 0:
            self.path: str = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
            self._fd = _lock(self.path, fcntl.LOCK_EX)
        self._janitor: subprocess.Popen[bytes] | None = None
        if not janitor:
            return
        try:
            # Of another session than the program, whose signals are not for it.
            self._janitor = subprocess.Popen(
                ["/bin/sh", "-c", _JANITOR, "sh", self.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self._remove()
            raise

    def close(self) -> None:
        """Remove it."""
        self._remove()
        if self._janitor is not None:
            self._janitor.communicate(b"done\n")

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._fd)


def sweep(parent: str | None) -> None:
    """Remove what programs of this user on this host have left, but were killed before they could remove it."""
    parent = parent or tempfile.gettempdir()
    with suppress(OSError):
        for name in os.listdir(parent):
            if _NAME.fullmatch(name):
                _remove_if_left(os.path.join(parent, name))


def _remove_if_left(path: str) -> None:
    with suppress(OSError):
        if os.lstat(path).st_uid != os.geteuid():
            return
        fd = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB, required=True)
        if fd >= 0:
            # Who is just making it waits for the lock, and makes another one.
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


def _lock(path: str, operation: int, required: bool = False) -> int:
    """Open and lock a directory; gives -1 if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return -1
    try:
        try:
            fcntl.flock(fd, operation)
        except OSError:
            # Not every file system can. Then nobody takes it for left, either.
            if required:
                raise
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            return fd
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return -1
