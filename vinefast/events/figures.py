"""The pictures of a run's report, as tables of numbers that do not grow with its calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vinefast.events.run import Run
from vinefast.events.state import RESULTS

N_BINS = 400
_ROWS = 200
# Bins that are put together in a picture of rates: divisors of N_BINS.
_STEPS = (1, 2, 4, 5, 8, 10, 20)
_CALLS_IN_BIN = 5
Array: TypeAlias = np.ndarray[Any, Any]
STAGES = (
    ("waiting to be sent", "queue_ns"),
    ("on the way to a worker", "dispatch_ns"),
    ("there and back", "transfer_ns"),
    ("in the library's queue", "library_ns"),
    ("running", "calls_ns"),
    ("with companions in a slot", "bundle_ns"),
)
"""What `executor.overhead()` tells apart, by the counters that have the sums (csrc/vf_counters.h)."""


@dataclass(frozen=True)
class Timeline:
    """How busy slots were: a row for each, or for each worker if there are more than 200 slots.

    Attributes
    ----------
    rows : list of str
    busy : array
        Share of each bin of time in which the row had a bundle, 0 to 1; a row for each row.
    """

    rows: list[str]
    busy: Array


class Figures:
    """Numbers over the time of a run, in 400 bins.

    Parameters
    ----------
    run : Run
        One that has been read.

    Attributes
    ----------
    edges_s : array of 401
        Seconds since the run began.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.calls: Array = run.calls
        self.bundles: Array = run.bundles
        self.bundle_of: Array = np.repeat(np.arange(len(self.bundles)), self.bundles["n_calls"].astype(np.int64))
        ends = [run.first_ns + 1, run.stopped_ns or 0, *run.counters["at_ns"][-1:], *self.bundles["returned_ns"][-1:]]
        self._start_ns, self._end_ns = run.first_ns, int(max(ends))
        self.edges_s: Array = np.linspace(0, (self._end_ns - self._start_ns) * 1e-9, N_BINS + 1)
        self.is_result: Array = np.isin(self.calls["status"], RESULTS)
        self.is_cancelled: Array = self.calls["is_cancelled"] != 0

    def seconds(self, at_ns: Array) -> Array:
        """Give seconds since the beginning."""
        return (at_ns.astype(np.float64) - self._start_ns) * 1e-9

    def ended(self) -> tuple[Array, dict[str, Array]]:
        """Give calls per second that ended, by outcome, and before them the edges of their bins, which are wide enough
        for some calls each, so that one by itself is no peak.
        """
        at_s = self.seconds(self.bundles["returned_ns"])[self.bundle_of]
        step = next((step for step in _STEPS if len(at_s) * step >= _CALLS_IN_BIN * N_BINS), _STEPS[-1])
        edges_s = self.edges_s[::step]
        width = edges_s[1] - edges_s[0]
        outcomes = {
            "done": self.is_result & ~self.is_cancelled,
            "failed": ~self.is_result & ~self.is_cancelled,
            "cancelled": self.is_cancelled,
        }
        return edges_s, {name: np.histogram(at_s[found], edges_s)[0] / width for name, found in outcomes.items()}

    def timeline(self) -> Timeline:
        """Give how busy each slot was; a bundle is taken to have ended there when it came back."""
        bundles = self.bundles[(self.bundles["worker"] > 0) & (self.bundles["run_ns"] > 0)]
        slots = bundles["worker"].astype(np.int64) << 32 | bundles["slot"]
        keys, row = np.unique(slots, return_inverse=True)
        names = [f"worker {key >> 32}, slot {key & 0xFFFFFFFF}" for key in keys.tolist()]
        width = np.ones(len(keys))
        if len(keys) > _ROWS:
            workers, row_of = np.unique(keys >> 32, return_inverse=True)
            row, names = row_of[row], [f"worker {number}" for number in workers.tolist()]
            width = np.bincount(row_of).astype(np.float64)
        end_s = self.seconds(bundles["returned_ns"])
        busy = np.zeros((len(names), N_BINS))
        _add_intervals(busy, row, end_s - bundles["run_ns"] * 1e-9, end_s, self.edges_s)
        # Many workers: every so many of them.
        step = max(1, -(-len(names) // _ROWS))
        share = np.minimum(busy / width[:, None], 1.0)[::step] if len(names) else busy
        return Timeline(names[::step], share)

    def stages(self) -> dict[str, float]:
        """Give where the time of a call went, in microseconds, on average over all that came back."""
        counters = self.run.counters
        needed = {"calls_returned", *(key for _, key in STAGES)}
        if not len(counters) or not needed <= set(counters.dtype.names) or not counters[-1]["calls_returned"]:
            return {}  # another vinefast's
        last = counters[-1]
        found = {name: float(last[key]) / float(last["calls_returned"]) * 1e-3 for name, key in STAGES}
        found["with companions in a slot"] = max(0.0, found["with companions in a slot"] - found["running"])
        return found

    def bundle_sizes(self) -> tuple[Array, Array]:
        """Give when bundles were sent, in seconds, and how many calls they had; 4000 of them at the most."""
        sent = self.bundles[self.bundles["sent_ns"] > 0]
        sent = sent[:: max(1, len(sent) // 4000)]
        return self.seconds(sent["sent_ns"]), sent["n_sent"]

    def counter(self, name: str) -> tuple[Array, Array]:
        """Give a counter over time, 2000 moments at the most."""
        counters = self.run.counters
        if name not in counters.dtype.names:
            return np.zeros(0), np.zeros(0)  # another vinefast's
        counters = counters[:: max(1, len(counters) // 2000)]
        return self.seconds(counters["at_ns"]), counters[name]

    def rate_of(self, name: str) -> tuple[Array, Array]:
        """Give how much a counter grew per second."""
        at_s, values = self.counter(name)
        at_s, values = np.append(0.0, at_s), np.append(0.0, values.astype(np.float64))
        return at_s[1:], np.diff(values) / np.maximum(np.diff(at_s), 1e-9)

    def workers(self) -> list[tuple[str, float, float]]:
        """Give the workers: name, when it joined, when it left or the run ended, in seconds."""
        found = []
        for worker in self.run.workers.values():
            left_ns = self._end_ns if worker.left_ns is None else worker.left_ns
            host = worker.node.get("hostname") or worker.address.rpartition(":")[0]
            begin, end = self.seconds(np.array([worker.joined_ns, left_ns])).tolist()
            found.append((f"{worker.number} on {host}", begin, end))
        return found[:_ROWS]


def _add_intervals(busy: Array, row: Array, begin: Array, end: Array, edges: Array) -> None:
    """Add to each bin of each row the share of it that intervals cover."""
    width = edges[1] - edges[0]
    begin = np.clip(begin / width, 0, busy.shape[1])
    end = np.clip(end / width, 0, busy.shape[1])
    first = np.minimum(begin.astype(np.int64), busy.shape[1] - 1)
    last = np.minimum(end.astype(np.int64), busy.shape[1] - 1)
    same = first == last
    np.add.at(busy, (row[same], first[same]), (end - begin)[same])
    row, begin, end, first, last = (values[~same] for values in (row, begin, end, first, last))
    np.add.at(busy, (row, first), first + 1 - begin)
    np.add.at(busy, (row, last), end - last)
    # Whole bins between: as a difference that is summed up.
    steps = np.zeros((busy.shape[0], busy.shape[1] + 1))
    np.add.at(steps, (row, first + 1), 1)
    np.add.at(steps, (row, last), -1)
    busy += np.cumsum(steps, axis=1)[:, :-1]
