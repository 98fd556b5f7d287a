"""Who is to blame for a child's death, and what becomes of its bundle: decided from what the child's counters said."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from . import memory as layout
from .failure import pack_death
from .out_of_memory import Cause
from .protocol import STATUS_DIED, STATUS_TIMED_OUT
from .run import Resume

# How often in a row a bundle's child may die without getting anywhere.
_MAX_STALLED = 3


class Counted(NamedTuple):
    """What the counters of a dead child said (`memory`).

    Attributes
    ----------
    serial:
        Of the bundle that they are about.
    finished:
        Whether its result file is complete.
    done, published:
        Where its records end: by the child, and as they can be read.
    stage:
        What the child was at.
    """

    serial: int
    finished: bool = False
    done: int = 0
    published: int = 0
    stage: int = layout.OUTSIDE


class History(NamedTuple):
    """What the deaths of a bundle's children have told of it.

    Attributes
    ----------
    resume:
        How the next child is to go on.
    progress:
        How far the last one had come: the end of its records, and how many functions are known to kill.
    stalled:
        How many in a row came no farther.
    """

    resume: Resume = Resume()
    progress: tuple[int, int] = (-1, -1)
    stalled: int = 0


class Fate(Enum):
    """What becomes of a bundle."""

    FINISHED = "its result file is complete"
    GIVEN_UP = "it goes back without a result frame"
    RESUMED = "a new child goes on with it"


class Verdict(NamedTuple):
    """What a child's death means for its bundle.

    Attributes
    ----------
    fate:
        What becomes of the bundle.
    history:
        Of the bundle, with this death.
    begun:
        Whether the counters are about this bundle: else the child had not begun with it.
    blamed:
        The stage of the call or function to blame; `memory.OUTSIDE`: none is.
    published:
        Where the records end.
    """

    fate: Fate
    history: History
    begun: bool = True
    blamed: int = layout.OUTSIDE
    published: int = 0

    def resume(self, code: int, log_tail: str, cause: Cause | None = None, timed_out: bytes | None = None) -> Resume:
        """Give how a new child is to go on, with the blame written down.

        Parameters
        ----------
        code:
            Exit code of the dead child; negative: the signal that ended it.
        log_tail:
            Its last words.
        cause:
            Why memory has cost it its life, if it has.
        timed_out:
            Why time has, as the payload of its record.
        """
        record, done, dead_functions = before = self.history.resume
        if self.blamed == layout.OUTSIDE:
            return before
        payload = pack_death(code if code >= 0 else None, -code if code < 0 else None, log_tail, cause)
        if self.blamed == layout.RUNNING:
            record = (STATUS_DIED, payload) if timed_out is None else (STATUS_TIMED_OUT, timed_out)
            return Resume(record, self.published, dead_functions)
        return Resume(record, done, {**dead_functions, self.blamed - layout.LOADING: payload})


def judge(serial: int, counted: Counted, history: History) -> Verdict:
    """Say what the death of a child that had the bundle of that serial number means for the bundle."""
    begun = counted.serial == serial
    if not begun:
        counted = Counted(serial)
    if counted.finished:
        return Verdict(Fate.FINISHED, history, begun)
    progress = (counted.done, len(history.resume.dead_functions))
    stage = counted.stage
    # A call that was running is done with: given back now, it would run twice.
    stalled = history.stalled + 1 if progress == history.progress and stage != layout.RUNNING else 0
    history = History(history.resume, progress, stalled)
    if stalled == _MAX_STALLED:
        return Verdict(Fate.GIVEN_UP, history, begun)
    return Verdict(Fate.RESUMED, history, begun, stage, counted.published)
