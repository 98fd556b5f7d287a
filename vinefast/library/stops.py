"""Which calls of a slot's bundle are to end although they run: the supervisor says it, the slot's child reads it."""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Iterable

from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .protocol import VINEFAST_STOP_GRACE_S

SIGNAL = signal.SIGRTMAX - 1
"""Tells a child to read. Hardly any program uses it, and what a call executes has it at its default."""

# 64-bit integers, before the 32-bit indices.
_SERIAL = 0  # of the bundle that this is about
_COUNT = 1  # indices that are valid
_READ = 2  # as many of them has the child read
_OVERDUE = 3  # when the call has begun that has run for too long; 0: none has
_HEAD = 4
MAX_INDICES = 4096  # as VF_SIZING_MAX_CALLS


def grace_s() -> float:
    """How long a call has to end that is asked to, before its process is killed."""
    return float(os.environ.get(VINEFAST_STOP_GRACE_S) or 0.5)


class Stops:
    """Memory that a slot's child shares with the supervisor."""

    def __init__(self) -> None:
        view = memoryview(mmap.mmap(-1, 8 * _HEAD + 4 * MAX_INDICES))
        self._head = view[: 8 * _HEAD].cast("Q")
        self._indices = view[8 * _HEAD :].cast("I")

    def ask(self, serial: int, indices: Iterable[int]) -> None:
        """Of the bundle of that serial number, these calls are to end. The supervisor's."""
        head = self._head
        if head[_SERIAL] != serial:
            # Last of all: until then, nobody believes the rest.
            head[_SERIAL] = head[_COUNT] = head[_READ] = 0
            head[_SERIAL] = serial
        count = head[_COUNT]
        known = {*self._indices[:count]}
        for index in indices:
            if index not in known and count < MAX_INDICES:
                self._indices[count] = index
                count += 1
        head[_COUNT] = count

    def is_read(self) -> bool:
        """Whether the child has read all of it."""
        return self._head[_READ] == self._head[_COUNT]

    def ask_overdue(self, call_ns: int) -> None:
        """The call that has begun then is to end. The supervisor's."""
        self._head[_OVERDUE] = call_ns

    def overdue(self) -> int:
        """When the call has begun that is to end since it runs for too long; 0: there is none. The child's."""
        return self._head[_OVERDUE]

    def read(self, serial: int) -> set[int]:
        """Give the calls of the bundle of that serial number that are to end. The child's."""
        head = self._head
        if head[_SERIAL] != serial:
            return set()
        count = head[_COUNT]
        head[_READ] = count
        return {*self._indices[:count]}
