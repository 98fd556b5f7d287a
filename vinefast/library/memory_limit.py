"""Calls that take more memory than they may are ended alone: the supervisor looks at what their slot's processes take.

Nothing is looked at while no call that runs has a limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import memory as layout
from .frame import FrameError
from .memory_usage import Tree
from .out_of_memory import Cause
from .process import Unknown, frozen, kill_group, kill_processes, say, without_trackers
from .protocol import COMMAND_LIMITED, VINEFAST_MEMORY_LIMIT_MB

if TYPE_CHECKING:
    from .slot import Slot  # which the regular mode does not need

_MB = 1 << 20
_LIMIT_NDIGITS = 18

# The looks at each slot may take such a part of a core, and the measurements of all slots as much. Those of each may
# take some time before, and so may the first one of each process: a call that starts many is not to be found out late.
_MOST_LOAD = 1 / 250
_AT_ONCE_S = 0.2
# Between two looks at a process that has much room left, and at one that has little.
_LONGEST_PAUSE_S = 0.5
_SHORTEST_PAUSE_S = 0.02
# Of one look, after which the supervisor sees to others.
_LONGEST_LOOK_S = 0.02
_PAUSE_WITHIN_S = 0.002
# How fast memory is filled at the most, in bytes per second.
_GROWTH = 4e9


def split_limit(message: bytes) -> tuple[int, bytes]:
    """Split a worker's message into what each call of the bundle may take, in bytes (0: any), and the rest of it.

    Raises
    ------
    FrameError
        If it begins so, and does not say that.
    """
    if not message.startswith(COMMAND_LIMITED):
        return 0, message
    limit, _, rest = message[len(COMMAND_LIMITED) :].partition(b" ")
    if not limit.isdigit() or len(limit) > _LIMIT_NDIGITS:
        raise FrameError(f"message with a limit of memory that is none: {message[:80]!r}")
    return int(limit) * _MB, rest


def limit_of_environment() -> int:
    """Give what the call of a task in regular mode may take, in bytes; 0: any."""
    return int(os.environ.get(VINEFAST_MEMORY_LIMIT_MB) or 0) * _MB


class Gauge:
    """What one process, with all that comes from it, takes of what it may.

    Parameters
    ----------
    tree:
        The processes.
    limit:
        In bytes.

    Attributes
    ----------
    peak:
        The most that was seen.
    """

    def __init__(self, tree: Tree, limit: int) -> None:
        self.tree = tree
        self.limit = limit
        self.peak: int = 0
        self._time_left = _AT_ONCE_S
        self._looked_at = time.monotonic()

    def exceeds(self) -> bool:
        """Find out whether they take too much, however long that takes."""
        self.tree.look()
        used = self.tree.measure()
        self.peak = max(self.peak, used)
        return used > self.limit

    def look(self, n_gauges: int = 1) -> tuple[bool, float]:
        """Look briefly whether they may take too much, and in how many seconds to look again, if so many are looked at.

        Only what may be too much is measured. What is not, as far as is known, waits for no measurement: a look tells
        what it has grown by.
        """
        now, began = time.monotonic(), time.thread_time()
        used, finds_more = self.tree.look(), True
        measured_at = time.thread_time()
        n_known, n_measured = self.tree.n_measured(), 0
        was_too_much = used > self.limit
        while used > self.limit and finds_more and time.monotonic() - now < _LONGEST_LOOK_S:
            finds_more = self.tree.measure_one()
            n_measured += finds_more
            used = self.tree.bound()
        if self._time_left > 0 and self.tree.resident() > self.limit >= used:
            self.tree.measure_one()
            n_measured += 1
            used = self.tree.bound()
        self.peak = max(self.peak, min(used, self.limit))
        load = _MOST_LOAD / n_gauges
        self._time_left = min(_AT_ONCE_S, self._time_left + (now - self._looked_at) * load)
        self._looked_at = now
        if n_measured:
            n_again = n_measured - (self.tree.n_measured() - n_known)
            self._time_left -= (time.thread_time() - measured_at) * n_again / n_measured
        if used > self.limit >= self.tree.known() and finds_more and self.tree.has_changed():
            # Not all have been measured in this time, and those that have do not exceed it by themselves.
            self._time_left -= measured_at - began
            return False, max(_PAUSE_WITHIN_S, -self._time_left / load)
        pause = min(max((self.limit - used) / _GROWTH, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        pause = max(pause, (measured_at - began) / _MOST_LOAD, -self._time_left / load if was_too_much else 0.0)
        return used > self.limit, pause


class _Watched:
    """What is known of a slot's child that runs calls with a limit."""

    def __init__(self, slot: Slot) -> None:
        assert slot.bundle is not None
        self.pid = slot.pid
        self.gauge = Gauge(Tree(slot.pid, slot.index), slot.bundle.memory_limit)
        self.look_at = 0.0


class MemoryLimits:
    """The slots whose calls have a limit."""

    def __init__(self) -> None:
        self._watched: dict[Slot, _Watched] = {}

    def moments(self) -> Iterable[float]:
        """When something is to be done."""
        return [watched.look_at for watched in self._watched.values()]

    def begin(self, slot: Slot, now: float) -> None:
        """A slot has a bundle whose calls have a limit."""
        assert slot.bundle is not None
        watched = self._watched.get(slot)
        if watched is None or watched.pid != slot.pid:
            watched = self._watched[slot] = _Watched(slot)
        watched.gauge.peak = 0
        if watched.gauge.limit != slot.bundle.memory_limit or not watched.look_at:
            watched.gauge.limit = slot.bundle.memory_limit
            watched.look_at = now + _SHORTEST_PAUSE_S

    def look(self, now: float) -> None:
        """Do what is due."""
        for slot in [slot for slot, watched in self._watched.items() if now >= watched.look_at]:
            self._look(slot, now)

    def _look(self, slot: Slot, now: float) -> None:
        watched, bundle = self._watched[slot], slot.bundle
        if bundle is None or not bundle.memory_limit:
            del self._watched[slot]
            return
        if slot.pid != watched.pid:  # another child goes on with the bundle
            watched = self._watched[slot] = _Watched(slot)
        exceeds, pause = watched.gauge.look(len(self._watched)) if slot.pid else (False, _SHORTEST_PAUSE_S)
        watched.look_at = now + pause
        try:
            has_looked = not exceeds or self._end_call(slot, watched.gauge)
        except Unknown:
            has_looked = False
        if not has_looked:
            watched.look_at = now + max(pause, _LONGEST_PAUSE_S)

    def _end_call(self, slot: Slot, gauge: Gauge) -> bool:
        """Kill the child if it is at a call and still takes too much; tells whether it was not suspended meanwhile."""
        with frozen(slot.pid) as is_frozen:
            if not is_frozen:
                return False
            # Meanwhile, the call may have ended, or given memory back.
            if slot.is_busy() and slot.memory.counters[layout.STAGE] != layout.OUTSIDE and gauge.exceeds():
                slot.cause = Cause(gauge.limit, gauge.peak)
                peak_mb, limit_mb = gauge.peak // _MB, gauge.limit // _MB
                say(f"the child of slot {slot.index} is killed: its call takes {peak_mb} MB, and may take {limit_mb}")
                kill_group(slot.pid)
                kill_processes(without_trackers(gauge.tree.processes))
            return True

    def peak(self, slot: Slot) -> int:
        """Give the most that was seen of a slot's child; 0: its calls had no limit."""
        watched = self._watched.get(slot)
        return watched.gauge.peak if watched is not None and watched.pid == slot.pid else 0
