"""Functions by digest: a bounded cache in the child, and the bodies on the library's disk for all its children.

What has been forgotten costs a second journey of its body, or time to load it again: a call never depends on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import Any

from . import parsl_side
from .context import Bound, Contexts
from .failure import Unrunnable, pack_exception
from .protocol import STATUS_EXCEPTION, STATUS_UNKNOWN_FUNCTION

Function = Callable[..., Any]

# How much of what may lie on the disk all children together may add before one of them looks.
_UNSEEN_PART = 4
# How exactly the disk knows of the use of what is warm: to tell it costs as much as to run a small call.
_TOLD_S = 1.0


class _Warm:
    def __init__(self, function: Function, nbytes: int, context: bytes | None) -> None:
        self.function = function
        self.nbytes = nbytes
        self.context = context
        self.told_at = monotonic()


class FunctionCache:
    """One child's functions, least recently used first.

    A function object is kept from bundle to bundle, so that what it loaded and remembered stays warm.

    Parameters
    ----------
    directory:
        Where bodies are kept, shared by all children of the library; None: nowhere.
    contexts:
        Those that are loaded already.
    capacity:
        Functions to keep.
    max_nbytes:
        Of the bodies of what is kept, here and on the disk; the newest stays whatever its size.
    n_slots:
        Children that share the directory.

    Attributes
    ----------
    n_loaded:
        Functions that were ever loaded.
    """

    def __init__(
        self,
        directory: str | None,
        contexts: Contexts | None = None,
        capacity: int = 512,
        max_nbytes: int = 64 << 20,
        n_slots: int = 1,
    ) -> None:
        self.n_loaded: int = 0
        self._contexts = contexts or Contexts()
        self._capacity = max(1, capacity)
        self._max_nbytes = max_nbytes
        self._warm: dict[bytes, _Warm] = {}
        self._nbytes = 0
        self._bodies = None if directory is None else _Bodies(directory, max_nbytes, n_slots)

    def resolve(self, digest: bytes, body: bytes | None) -> Function:
        """Give the function of `digest`, or an `Unrunnable` in its place."""
        if body is not None and self._bodies is not None:
            self._bodies.save(digest, body)
        warm = self._warm.pop(digest, None)
        if warm is None:
            if body is None and self._bodies is not None:
                body = self._bodies.read(digest)
            if body is None:
                return Unrunnable(STATUS_UNKNOWN_FUNCTION, b"")
            try:
                warm = self._load(body)
            except Unrunnable as unrunnable:
                return unrunnable
            except BaseException as error:
                # Not kept: what was missing may be there next time.
                return Unrunnable(STATUS_EXCEPTION, pack_exception(error))
            self.n_loaded += 1
            self._nbytes += warm.nbytes
            self._warm[digest] = warm
            self._tidy()
        else:
            self._warm[digest] = warm
            if warm.context is not None:
                self._contexts.touch(warm.context)
            if self._bodies is not None and (now := monotonic()) >= warm.told_at + _TOLD_S:
                warm.told_at = now
                self._bodies.use(digest)
        return warm.function

    def holds(self, digests: list[bytes]) -> bool:
        """Whether `resolve` will load nothing for these."""
        return all([digest in self._warm for digest in digests])

    def _load(self, body: bytes) -> _Warm:
        function = parsl_side.deserialize_function(body)
        if isinstance(function, Bound):
            return _Warm(self._contexts.bind(function), len(body), function.context.digest)
        return _Warm(function, len(body), None)

    def _tidy(self) -> None:
        while len(self._warm) > 1 and (len(self._warm) > self._capacity or self._nbytes > self._max_nbytes):
            self._forget(next(iter(self._warm)))
        # A function holds its context, which would go on to fill the memory.
        for context in self._contexts.forgotten():
            for digest in [digest for digest, warm in self._warm.items() if warm.context == context]:
                self._forget(digest)

    def _forget(self, digest: bytes) -> None:
        self._nbytes -= self._warm.pop(digest).nbytes


class _Bodies:
    """The directory of bodies. Nobody else writes there but the library's children, and none waits for another.

    A file's time of change says when a child last needed it. A child that has added its part of what may go unseen
    removes the oldest until the rest fits.
    """

    def __init__(self, directory: str, max_nbytes: int, n_slots: int) -> None:
        self._directory = directory
        self._max_nbytes = max_nbytes
        self._unseen_max_nbytes = max_nbytes // (_UNSEEN_PART * n_slots)
        self._unseen_nbytes = 0

    def use(self, digest: bytes) -> None:
        """Note that a child needs what it has in memory."""
        try:
            _touch(self._path(digest))
        except OSError:
            pass

    def save(self, digest: bytes, body: bytes) -> None:
        path = self._path(digest)
        draft = f"{path}.{os.getpid()}"
        try:
            if _touch(path):
                return
            os.makedirs(self._directory, exist_ok=True)
            with open(draft, "wb") as file:
                file.write(body)
                file.flush()
                self._unseen_nbytes += _on_disk(os.fstat(file.fileno()))
            os.replace(draft, path)
            if self._unseen_nbytes > self._unseen_max_nbytes:
                self._tidy(path)
        except OSError:
            # A full disk only costs a second journey of the body.
            try:
                os.unlink(draft)
            except OSError:
                pass

    def read(self, digest: bytes) -> bytes | None:
        path = self._path(digest)
        try:
            with open(path, "rb") as file:
                body = file.read()
            _touch(path)
        except OSError:
            return None
        return body

    def _path(self, digest: bytes) -> str:
        return os.path.join(self._directory, digest.hex())

    def _tidy(self, newest: str) -> None:
        self._unseen_nbytes = 0
        found = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue  # another child was faster
                found.append((entry.path != newest, -status.st_mtime_ns, _on_disk(status), entry.path))
        found.sort()
        total = 0
        for is_other, _, nbytes, path in found:
            total += nbytes
            if is_other and total > self._max_nbytes:
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    pass


def _on_disk(status: os.stat_result) -> int:
    """Blocks, since small bodies take a whole one; some file systems choose them later than others."""
    return max(status.st_size, 512 * status.st_blocks)


def _touch(path: str) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True
