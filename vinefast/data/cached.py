"""`CachedFile`: an input that TaskVine keeps on workers, for as long as its user says."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from parsl.data_provider.files import File

from vinefast._core import plan_of_call
from vinefast.data import archives as packed
from vinefast.library import trees
from vinefast.settings import rules

# TaskVine's vine_cache_level_t.
_LEVELS = {"call": 0, "workflow": 1, "worker": 2, "forever": 3}
_BLOCK_NBYTES = 1 << 20

# Digests of contents, by path, with the version that they are of; the oldest go first.
_digests: dict[str, tuple[tuple[int, ...], str]] = {}
_DIGESTS_MAX = 4096


class Caching(NamedTuple):
    """How TaskVine keeps an input.

    Attributes
    ----------
    key:
        What has the same key is declared once.
    label:
        What workers call the content; None: a name that nothing else has.
    level:
        TaskVine's ``vine_cache_level_t``.
    unpack:
        Whether the source is an archive, and calls see what is packed in it.
    linked:
        Whether calls see a symbolic link.
    version:
        Changes with the content.
    source:
        The path that TaskVine reads; what is there stays as long as this object.
    """

    key: str
    label: str | None
    level: int
    unpack: bool
    linked: bool
    version: int
    source: str


class CachedFile(File):
    """An input that TaskVine brings to workers and keeps there, even where they share this machine's file system.

    A `CachedFile` may be anywhere among the arguments of a call. The call gets a plain `parsl.File` in its place, whose
    ``filepath`` lies in the call's own sandbox. Elsewhere, and for other executors, a `CachedFile` with a path stands
    for the file at that path.

    Parameters
    ----------
    source : str or os.PathLike
        Path of a file or a directory, or a URL (``http``, ``https``, ``ftp``), which workers fetch with ``curl``.
    cache : "call", "workflow", "worker" or "forever"
        For how long a worker keeps the input: for one call; until the executor is shut down; until the worker ends; or
        beyond that, for workers that start later in the same place
        (``vine_worker --workspace=PATH --keep-workspace``). With "worker" and "forever", workers know the input by its
        content, so that the same content under two paths travels once; for that, the source is read when a call is
        submitted for the first time, and when the source has changed. With the other two, each path travels. A URL
        that is kept for "worker" or "forever" is taken for one whose content never changes.
    unpack : bool
        The source is a tarball (``.tar``, ``.tar.gz``, ``.tgz``, ``.tar.bz2``, ``.tar.xz``, or whatever the worker's
        ``tar`` can read), which is unpacked once per worker; calls see the directory.
    writable : bool
        Each call gets a copy of its own, which the call may change. Otherwise files are read-only, and a call that
        writes to one all the same, as root may, fails with `vinefast.InputChanged`; for files in directories
        nobody notices.

    Raises
    ------
    InvalidConfiguration
        If an argument cannot work.

    Notes
    -----
    A file that has changed is sent again: its size, time and inode are looked at when a call is submitted, and when the
    call is sent. Of a directory, sizes, times and modes of all that is in it are looked at when a call is submitted.
    Unpacked tarballs and directories are symbolic links to what all calls of the worker see, if not `writable`: files
    there are read-only, but new ones can be made, and nobody notices. Do not.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        cache: Literal["call", "workflow", "worker", "forever"] = "workflow",
        unpack: bool = False,
        writable: bool = False,
    ) -> None:
        rules.require("source", source, (_is_source, "a path, or an http, https or ftp URL"))
        rules.require("cache", cache, rules.one_of(*_LEVELS))
        rules.require("unpack", unpack, rules.FLAG)
        rules.require("writable", writable, rules.FLAG)
        super().__init__(source)
        if not urlsplit(self.url).scheme:
            # As it is, whatever a URL would make of it.
            self.path: str = self.url
            self.filename: str = os.path.basename(self.url)
        self.cache = cache
        self.unpack = unpack
        self.writable = writable
        self.is_remote: bool = self.scheme != "file"
        # Parsl has nothing to do before the call, whatever staging the executor has.
        self.scheme = "file"

    def cleancopy(self) -> CachedFile:
        """Make another object for the same input, as Parsl does for each call."""
        return CachedFile(self.url, self.cache, self.unpack, self.writable)

    __copy__ = cleancopy

    def __deepcopy__(self, memo: object) -> CachedFile:
        return self.cleancopy()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # Workers and other executors know Parsl, and need not know vinefast.
        plan = plan_of_call()
        if plan is not None:
            seen = plan.seen(self)
            return File, (seen.url,), vars(seen)
        return File, (self.url,), {"path": self.path, "filename": self.filename, "local_path": self.local_path}

    def as_file(self, local_path: str | None = None) -> File:
        """Make a plain `parsl.File`, which those who get it find at `local_path`."""
        file = File(self.url)
        file.path, file.filename = self.path, self.filename
        file.local_path = self.local_path if local_path is None else local_path
        return file

    @property
    def filepath(self) -> str:
        """Path of the source on this machine."""
        if self.is_remote and self.local_path is None:
            raise ValueError(f"{self.url} has a path on vinefast's workers only")
        return super().filepath

    def caching(self) -> Caching:
        """Tell how TaskVine is to keep what is there now.

        Raises
        ------
        OSError
            If the source cannot be read.
        """
        level = _LEVELS[self.cache]
        label, source, version = None, self.url, 0
        if self.is_remote:
            if level >= _LEVELS["worker"]:
                label = f"url-vinefast-{hashlib.blake2b(self.url.encode(), digest_size=16).hexdigest()}"
        else:
            source = os.path.abspath(self.path)
            status = os.stat(source)
            if stat.S_ISDIR(status.st_mode) and not self.unpack:
                return caching_of_directory(source, level)
            version = status.st_mtime_ns
            if level >= _LEVELS["worker"]:
                label = f"file-vinefast-{_digest(source, (version, status.st_size, status.st_ino))}"
        key = f"{level} {self.unpack:d} {label or source}"
        return Caching(key, label, level, self.unpack, self.unpack, version, source)


def caching_of_directory(directory: str, level: int = _LEVELS["workflow"]) -> Caching:
    """Tell how TaskVine is to keep what is in a directory now, given by its absolute path.

    Raises
    ------
    OSError
        If the directory cannot be read, or cannot be packed where it has to be.
    """
    tree = packed.look_at(directory)
    label = None
    if level >= _LEVELS["worker"]:
        kind = "file" if tree.is_plain else "tree"
        label = f"{kind}-vinefast-{_digest(directory, (tree.version,))}"
    key = f"{level} {not tree.is_plain:d} {label or directory}"
    if tree.is_plain:
        return Caching(key, label, level, False, True, tree.version, directory)
    archive = packed.archive_of(directory, tree.version)
    return Caching(key, label, level, True, True, archive.version, archive)


def _is_source(value: object) -> bool:
    if not rules.is_path(value):
        return False
    return urlsplit(os.fspath(value)).scheme in ("", "file", "http", "https", "ftp")  # type: ignore[call-overload]


def _digest(path: str, version: tuple[int, ...]) -> str:
    known = _digests.get(path)
    if known is not None and known[0] == version:
        return known[1]
    digest = hashlib.blake2b(digest_size=16)
    if os.path.isdir(path):
        for name, entry in trees.walk(path):
            mode = entry.stat(follow_symlinks=False).st_mode
            digest.update(f"{name}\0{mode}\0".encode(errors="surrogateescape"))
            if entry.is_symlink():
                digest.update(os.fsencode(os.readlink(entry.path)) + b"\0")
            elif stat.S_ISREG(mode):
                _read_into(digest, entry.path)
    else:
        digest.update(f"{os.stat(path).st_mode}\0".encode())
        _read_into(digest, path)
    while len(_digests) >= _DIGESTS_MAX:
        _digests.pop(next(iter(_digests)), None)
    _digests[path] = version, digest.hexdigest()
    return digest.hexdigest()


def _read_into(digest: Any, path: str) -> None:
    with open(path, "rb") as file:
        digest.update(f"{os.fstat(file.fileno()).st_size}\0".encode())
        while block := file.read(_BLOCK_NBYTES):
            digest.update(block)
