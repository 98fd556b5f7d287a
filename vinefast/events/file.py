"""Reads the records of an event log, also while it is written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from vinefast.errors import EventLogError
from vinefast.events import layout

_CHUNK_NBYTES = 4 << 20
# No longer one is written: vf_eventfile.c keeps so much in memory.
_RECORD_NBYTES = 16 << 20


@dataclass(frozen=True)
class Head:
    """What a file begins with.

    Attributes
    ----------
    monotonic_ns, wall_ns : int
        The same moment by the clock of the records, and since 1970.
    pid : int
        Of the program.
    generation : int
        How many files there were before.
    """

    monotonic_ns: int
    wall_ns: int
    pid: int
    generation: int

    def is_after(self, other: Head) -> bool:
        """Whether this is a later file of the same log."""
        return self.pid == other.pid and self.generation > other.generation


class EventFile:
    """One file of an event log, which may grow.

    Parameters
    ----------
    path : str
        Of the file.

    Attributes
    ----------
    head : Head
        What it begins with.

    Raises
    ------
    FileNotFoundError
        If there is none, or nothing is in it yet.
    EventLogError
        If it cannot be read, is something else, or from a newer vinefast.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: BinaryIO = _open(path)
        self._rest = b""
        self._is_amid = False
        try:
            self.head: Head = self._read_head()
        except BaseException:
            self._file.close()
            raise
        self._file.seek(layout.HEAD.size)

    @property
    def behind(self) -> str:
        """Say what is behind the last whole record that was given: of one that is being written, or was when its
        program was killed. In a file to which nothing is added any more, that is damage. Empty: nothing.
        """
        return f"its last {len(self._rest):,} bytes are no whole record" if self._rest and not self._is_amid else ""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def is_at(self, path: str) -> bool:
        """Whether this is the file of that name, and was not begun anew meanwhile."""
        try:
            is_same = os.path.samestat(os.fstat(self._file.fileno()), os.stat(path))
            return is_same and self.head == self._read_head()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(path, error) from None

    def records(self) -> Iterator[tuple[int, memoryview]]:
        """Give all whole records that are there and were not given before: kind, and what follows the beginning.

        Behind a damage, or one that was given and not taken, there are no more: nobody knows where they begin.

        Raises
        ------
        ValueError, struct.error
            If the file is damaged.
        """
        while not self._is_amid and (data := self._read()):
            self._is_amid = True
            data = self._rest + data
            view = memoryview(data)
            at, end = 0, len(data)
            while at + layout.EVENT.size <= end:
                kind, _, nbytes = layout.EVENT.unpack_from(data, at)
                if not layout.EVENT.size <= nbytes <= _RECORD_NBYTES or nbytes % 8:
                    raise ValueError(f"a record of {nbytes} bytes")
                if at + nbytes > end:
                    break
                body = view[at + layout.EVENT.size : at + nbytes]
                layout.check(kind, body)
                yield kind, body
                at += nbytes
            self._rest = data[at:]
            self._is_amid = False

    def _read(self) -> bytes:
        try:
            return self._file.read(_CHUNK_NBYTES)
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _read_head(self) -> Head:
        try:
            data = os.pread(self._file.fileno(), layout.HEAD.size, 0)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        if len(data) < layout.HEAD.size:
            raise FileNotFoundError(f"{self.path} has no beginning yet")
        magic, version, monotonic_ns, wall_ns, pid, generation = layout.HEAD.unpack(data)
        if magic != layout.MAGIC:
            raise EventLogError(f"{self.path} is no event log of vinefast's")
        if version != layout.VERSION:
            raise EventLogError(
                f"{self.path} is an event log of version {version}; this vinefast reads version {layout.VERSION}"
            )
        return Head(monotonic_ns, wall_ns, pid, generation)


def _open(path: str) -> BinaryIO:
    try:
        # Opening a named pipe would wait for a writer.
        file: BinaryIO = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise EventLogError(f"{path} is no file, and so no event log of vinefast's")
    return file


def _unreadable(path: str, error: OSError) -> EventLogError:
    return EventLogError(f"{path} cannot be read: {error.strerror}")


def open_log(path: str) -> list[EventFile]:
    """Open the files of a log: the one that is written, and before it the one that it has made room in, if it is there.

    Raises
    ------
    EventLogError
        If one is no such file.
    """
    files: list[EventFile] = []
    try:
        # In this order: what gets the other name meanwhile is found twice, and not missed.
        for name in (path, f"{path}.old"):
            with suppress(FileNotFoundError):  # also where nothing is in it yet
                files.insert(0, EventFile(name))
    except BaseException:
        for file in files:
            file.close()
        raise
    return files
