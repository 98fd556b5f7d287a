"""One call of the regular mode whose time is limited: its process is watched as a slot's child is."""

from __future__ import annotations

import os
import signal
import time

from . import stack, stops
from .interruption import Interruption
from .slot import Slot
from .time_limit import TimeLimits

_LOOK_S = 0.01


def _ignore(text: str) -> None:
    """Standard output is the call's here, and what became of the call stands in its record."""


class Limited(Slot):
    """Stands for a slot where there is no supervisor."""

    def __init__(self) -> None:
        super().__init__(0)
        self._limits = TimeLimits(report=_ignore)
        for number in (stops.SIGNAL, stack.SIGNAL):
            signal.signal(number, signal.SIG_IGN)  # so that the child does not end by it before it listens

    def listen(self) -> Interruption:
        """Have this process, the child, end the call when it is asked to."""
        interruption = Interruption(self.stops, self.memory, os.getppid())
        interruption.install()
        self.stack.listen()
        return interruption

    def begin(self, pid: int) -> None:
        """Watch the child of that number from now on."""
        self.pid = pid
        self._limits.begin(self, 0)

    def look(self) -> float:
        """End the child if its call has run for too long; gives the seconds until the next look."""
        self._limits.look(time.monotonic())
        return _LOOK_S
