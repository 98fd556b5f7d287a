"""The supervisor ends calls that run: it asks their child, and kills the child if that does not help."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from . import memory as layout
from .frame import FrameError, decode_command, decode_frame, split_message
from .grace import Grace
from .memory import ResultFile
from .process import Unknown, frozen, kill_since, lacks_means, say, signal_main_thread
from .slot import Slot
from .stops import MAX_INDICES, SIGNAL, grace_s

# When to signal again to a child that has not read what it was asked.
_ASK_AGAIN_S = 0.05
_LAST_ASK_S = 5.0


def parse(command: bytes) -> dict[bytes, set[int]]:
    """Give the calls that a command for the supervisor is about: their indices by the task id of their bundle.

    Raises
    ------
    ValueError
        If the command does not say so.
    """
    calls: dict[bytes, set[int]] = {}
    for item in command.split()[1:]:
        task_id, _, indices = item.partition(b":")
        calls.setdefault(task_id, set()).update(map(_index_of, indices.split(b",")))
    return calls


def _index_of(text: bytes) -> int:
    if not text.isdigit() or int(text) >= MAX_INDICES:
        raise ValueError(f"{text[:20]!r} is no index of a call")
    return int(text)


class Asked:
    """What a slot's child was asked for.

    Attributes
    ----------
    serial:
        Of the bundle.
    graces:
        The time of grace, by call; calls that were named together have one.
    look_again_at:
        When to look again at what has not ended within it, by call.
    pause_s, ask_at:
        When to signal again, if the child has not read it.
    published, index:
        Where its records ended when it was frozen the last time, and at which call it was; -1: it was not.
    """

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.graces: dict[int, Grace] = {}
        self.look_again_at: dict[int, float] = {}
        self.pause_s = _ASK_AGAIN_S
        self.ask_at: float = 0.0
        self.published = self.index = -1

    def look_at(self) -> float:
        """When something is to be done."""
        again = self.look_again_at
        return min(self.ask_at, *(again.get(index, grace.look_at) for index, grace in self.graces.items()))

    def due(self, now: float) -> set[int]:
        """Give the calls to look at now."""
        for grace in {*self.graces.values()}:
            grace.look(now)
        over = {index for index, grace in self.graces.items() if grace.is_over()}
        # If one is to be looked at, all whose time is over are: one function may keep several of them from beginning.
        return over if any(now >= self.look_again_at.get(index, now) for index in over) else set()


class Stopping:
    """The slots that have a bundle of which calls are to end.

    A child has a time of grace between the question and the kill. To know which call it is at, the child is frozen:
    then no other call is killed that has just begun. While it loads a function, which may never end, it is killed if
    all calls that are to come and need that function are to end: then the function counts as one that kills its
    process.

    Parameters
    ----------
    home:
        Directory of the library.
    """

    def __init__(self, home: str) -> None:
        self._home = os.fsencode(home)
        self._grace_s = grace_s()
        self._asked: dict[Slot, Asked] = {}

    def moments(self) -> Iterable[float]:
        """When something is to be done."""
        return [asked.look_at() for asked in self._asked.values()]

    def begin(self, slot: Slot, now: float) -> None:
        """Of the bundle that a slot has, some calls are to end: ask its child, if it has one."""
        bundle = slot.bundle
        assert bundle is not None
        asked = self._asked.get(slot)
        if asked is None or asked.serial != bundle.serial:
            asked = self._asked[slot] = Asked(bundle.serial)
        grace = Grace(self._grace_s, now)
        for index in bundle.stopped:
            asked.graces.setdefault(index, grace)
        slot.stops.ask(bundle.serial, bundle.stopped)
        self._signal(slot, asked, now)

    @staticmethod
    def _signal(slot: Slot, asked: Asked, now: float) -> None:
        # Ever more rarely: the call that runs need not be one that is to end, and C code may take it for an error.
        asked.ask_at = now + asked.pause_s
        asked.pause_s = min(2 * asked.pause_s, _LAST_ASK_S)
        if slot.pid:
            with suppress(Unknown):  # at the next time
                signal_main_thread(slot.pid, SIGNAL)

    def look(self, now: float) -> None:
        """Do what is due."""
        for slot, asked in [(slot, asked) for slot, asked in self._asked.items() if now >= asked.look_at()]:
            self._look(slot, asked, now)

    def _look(self, slot: Slot, asked: Asked, now: float) -> None:
        bundle = slot.bundle
        if bundle is None or bundle.serial != asked.serial:
            del self._asked[slot]
            return
        due = asked.due(now)
        try:
            goes_on = bool(due) and self._end_call(slot, asked, due)
        except Unknown:
            goes_on = True
        if slot.is_busy() and slot.stops.is_read():
            asked.ask_at = math.inf  # the child leaves out those that are to come
            if not goes_on:
                for index in due:
                    del asked.graces[index]
                    asked.look_again_at.pop(index, None)
        elif now >= asked.ask_at:
            self._signal(slot, asked, now)
        for index in due & asked.graces.keys():
            asked.look_again_at[index] = now + max(self._grace_s, _ASK_AGAIN_S)
        if not asked.graces:
            del self._asked[slot]

    def _end_call(self, slot: Slot, asked: Asked, due: set[int]) -> bool:
        """Kill the child if the call that it is at is one of these; tells whether that has to be looked at again.

        Raises
        ------
        Unknown
            If it cannot be looked at now.
        """
        counters = slot.memory.counters
        if not slot.pid or not slot.is_busy():
            return False
        if counters[layout.STAGE] == layout.OUTSIDE:
            return True  # vinefast's own code, which comes to an end
        is_at_other = slot.memory.published() == asked.published and asked.index not in due
        if counters[layout.STAGE] == layout.RUNNING and is_at_other:
            return False
        with frozen(slot.pid) as is_frozen:
            if not is_frozen:
                return True
            is_loading = counters[layout.STAGE] >= layout.LOADING
            began_ns = (self._load_began_ns if is_loading else self._began_ns)(slot, asked, due)
            if began_ns is None:
                return is_loading
            say(f"the child of slot {slot.index} is killed: its call is to end, and has not")
            kill_since(slot.pid, began_ns, slot.index)
            return True

    def _began_ns(self, slot: Slot, asked: Asked, indices: set[int]) -> int | None:
        """Give when the call has begun that a child is at, which is frozen; None: it is at none of these."""
        at = call_at(slot, self._home)
        if at is None:
            return None
        asked.published, asked.index = slot.memory.published(), at.index
        return at.began_ns if at.index in indices else None

    def _load_began_ns(self, slot: Slot, asked: Asked, due: set[int]) -> int | None:
        """Give when a child, which is frozen, has begun to load a function, or a little earlier; None: some call needs
        that function which is not to end, or not yet.
        """
        assert slot.bundle is not None
        command, sandbox, _ = split_message(slot.bundle.message)
        try:
            next_call = _recount(slot, self._home)
            frame = decode_frame(decode_command(command, os.path.join(self._home, sandbox)))
        except OSError as error:
            if lacks_means(error):
                raise Unknown(str(error)) from None
            return None
        except (FrameError, struct.error, ValueError):
            return None
        function = slot.memory.counters[layout.STAGE] - layout.LOADING
        index = next_call.index
        users = {at for at, each in enumerate(frame.function_indices[index:], index) if each == function}
        ended = slot.bundle.stopped - (asked.graces.keys() - due)
        return next_call.began_ns if users <= ended else None


@dataclass(frozen=True)
class CallAt:
    """The call that a child is at: its index, and when it has begun, or a little earlier, on the monotonic clock."""

    index: int
    began_ns: int


def call_at(slot: Slot, home: bytes) -> CallAt | None:
    """Give the call that a child is at, which is frozen; None: it runs none, or nobody will be able to tell.

    Raises
    ------
    Unknown
        If nobody can tell now.
    """
    bundle = slot.bundle
    # It may have gone on to another bundle before it was frozen.
    if bundle is None or not slot.is_busy() or slot.memory.counters[layout.STAGE] != layout.RUNNING:
        return None
    try:
        return _recount(slot, home)
    except (FrameError, OSError, struct.error, ValueError) as error:
        if isinstance(error, OSError) and lacks_means(error):
            raise Unknown(str(error)) from None
        say(f"cannot tell which call slot {slot.index} is at: {error}")
        return None


def _recount(slot: Slot, home: bytes) -> CallAt:
    """Give the first call without a record, and when the last one with a record has ended, or the bundle has begun."""
    assert slot.bundle is not None
    _, _, result_path = split_message(slot.bundle.message)
    index, took_ns = slot.memory.recount(ResultFile(os.path.join(home, result_path), keep=True))
    counters = slot.memory.counters
    return CallAt(index, (counters[layout.CALLS_NS] or counters[layout.START_NS]) + took_ns)
