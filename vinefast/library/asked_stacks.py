"""The supervisor says where a call is, which the program has asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .process import frozen
from .slot import Slot
from .stopping import call_at
from .waiting import Bundle

# When to look whether a stack is written, which takes a child microseconds once it runs, and when to look no more.
_LOOK_S = 0.02
_LONGEST_S = 1.0


@dataclass
class _Question:
    command: Bundle
    slot: Slot
    serial: int
    index: int
    look_at: float
    ends_at: float
    nbytes: int = 0


class AskedStacks:
    """The slots whose stack is asked for.

    Parameters
    ----------
    home:
        Directory of the library.
    answer:
        Called with the command that has asked, and the stack; None: the call does not run.
    """

    def __init__(self, home: str, answer: Callable[[Bundle, str | None], None]) -> None:
        self._home = os.fsencode(home)
        self._answer = answer
        self._questions: list[_Question] = []

    def moments(self) -> Iterable[float]:
        """When something is to be done."""
        return [question.look_at for question in self._questions]

    def begin(self, command: Bundle, slot: Slot | None, index: int, now: float) -> None:
        """A command asks where a call of the bundle is that a slot has; None: no slot has it."""
        if slot is None or slot.bundle is None or not slot.pid or not slot.is_busy():
            self._answer(command, None)
            return
        if all(question.slot is not slot for question in self._questions):
            slot.stack.ask(slot.pid)
        question = _Question(command, slot, slot.bundle.serial, index, now + _LOOK_S, now + _LONGEST_S)
        self._questions.append(question)

    def look(self, now: float) -> None:
        """Answer those that can be answered."""
        for question in [question for question in self._questions if now >= question.look_at]:
            before, question.nbytes = question.nbytes, question.slot.stack.nbytes()
            if (question.nbytes and question.nbytes == before) or now >= question.ends_at:
                self._questions.remove(question)
                self._answer(question.command, self._stack(question))
            else:
                question.look_at = now + _LOOK_S

    def _stack(self, question: _Question) -> str | None:
        """Give what the child has written, if it is at that call."""
        slot = question.slot
        if slot.bundle is None or slot.bundle.serial != question.serial or not slot.pid:
            return None
        with frozen(slot.pid) as is_frozen:
            at = call_at(slot, self._home) if is_frozen else None
            return slot.stack.read() if at is not None and at.index == question.index else None
