"""The state of an executor, as a line and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vinefast.display import html


@dataclass(frozen=True)
class Counts:
    """How far calls are.

    Attributes
    ----------
    total, done : int
        Calls, and those that have ended, in whatever way.
    failed, cancelled : int
        Those that have ended with an exception, and those that were cancelled.
    waiting, running : int or None
        Those that no worker has, and those that have been sent to one; None: not known, since they are of whatever
        executor.
    workers, slots : int or None
        That are connected.
    """

    total: int
    done: int
    failed: int = 0
    cancelled: int = 0
    waiting: int | None = None
    running: int | None = None
    workers: int | None = None
    slots: int | None = None

    def parts(self, detail: int = 2) -> Iterator[str]:
        """Say what there is to be said beside how many are done; 1: no workers, 0: nor what waits and runs."""
        if self.failed:
            yield f"{self.failed:,} failed"
        if self.cancelled:
            yield f"{self.cancelled:,} cancelled"
        if detail > 0 and self.waiting is not None and self.running is not None:
            yield f"{self.waiting:,} waiting"
            yield f"{self.running:,} running"
        if detail > 1 and self.workers is not None and self.slots is not None:
            yield _workers(self.workers, self.slots)


def counts_of(stats: Mapping[str, int], before: Counts | None = None) -> Counts:
    """Read counts from what `VineFastExecutor.stats` returns.

    Parameters
    ----------
    stats : mapping
        Empty if the executor has not been started.
    before : Counts, optional
        What was done at that moment does not count.
    """
    submitted, outstanding = stats.get("calls_submitted", 0), stats.get("calls_outstanding", 0)
    before = before or Counts(0, 0)
    waiting = stats.get("calls_waiting", 0)
    return Counts(
        submitted - before.done,
        submitted - outstanding - before.done,
        stats.get("calls_failed", 0) - before.failed,
        stats.get("calls_cancelled", 0) - before.cancelled,
        waiting,
        outstanding - waiting,
        stats.get("workers_connected", 0),
        stats.get("slots", 0),
    )


@dataclass(frozen=True)
class State:
    """What an executor is doing.

    Attributes
    ----------
    label : str
        The executor's.
    state : "not started", "running", "failed" or "ended"
    counts : Counts
        Of all its calls.
    address : str
        Of the manager; empty if it does not listen, or has never done so.
    port : int
        Of the manager.
    reason : str
        Why it has failed, if it has.
    """

    label: str
    state: Literal["not started", "running", "failed", "ended"]
    counts: Counts
    address: str = ""
    port: int = 0
    reason: str = ""

    def line(self) -> str:
        """Say it in one line."""
        parts = [self.state + (f" ({self.reason})" if self.reason else "")]
        if self.state in ("running", "failed"):
            parts.append(f"manager at {self.address}:{self.port}")
            assert self.counts.workers is not None and self.counts.slots is not None
            parts.append(_workers(self.counts.workers, self.counts.slots))
        if self.state != "not started":
            parts.append("calls: " + ", ".join(f"{n:,} {name}" for name, n in self._calls()))
        return "; ".join(parts)

    def html(self) -> str:
        """Make a table for a notebook."""
        rows = [("state", self.state + (f": {self.reason}" if self.reason else ""))]
        if self.state in ("running", "failed"):
            rows += [
                ("manager", f"{self.address}:{self.port}"),
                ("workers", f"{self.counts.workers:,}"),
                ("slots", f"{self.counts.slots:,}"),
            ]
        rows += [(f"calls {name}", f"{n:,}") for name, n in self._calls()]
        return html.table(f"VineFastExecutor {self.label}", rows)

    def _calls(self) -> Iterator[tuple[str, int]]:
        if self.state in ("running", "failed"):
            yield "waiting", self.counts.waiting or 0
            yield "running", self.counts.running or 0
        yield "done", max(0, self.counts.done - self.counts.failed - self.counts.cancelled)
        yield "failed", self.counts.failed
        if self.counts.cancelled:
            yield "cancelled", self.counts.cancelled


def _workers(workers: int, slots: int) -> str:
    return f"{workers:,} worker{'s' * (workers != 1)} with {slots:,} slot{'s' * (slots != 1)}"
