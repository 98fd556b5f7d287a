"""A slot's child ends the call that it is at, and leaves out others, because the supervisor says so (`stops`)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from operator import length_hint
from types import CodeType, FrameType

from . import memory as layout
from .memory import SlotMemory
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .process import (
    descendants_of,
    end_processes,
    kill_processes,
    living,
    orphans_of,
    slot_mark,
    started_after,
    without_trackers,
)
from .stops import SIGNAL, Stops

STOPPED = 64
"""In the place of a call's kind of payload: the call is to end before it begins."""

# For what an interrupted call has started. Shorter than that of the call, within which both have to end.
_GRACE_S = 0.1


class CallStopped(KeyboardInterrupt):
    """The program has cancelled the call that is running."""


class CallOverdue(CallStopped):
    """The call that is running has run for longer than it may."""


class Interruption:
    """What the child's loop is at, and what of it is to end.

    Parameters
    ----------
    stops, memory:
        Shared with the supervisor.
    adopter:
        The process whose child becomes what a call has started and has lost its own parent; None: any. That has other
        children, whose group this process may be in.
    slot:
        The slot that this process serves; None: there are none.

    Attributes
    ----------
    loop:
        The code that runs calls; its variable `last_ns` says when the one that runs has begun.
    """

    loop: CodeType | None = None

    def __init__(self, stops: Stops, memory: SlotMemory, adopter: int | None = None, slot: int | None = None) -> None:
        self._stops = stops
        self._memory = memory
        self._pid, self._group, self._adopter = os.getpid(), os.getpgrp(), adopter
        self._executed_mark = slot_mark(self._pid, slot)
        self._first = 0
        self._kinds: list[int] = []
        self._rest: Iterator[int] = iter(())
        # Calls of the bundle of that serial number: each is interrupted once.
        self._interrupted: tuple[int, set[int]] = (0, set())
        # Which call was interrupted since it runs for too long, by when it has begun.
        self._overdue_ns = 0
        self._started: dict[int, bytes] = {}

    def install(self) -> None:
        """Listen to the supervisor."""
        signal.signal(SIGNAL, self._on_signal)

    def begin(self) -> None:
        """A bundle, or another attempt at it, begins; no call of it yet."""
        self._kinds, self._rest = [], iter(())
        self.tidy_up()
        serial = self._memory.counters[layout.SERIAL]
        if self._interrupted[0] != serial:
            self._interrupted = (serial, set())

    def follow(self, first: int, kinds: list[int]) -> Iterator[int]:
        """Give an iterator of the kinds of the calls from an index on, with `STOPPED` in the place of some."""
        self._kinds = []  # an interruption between these lines finds no call
        self._rest = rest = iter(kinds)
        self._first = first
        self._kinds = kinds
        self._mark()
        return rest

    def _mark(self) -> set[int]:
        indices = self._stops.read(self._memory.counters[layout.SERIAL])
        for index in indices:
            at = index - self._first
            if 0 <= at < len(self._kinds):
                # What has been taken from the list is not looked at again.
                self._kinds[at] = STOPPED
        return indices

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a call has forked this process
        if self._is_cancelled():
            kind, why = CallStopped, "the call has been cancelled"
        elif self._is_overdue():
            kind, why = CallOverdue, "the call has run for longer than it may"
        else:
            return
        # As Ctrl-C does, which goes to all processes of a terminal.
        started = started_after(descendants_of(self._pid) | self._orphans(), self._began_ns(frame))
        self._started = without_trackers(started)  # this process goes on with them
        kill_processes(self._started, signal.SIGINT)
        # If the call has its record already, or another has none yet, the loop sees that: it bears strays.
        # Not by a variable, which would be part of its own traceback: what the call had would stay for long.
        raise kind(why)

    def _is_cancelled(self) -> bool:
        indices = self._mark()
        n_left = length_hint(self._rest)
        index = self._first + len(self._kinds) - n_left - 1
        is_running = self._memory.counters[layout.STAGE] == layout.RUNNING
        if index < self._first or index not in indices or index in self._interrupted[1] or not is_running:
            return False
        self._interrupted[1].add(index)
        return True

    def _is_overdue(self) -> bool:
        overdue_ns = self._stops.overdue()
        if not overdue_ns or self._memory.counters[layout.CALL_NS] != overdue_ns or self._overdue_ns == overdue_ns:
            return False
        self._overdue_ns = overdue_ns
        return True

    def _orphans(self) -> dict[int, bytes]:
        if self._adopter is None:
            return {}
        return orphans_of(self._pid, self._group, self._executed_mark, self._adopter)

    def tidy_up(self) -> None:
        """End what the interrupted call has started and left behind."""
        started, self._started = self._started, {}
        if started:
            end_processes(lambda: living(started), _GRACE_S)

    def _began_ns(self, frame: FrameType | None) -> int:
        while frame is not None and frame.f_code is not self.loop:
            frame = frame.f_back
        if frame is None:
            return time.monotonic_ns()
        variables = frame.f_locals
        began_ns: int = variables["last_ns"]
        if isinstance(variables, dict) and sys.gettrace() is sys.getprofile() is None:
            # Up to Python 3.12 a frame keeps this copy, and all that is in it: what the call was given, say. A function
            # that traces has it written back.
            variables.clear()
        return began_ns
