"""An executor's audit of itself, in the program that has it: ``VINEFAST_AUDIT=1``."""

from __future__ import annotations

import logging
import operator
import os
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Protocol

from vinefast._core import CallFuture
from vinefast._log_fields import fields
from vinefast.errors import AuditFailed, EventLogError
from vinefast.events.about import EVENTS
from vinefast.events.audit_log import audit_log, leftovers
from vinefast.events.findings import Findings

logger: logging.Logger = logging.getLogger(__name__)

# Whose log is in a directory: that of the executor that was started there last.
_owners: weakref.WeakValueDictionary[str, OwnAudit] = weakref.WeakValueDictionary()


class Books(Protocol):
    """What an engine can tell when it has ended."""

    @property
    def n_cut_off(self) -> int:
        """Calls that had not come back."""

    def left(self) -> dict[str, int] | None:
        """What there still is; None: it has not ended."""

    def stats(self) -> dict[str, int]:
        """Give the counters."""


class OwnAudit:
    """Looks on while an executor runs, and checks it when all of it has been shut down.

    Parameters
    ----------
    label : str
        The executor's.
    directory, runtime_dir : str
        Its part of the run directory, and that of TaskVine.
    """

    def __init__(self, label: str, directory: str, runtime_dir: str) -> None:
        self._label = label
        self._directories = directory, runtime_dir
        self._before = leftovers(directory, runtime_dir)
        self._path = os.path.join(directory, EVENTS)
        # Without a lock, which Ctrl-C might leave locked: each number is one thread's at a time.
        self._watched = bytearray()  # of which calls that is told, by their numbers,
        self._n_done = bytearray()  # and how often that was
        self._open: set[int] = set()  # whose future was not done then
        _owners[self._path] = self

    def watched(self, submit: Callable[..., CallFuture[Any]]) -> Callable[..., CallFuture[Any]]:
        """Give what submits calls and has their futures tell of their end."""
        note, watched = self._note, self._watched

        def submit_watched(*call: Any) -> CallFuture[Any]:
            future = submit(*call)
            future.add_done_callback(note)
            _count(watched, future.parsl_executor_task_id)
            return future

        return submit_watched

    def _note(self, future: Future[Any]) -> None:
        assert isinstance(future, CallFuture)
        _count(self._n_done, future.parsl_executor_task_id)
        if not future.done():
            self._open.add(future.parsl_executor_task_id)

    def check(self, books: Callable[[], Books | None], what_is_left: Callable[[], Iterable[str]]) -> None:
        """Check all of it, and say what is found.

        Parameters
        ----------
        books : callable
            Gives the engine; None: there is none.
        what_is_left : callable
            Says what the workers that vinefast has started have left.

        Raises
        ------
        AuditFailed
            If a rule is broken.
        """
        engine = books()
        if engine is None:
            return  # nothing was begun
        findings = self._of_log(engine)
        self._look_at_books(engine, findings)
        if self._has_the_directory():
            for name in sorted(leftovers(*self._directories) - self._before):
                findings.add("nothing-left", None, f"{name} is still there")
        try:
            for text in what_is_left():
                findings.add("nothing-left", None, text)
        except OSError as error:  # /proc cannot be read: no descriptor is left, say
            findings.unknown.append(f"whether workers have left processes or files cannot be seen: {error}")
        self._say(findings)

    def _has_the_directory(self) -> bool:
        return _owners.get(self._path) is self

    def _of_log(self, engine: Books) -> Findings:
        if not self._has_the_directory():
            return Findings(unknown=["the event log is of another executor, which was started in this directory later"])
        try:
            findings = audit_log(self._path, is_over=True)
        except EventLogError as error:
            return Findings(unknown=[str(error)])
        if findings.state != "ended":
            findings.unknown.append("the event log has no end")
        elif not findings.unknown:
            stats = engine.stats()
            # What came back at the last moment may be in the log, and have been cut off all the same.
            came_back = stats["calls_submitted"] - engine.n_cut_off
            if not came_back <= findings.ended <= stats["calls_submitted"]:
                text = f"{came_back} calls came back, and the log has the ends of {findings.ended}"
                findings.add("counters-agree", None, text)
        return findings

    def _look_at_books(self, engine: Books, findings: Findings) -> None:
        left = engine.left()
        if left is None:
            findings.unknown.append("a thread of the engine goes on, so that its books are still open")
            return
        for name, n in left.items():
            if n:
                findings.add("nothing-left", None, f"{n} {name}")
        n_submitted = engine.stats()["calls_submitted"]
        n_watched = self._watched.count(1)
        if n_watched < n_submitted:
            text = f"{n_submitted - n_watched} calls were submitted by threads that were interrupted meanwhile"
            findings.unknown.append(text)
        for number, _ in filter(operator.itemgetter(1), enumerate(self._watched)):
            n = self._n_done[number] if number < len(self._n_done) else 0
            if n != 1:
                text = "has no future that is done" if n == 0 else "had its callbacks run more than once"
                findings.add("callbacks-once", number, text)
        for number in sorted(self._open):
            findings.add("callbacks-once", number, "had its callbacks run before its future was done")

    def _say(self, findings: Findings) -> None:
        extra = fields(self._label)
        for text in findings.unknown:
            logger.warning("The audit of executor %s cannot tell all: %s", self._label, text, extra=extra)
        if findings.breaches:
            error = AuditFailed(self._label, tuple(map(str, findings.breaches)))
            logger.error("%s", error, extra=extra)
            raise error
        logger.info(
            "The audit of executor %s has found nothing: %d calls ended, %d were cut off",
            self._label,
            findings.ended,
            findings.unfinished,
            extra=extra,
        )


def _count(counts: bytearray, number: int) -> None:
    more = number + 1 - len(counts)
    if more > 0:
        counts += bytes(max(more, len(counts), 1024))
    counts[number] = min(counts[number] + 1, 2)
