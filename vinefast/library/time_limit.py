"""The supervisor ends calls that run for longer than they may: it asks their child, and kills the child then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from . import memory as layout
from .failure import pack_timeout
from .grace import Grace
from .process import Unknown, frozen, kill_since, say, signal_main_thread
from .slot import Slot
from .stops import SIGNAL, grace_s

# How much later than it wanted this process looks if the machine is busy; it was suspended if it is more.
_BUSY_S = 1.0
_SHORTEST_LOOK_S = 0.005
_LONGEST_LOOK_S = 1.0


class _Watched:
    """What is known of a slot whose calls have limited time.

    Attributes
    ----------
    serial:
        Of its bundle.
    look_at:
        When something is to be done.
    call_ns:
        When the function has begun that ran when it was looked at last; 0: none did.
    suspended_s:
        How long this process was suspended since, and all that runs here with it.
    grace:
        The call's time to end, if it was asked to.
    """

    def __init__(self, serial: int, now: float) -> None:
        self.serial = serial
        self.look_at = now
        self.call_ns = 0
        self.suspended_s = 0.0
        self.grace: Grace | None = None


class TimeLimits:
    """The slots that run calls whose time is limited.

    A child notes when each of these begins (`timed`), so that a look now and then, while one runs, is all that is to be
    done here.

    Parameters
    ----------
    report:
        Is told of each child that is killed.
    """

    def __init__(self, report: Callable[[str], None] = say) -> None:
        self._report = report
        self._grace_s = grace_s()
        self._watched: dict[Slot, _Watched] = {}

    def moments(self) -> Iterable[float]:
        """When something is to be done."""
        return [watched.look_at for watched in self._watched.values()]

    def begin(self, slot: Slot, serial: int) -> None:
        """A slot's child begins with the bundle of that serial number, or has done so: it may be at another by now."""
        if slot.memory.counters[layout.SERIAL] == serial:
            self._watched[slot] = _Watched(serial, time.monotonic())

    def look(self, now: float) -> None:
        """Do what is due."""
        for slot, watched in [(slot, watched) for slot, watched in self._watched.items() if now >= watched.look_at]:
            counters = slot.memory.counters
            if not slot.pid or counters[layout.SERIAL] != watched.serial or counters[layout.FINISHED]:
                del self._watched[slot]  # the next child says so when it begins with what is left
            else:
                self._look(slot, watched, now)

    def _look(self, slot: Slot, watched: _Watched, now: float) -> None:
        counters = slot.memory.counters
        limit_s, call_ns = counters[layout.LIMIT_MS] / 1000, counters[layout.CALL_NS]
        begun = call_ns * 1e-9
        if call_ns != watched.call_ns:
            watched.call_ns, watched.suspended_s, watched.grace = call_ns, 0.0, None
        late_s = now - max(watched.look_at, begun)
        if late_s > _BUSY_S:
            watched.suspended_s += late_s
        # Not only when its time is over: another call may have begun by then, or all of us be suspended meanwhile.
        watched.look_at = now + min(max(limit_s / 4, _SHORTEST_LOOK_S), _LONGEST_LOOK_S)
        if not call_ns:
            return
        end = begun + limit_s + watched.suspended_s
        if now < end:
            watched.look_at = min(end, watched.look_at)
        else:
            with suppress(Unknown):  # at the next look
                self._end_call(slot, watched, now)

    def _end_call(self, slot: Slot, watched: _Watched, now: float) -> None:
        limit_s = slot.memory.counters[layout.LIMIT_MS] / 1000
        if watched.grace is None:
            self._ask(slot, watched.call_ns)
            watched.grace = Grace(self._grace_s, now)
            watched.look_at = min(watched.grace.look_at, watched.look_at)
        elif not watched.grace.look(now):
            watched.look_at = min(watched.grace.look_at, watched.look_at)
        elif self._kill(slot, watched.call_ns, limit_s):
            del self._watched[slot]

    @staticmethod
    def _ask(slot: Slot, call_ns: int) -> None:
        slot.stack.ask(slot.pid)
        slot.stops.ask_overdue(call_ns)
        signal_main_thread(slot.pid, SIGNAL)

    def _kill(self, slot: Slot, call_ns: int, limit_s: float) -> bool:
        with frozen(slot.pid) as is_frozen:
            if not is_frozen or slot.memory.counters[layout.CALL_NS] != call_ns:
                return False
            slot.timed_out = pack_timeout(limit_s, slot.stack.read())
            self._report(f"the child of slot {slot.index} is killed: its call has run for longer than {limit_s:.10g} s")
            kill_since(slot.pid, call_ns, slot.index)
            return True
