"""The supervisor says where a call is, which the program has asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .grace import Grace
from .process import Unknown, frozen
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
    grace: Grace
    is_asked: bool = False
    nbytes: int = 0


class AskedStacks:
    """The slots whose stack is asked for.

    A child is frozen while it is looked at which call it is at, and is asked meanwhile: so what it writes once it goes
    on is of that call. It is of that call still if the child is found there, frozen again, once it has written, since
    a child comes to no call twice.

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
        if slot is None or slot.bundle is None:
            self._answer(command, None)
            return
        question = _Question(command, slot, slot.bundle.serial, index, now, Grace(_LONGEST_S, now))
        self._questions.append(question)
        self._look(question, now)

    def look(self, now: float) -> None:
        """Answer those that can be answered."""
        for question in [question for question in self._questions if now >= question.look_at]:
            self._look(question, now)

    def _look(self, question: _Question, now: float) -> None:
        is_last = question.grace.look(now)
        question.look_at = now + _LOOK_S
        try:
            if not question.is_asked:
                if not self._ask(question):
                    self._end(question, None)
                return
            before, question.nbytes = question.nbytes, question.slot.stack.nbytes()
            if is_last or (question.nbytes and question.nbytes == before):
                with self._held(question) as is_there:
                    self._end(question, question.slot.stack.read() if is_there else None)
        except Unknown:
            if is_last:
                self._end(question, "")

    def _end(self, question: _Question, stack: str | None) -> None:
        self._questions.remove(question)
        self._answer(question.command, stack)

    def _ask(self, question: _Question) -> bool:
        """Have the child write its stack if it is at that call; tells whether it is."""
        with self._held(question) as is_there:
            # What others have asked for at that call, they wait for together: it is not to be written anew each time.
            if is_there and not any(other.is_asked and _are_same(other, question) for other in self._questions):
                question.slot.stack.ask(question.slot.pid)
            question.is_asked = is_there
            return is_there

    @contextmanager
    def _held(self, question: _Question) -> Iterator[bool]:
        """Keep a child from running meanwhile; gives whether it is at that call."""
        slot = question.slot
        if slot.bundle is None or slot.bundle.serial != question.serial or not slot.pid or not slot.is_busy():
            yield False
            return
        with frozen(slot.pid) as is_frozen:
            at = call_at(slot, self._home) if is_frozen else None
            yield at is not None and at.index == question.index


def _are_same(one: _Question, other: _Question) -> bool:
    return (one.slot, one.serial, one.index) == (other.slot, other.serial, other.index)
