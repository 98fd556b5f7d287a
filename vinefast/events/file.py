"""Reads the records of an event log, also while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vinefast.errors import EventLogError
from vinefast.events import layout

_CHUNK_NBYTES = 4 << 20


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


class EventFile:
    """One file of an event log, which may grow.

    Parameters
    ----------
    path : str
        Of the file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    EventLogError
        If it is something else, or from a newer vinefast.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: BinaryIO = open(path, "rb")
        self._rest = b""
        self.head: Head | None = None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def is_replaced(self) -> bool:
        """Whether its name is another file's by now, or nobody's."""
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return True

    def records(self) -> Iterator[tuple[int, memoryview]]:
        """Give all whole records that are there and were not given before: kind, and what follows the beginning."""
        while data := self._file.read(_CHUNK_NBYTES):
            data = self._rest + data
            view = memoryview(data)
            at = 0
            if self.head is None:
                if len(data) < layout.HEAD.size:
                    self._rest = data
                    continue
                self.head = self._read_head(data)
                at = layout.HEAD.size
            end = len(data)
            while at + layout.EVENT.size <= end:
                kind, _, nbytes = layout.EVENT.unpack_from(data, at)
                if nbytes < layout.EVENT.size or nbytes % 8:
                    raise EventLogError(f"{self.path} is damaged: a record of {nbytes} bytes")
                if at + nbytes > end:
                    break
                yield kind, view[at + layout.EVENT.size : at + nbytes]
                at += nbytes
            self._rest = data[at:]

    def _read_head(self, data: bytes) -> Head:
        magic, version, monotonic_ns, wall_ns, pid, generation = layout.HEAD.unpack_from(data)
        if magic != layout.MAGIC:
            raise EventLogError(f"{self.path} is no event log of vinefast's")
        if version != layout.VERSION:
            raise EventLogError(
                f"{self.path} is an event log of version {version}; this vinefast reads version {layout.VERSION}"
            )
        return Head(monotonic_ns, wall_ns, pid, generation)
