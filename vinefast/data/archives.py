"""Directories of this machine that travel as one file, since TaskVine cannot carry what is in them."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from typing import NamedTuple

from vinefast.library import trees
from vinefast.workers.scratch import Scratch, sweep

# By directory, with the version that they are of; the oldest go first. What calls need stays until they are done.
_archives: dict[str, tuple[int, Archive]] = {}
_ARCHIVES_MAX = 64

# Where they lie, and the process whose they are.
_place: tuple[Scratch, int] | None = None


class Tree(NamedTuple):
    """What a look at all that is in a directory has told.

    Attributes
    ----------
    version:
        Changes with names, sizes, times and modes.
    is_plain:
        Whether TaskVine can carry it.
    """

    version: int
    is_plain: bool


class Archive(str):
    """The path of an archive, which is removed with the last reference to this."""

    version: int

    @classmethod
    def of(cls, directory: str) -> Archive:
        """Pack a directory."""
        archive = cls(os.path.join(tempfile.mkdtemp(dir=_directory()), f"{os.path.basename(directory)[:50]}.tar"))
        weakref.finalize(archive, _remove, os.path.dirname(archive), os.getpid())
        trees.pack(directory, archive)
        archive.version = os.stat(archive).st_mtime_ns
        return archive


def look_at(directory: str) -> Tree:
    """Look at all that is in a directory, which takes some microseconds per entry."""
    digest = hashlib.blake2b(digest_size=8)
    is_plain = trees.is_plain("", os.stat(directory).st_mode)
    for name, entry in trees.walk(directory):
        status = entry.stat(follow_symlinks=False)
        digest.update(
            f"{name}\0{status.st_size} {status.st_mtime_ns} {status.st_mode}\0".encode(errors="surrogateescape")
        )
        is_plain = is_plain and trees.is_plain(entry.name, status.st_mode)
    return Tree(int.from_bytes(digest.digest(), "little"), is_plain)


def archive_of(directory: str, version: int) -> Archive:
    """Return an archive of a directory, packed once per version of the directory.

    Raises
    ------
    OSError
        If something in it cannot be read, or there is no room for the archive.
    """
    _directory()  # before anything else: a fork lets go of its parent's archives there
    known = _archives.pop(directory, None)
    archive = known[1] if known is not None and known[0] == version else Archive.of(directory)
    while len(_archives) >= _ARCHIVES_MAX:
        _archives.pop(next(iter(_archives)), None)
    _archives[directory] = version, archive
    return archive


def _directory() -> str:
    global _place
    if _place is None or _place[1] != os.getpid():
        _archives.clear()  # a fork has those of its parent, who may remove them
        sweep(None)
        _place = Scratch(None), os.getpid()
        atexit.register(_close, *_place)
    return _place[0].path


def _close(scratch: Scratch, pid: int) -> None:
    if pid == os.getpid():
        scratch.close()


def _remove(directory: str, pid: int) -> None:
    if pid == os.getpid():
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)
