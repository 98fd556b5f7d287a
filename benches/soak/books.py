"""The books of a soak: each call, what it is to end as, what was done to the workers meanwhile, and what came of it."""

from __future__ import annotations

import collections
import errno
import queue
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from vinefast.errors import CallDied, TaskFailure

# How long after it a fault may still be what a call failed for: a worker has to find its way back.
AFTER_S = 90.0
# How long a future is looked at after its end, for whether it still says the same.
KEPT_S = 20.0
# A call may lose so many workers (the tune parameter max-losses).
LOSSES = 4
# Faults that may cost a call its worker.
COSTLY = (
    "worker killed",
    "library killed",
    "network cut",
    "worker's disk full",
    "worker suspended",
    "library suspended",
)
DISKS = ("worker's disk full", "run directory's disk full")
_NO_ROOM = ("No space left", "disk")


@dataclass
class Fault:
    """Something that was done; it has not been mended while `end` is infinite."""

    kind: str
    group: str
    begin: float
    end: float = float("inf")


@dataclass
class Call:
    """One call.

    `is_right` gets its value; `is_right_error` its exception, and the faults that it has lived through.
    """

    number: int
    kind: str
    group: str
    future: Future[Any]
    begin: float
    is_right: Callable[[Any], bool] | None
    is_right_error: Callable[[BaseException], bool] | None
    after: Callable[[], None] | None = None
    outcome: tuple[Any, BaseException | None] | None = None
    ended: float = 0.0


@dataclass
class Books:
    """All calls and all faults."""

    say: Callable[[str], None]
    live: dict[int, Call] = field(default_factory=dict)
    submitted: collections.Counter[str] = field(default_factory=collections.Counter)
    outcomes: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    faults: list[Fault] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    _ends: queue.SimpleQueue[tuple[Call, float]] = field(default_factory=queue.SimpleQueue)
    _kept: collections.deque[Call] = field(default_factory=collections.deque)

    def enter(self, call: Call) -> None:
        """A call was submitted."""
        self.live[call.number] = call
        self.submitted[call.kind] += 1
        # On whose thread it runs is the executor's business: it only notes.
        call.future.add_done_callback(lambda _: self._ends.put((call, time.monotonic())))

    def begin(self, kind: str, group: str) -> Fault:
        """A fault begins."""
        fault = Fault(kind, group, time.monotonic())
        self.faults.append(fault)
        return fault

    def settle(self) -> None:
        """Look at what has ended since the last time."""
        while True:
            try:
                call, when = self._ends.get_nowait()
            except queue.Empty:
                break
            if call.outcome is not None:
                self.doubled.append(f"{call.kind} {call.number}: its callback ran again")
                self.say(self.doubled[-1])
                continue
            call.outcome, call.ended = _outcome_of(call.future), when
            del self.live[call.number]
            self.longest_s = max(self.longest_s, when - call.begin)
            self._judge(call)
            self._kept.append(call)
        while self._kept and time.monotonic() - self._kept[0].ended > KEPT_S:
            self._look_again(self._kept.popleft())

    def close(self) -> None:
        """Nothing ends any more: what has not is lost."""
        self.settle()
        while self._kept:
            self._look_again(self._kept.popleft())
        for call in self.live.values():
            self.lost.append(f"{call.kind} {call.number} of {call.group}: {time.monotonic() - call.begin:.0f} s")
            self.say(f"lost: {self.lost[-1]}")

    def _look_again(self, call: Call) -> None:
        value, error = _outcome_of(call.future)
        assert call.outcome is not None
        if value is not call.outcome[0] or error is not call.outcome[1]:
            self.doubled.append(f"{call.kind} {call.number}: its future says something else now")
            self.say(self.doubled[-1])

    def _judge(self, call: Call) -> None:
        assert call.outcome is not None
        value, error = call.outcome
        if error is None:
            right = call.is_right is not None and call.is_right(value)
            name = "value"
        else:
            name = type(error).__name__
            right = call.is_right_error is not None and call.is_right_error(error)
            if not right and self._is_excused(call, error):
                right, name = True, f"{name} (a fault's)"
        self.outcomes[call.kind, name if right else f"{name} (WRONG)"] += 1
        if not right:
            what = f"value {value!r:.200}" if error is None else f"{type(error).__name__}: {error!s:.1500}"
            self.wrong.append(f"{call.kind} {call.number} of {call.group}: {what}")
            near = [f"{fault.kind} {call.ended - fault.begin:.1f} s before" for fault in self.met_by(call)]
            self.say(f"wrong after {call.ended - call.begin:.1f} s: {self.wrong[-1]}\n  faults: {near}")
        if call.after is not None:
            call.after()

    def met_by(self, call: Call, after_s: float = AFTER_S) -> list[Fault]:
        """Give the faults that a call has lived through, or whose consequences."""
        found = []
        for fault in reversed(self.faults):
            if fault.end + after_s >= call.begin and fault.begin <= call.ended and call.group in fault.group:
                found.append(fault)
            if call.begin - fault.begin > 10 * AFTER_S:
                break
        return found

    def _is_excused(self, call: Call, error: BaseException) -> bool:
        """Whether an exception is the consequence of what was done to the worker, and says so."""
        met = self.met_by(call)
        if isinstance(error, CallDied):
            # The slot's process alone was killed, with the call in it.
            return error.signal_number == 9 and any(f.kind == "slot killed" for f in self.met_by(call, 5.0))
        if _excusable_for_room(error) and any(fault.kind in DISKS for fault in met):
            return True
        if isinstance(error, TaskFailure) and error.result == "VINE_RESULT_MAX_RETRIES":
            # An output that finds no room here costs a worker its connection, each time that it is tried.
            is_output = call.kind == "writes an output" and _count(met, ("run directory's disk full",)) > 0
            return is_output or _count(met, COSTLY) >= LOSSES
        return False


def _excusable_for_room(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return any(word in str(error) for word in _NO_ROOM)


def _count(faults: Iterable[Fault], kinds: tuple[str, ...]) -> int:
    return sum(fault.kind in kinds for fault in faults)


def _outcome_of(future: Future[Any]) -> tuple[Any, BaseException | None]:
    try:
        error = future.exception(0)
    except CancelledError as cancelled:
        # Each time another object.
        return None, _CANCELLED if type(cancelled) is CancelledError else cancelled
    return (None, error) if error is not None else (future.result(0), None)


_CANCELLED = CancelledError()
