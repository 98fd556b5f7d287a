"""A run as tracks over time: what a trace has, whatever its format.

The log has no moments of the workers' clocks: docs/architecture.md says by which rule it is found out when a call ran.
Here a bundle is also taken to have left its slot no later than the slot began the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np

from vinefast.events.failures import reason_of
from vinefast.events.figures import Figures
from vinefast.events.run import Run
from vinefast.events.state import RESULTS
from vinefast.events.story import result_name, tries_of_parsl

Array: TypeAlias = np.ndarray[Any, Any]
OUTCOMES = ("done", "failed", "cancelled")
_DONE, _FAILED, _CANCELLED = range(3)
_WHY_NCHARS = 300
# Longer than any run: a number that is damaged is to overflow nothing.
_MOST_NS = 1 << 60
_NUMBERS = 20
# Of those that are sampled each second: name here, in the log, unit.
_COUNTERS = (
    ("calls that wait", "calls_waiting"),
    ("bundles with workers", "bundles_running"),
    ("workers that are connected", "workers_connected"),
    ("slots of workers", "slots"),
)


@dataclass(frozen=True)
class Slot:
    """A track of a worker: what ran there did so one after the other.

    Attributes
    ----------
    worker : int
    name : str
        ``slot 3``. In regular mode, which has no slots, there are as many as calls ran at a time.
    """

    worker: int
    name: str


@dataclass(frozen=True)
class Calls:
    """Calls that ended, a number for each in every array, those of a slot by time.

    Attributes
    ----------
    slot : array
        Which of `Trace.slots`; -1: it did not run.
    begin_ns, end_ns : array
        By the log's clock.
    number, function, outcome : array
        The executor's number of the call; which of `Trace.functions`; which of `OUTCOMES`.
    bundle : array
        Which of `Trace.bundles`.
    has_arrow : array
        Whether it was the first of its bundle in the slot, and it is known when that was sent.
    """

    slot: Array
    begin_ns: Array
    end_ns: Array
    number: Array
    function: Array
    outcome: Array
    bundle: Array
    has_arrow: Array

    def __len__(self) -> int:
        return len(self.slot)

    def rows(self, start: int, stop: int) -> Iterator[tuple[Any, ...]]:
        """Give some of them one by one, as plain values in the order of the attributes."""
        columns = (getattr(self, each.name)[start:stop].tolist() for each in fields(self))
        return zip(*columns, strict=True)


@dataclass(frozen=True)
class Moment:
    """Something that took no time.

    Attributes
    ----------
    at_ns : int
    name : str
    facts : dict of str to int or str
    """

    at_ns: int
    name: str
    facts: dict[str, int | str]


@dataclass(frozen=True)
class Counter:
    """A number over time.

    Attributes
    ----------
    name : str
    at_ns, values : array
    """

    name: str
    at_ns: Array
    values: Array


@dataclass
class Trace:
    """A run.

    Attributes
    ----------
    name, pid
        Of the executor, and of its program.
    began_ns, began_wall_ns : int
        The beginning of the log, by its clock and since 1970.
    functions : dict of int to str
    workers : dict of int to str
        Their names.
    slots : list of Slot
    calls : Calls
    n_calls_before : int
        Earlier calls, which there was no room for.
    bundles : array
        Those of the calls, as `Run.bundles` has them.
    why : dict of int to str
        Of calls that failed.
    parsl_tries : dict of int to (int, int)
        Parsl's numbers of task and try, if its log has them.
    comings, losses, away : list of Moment
        Workers that joined and left; bundles that did not bring back their calls; bundles of which nothing was known
        at the end.
    counters : list of Counter
    """

    name: str
    pid: int
    began_ns: int
    began_wall_ns: int
    functions: dict[int, str]
    workers: dict[int, str]
    slots: list[Slot]
    calls: Calls
    n_calls_before: int
    bundles: Array
    why: dict[int, str] = field(default_factory=dict)
    parsl_tries: dict[int, tuple[int, int]] = field(default_factory=dict)
    comings: list[Moment] = field(default_factory=list)
    losses: list[Moment] = field(default_factory=list)
    away: list[Moment] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)

    @property
    def n_tracks(self) -> int:
        """Tracks of slots, workers, counters, and the executor's own four: all workers, bundles, losses, the rest."""
        return len(self.slots) + len(self.workers) + len(self.counters) + 4


def trace_of(run: Run, max_calls: int) -> Trace:
    """Put a run on tracks.

    Parameters
    ----------
    run : Run
        One that has been read.
    max_calls : int
        Of more calls than these, the last ones are taken, in whole bundles.
    """
    bundles, calls = run.bundles, run.calls
    first = max(0, len(bundles) - 1 - int(np.searchsorted(np.cumsum(bundles["n_calls"][::-1]), max_calls)))
    n_before = int(bundles["n_calls"][:first].sum())
    bundles, calls = bundles[first:], calls[n_before:]
    slots, slot_of, begin_ns, took_ns = _slots(bundles, calls)
    names = {number: _worker_name(run, number) for number in run.workers}
    names |= {slot.worker: f"worker {slot.worker}" for slot in slots if slot.worker not in names}
    parent = os.path.dirname(os.path.dirname(run.path))
    return Trace(
        name=str(run.about.get("label", "")) or "executor",
        pid=int(run.about.get("pid", 0)),
        began_ns=run.first_ns,
        began_wall_ns=min(max(run.first_ns + run.wall_offset_ns, 0), _MOST_NS << 2),
        functions=dict(run.functions),
        workers=dict(sorted(names.items())),
        slots=slots,
        calls=_calls(bundles, calls, slot_of, begin_ns, took_ns),
        n_calls_before=n_before,
        bundles=bundles,
        why=_why(run, bundles, calls),
        parsl_tries=tries_of_parsl(parent, str(run.about.get("label", ""))),
        comings=_comings(run),
        losses=_losses(run),
        away=[
            Moment(sent.at_ns, run.functions.get(sent.function, "?"), {"calls": sent.n_calls, "worker": sent.worker})
            for sent in run.away.values()
        ],
        counters=_counters(run),
    )


def _worker_name(run: Run, number: int) -> str:
    worker = run.workers[number]
    host = worker.node.get("hostname") or worker.address.rpartition(":")[0]
    return f"worker {number} on {host}"


def _slots(bundles: Array, calls: Array) -> tuple[list[Slot], Array, Array, Array]:
    """Find slots, and of each bundle its slot or -1, when it began there, and how long it had it."""
    bundle_of = np.repeat(np.arange(len(bundles)), bundles["n_calls"].astype(np.int64))
    ran_ns = np.zeros(len(bundles), np.int64)
    np.add.at(ran_ns, bundle_of, _durations(calls))
    took_ns = np.maximum(np.minimum(bundles["run_ns"], _MOST_NS), ran_ns)
    begin_ns = np.maximum(np.minimum(bundles["returned_ns"], _MOST_NS) - took_ns, 0)
    slot_of = np.full(len(bundles), -1)
    (ran,) = np.nonzero((bundles["worker"] > 0) & (bundles["pid"] > 0))
    # The library is a process for all slots, or, in regular mode, one for each call.
    order = ran[np.lexsort((ran, bundles["pid"][ran], bundles["slot"][ran], bundles["worker"][ran]))]
    keys = list(zip(*(bundles[name][order].tolist() for name in ("worker", "slot", "pid")), strict=True))
    begins, lengths = begin_ns[order].tolist(), took_ns[order].tolist()
    for index in range(len(order) - 2, -1, -1):
        if keys[index] == keys[index + 1]:
            begins[index] = max(0, min(begins[index], begins[index + 1] - lengths[index]))
    begin_ns[order] = begins
    firsts = [index for index in range(len(keys)) if not index or keys[index] != keys[index - 1]]
    processes = [
        (keys[first][:2], begins[first], begins[end - 1] + lengths[end - 1], first, end)
        for first, end in zip(firsts, [*firsts[1:], len(keys)], strict=False)
    ]
    processes.sort()
    slots: list[Slot] = []
    free_ns: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (worker, number), begin, end, first, behind in processes:
        lanes = free_ns.setdefault((worker, number), [])
        lane = next((lane for lane, (until, _) in enumerate(lanes) if until <= begin), len(lanes))
        if lane == len(lanes):
            slots.append(Slot(worker, f"slot {number}" if not lane else f"slot {number} ({lane + 1})"))
            lanes.append((0, len(slots) - 1))
        lanes[lane] = end, lanes[lane][1]
        slot_of[order[first:behind]] = lanes[lane][1]
    return slots, slot_of, begin_ns, took_ns


def _durations(calls: Array) -> Array:
    durations_ns: Array = np.minimum(calls["duration_ns"], _MOST_NS)
    return durations_ns.astype(np.int64)


def _calls(bundles: Array, calls: Array, slot_of: Array, begin_ns: Array, took_ns: Array) -> Calls:
    n_calls = bundles["n_calls"].astype(np.int64)
    bundle = np.repeat(np.arange(len(bundles)), n_calls)
    ran_ns = _durations(calls)
    before_ns = np.concatenate([[0], np.cumsum(ran_ns)])
    start = np.cumsum(n_calls) - n_calls
    place = np.arange(len(calls)) - start[bundle]
    of_bundle_ns = before_ns[start + n_calls] - before_ns[start]
    gap_ns = (took_ns - of_bundle_ns) // (n_calls + 1)
    begin = begin_ns[bundle] + before_ns[:-1] - before_ns[start][bundle] + (place + 1) * gap_ns[bundle]
    slot = slot_of[bundle]
    begin = np.where(slot < 0, np.maximum(bundles["returned_ns"], 0)[bundle], begin)
    end = np.where(slot < 0, begin, begin + ran_ns)
    is_result = np.isin(calls["status"], RESULTS)
    outcome = np.where(calls["is_cancelled"] != 0, _CANCELLED, np.where(is_result, _DONE, _FAILED))
    order = np.lexsort((np.arange(len(calls)), begin, slot))
    begin, end = np.maximum(begin, 0), np.maximum(end, 0)
    has_arrow = (place == 0) & (slot >= 0) & (bundles["sent_ns"][bundle] > 0)
    columns = slot, begin, end, calls["number"], calls["function"], outcome, bundle, has_arrow
    return Calls(*(column[order] for column in columns))


def _why(run: Run, bundles: Array, calls: Array) -> dict[int, str]:
    failed = ~np.isin(calls["status"], RESULTS) & (calls["is_cancelled"] == 0)
    bundle_of = np.repeat(np.arange(len(bundles)), bundles["n_calls"].astype(np.int64))
    results = bundles["result"][bundle_of[failed]].tolist()
    found = {}
    for number, function, result in zip(
        calls["number"][failed].tolist(), calls["function"][failed].tolist(), results, strict=True
    ):
        failure = run.failures.get(number)
        if failure is not None:
            reason = reason_of(failure, run.functions.get(function, "?"), result)
            found[number] = f"{reason.name}: {reason.message}"[:_WHY_NCHARS]
    return found


def _comings(run: Run) -> list[Moment]:
    found = []
    for worker in run.workers.values():
        facts: dict[str, int | str] = {"worker": worker.number, "address": worker.address}
        if worker.slots is not None:
            facts["slots"] = worker.slots
        found.append(Moment(worker.joined_ns, f"worker {worker.number} joined", facts))
        if worker.left_ns is not None:
            found.append(Moment(worker.left_ns, f"worker {worker.number} left", facts))
    return sorted(found, key=lambda moment: moment.at_ns)


def _losses(run: Run) -> list[Moment]:
    found = []
    for lost in run.losses:
        numbers = ", ".join(map(str, lost.numbers[:_NUMBERS].tolist()))
        more = ", ..." if len(lost.numbers) > _NUMBERS else ""
        facts: dict[str, int | str] = {"calls": len(lost.numbers), "numbers": numbers + more, "worker": lost.worker}
        found.append(Moment(lost.at_ns, result_name(lost.result), facts))
    for task, every in run.lost_with_worker.items():
        for sent in every:
            worker = run.workers.get(sent.worker)
            at_ns = worker.left_ns if worker is not None and worker.left_ns else sent.at_ns
            facts = {"calls": sent.n_calls, "first": sent.first_call, "worker": sent.worker, "bundle": task}
            found.append(Moment(at_ns, "its worker left", facts))
    return sorted(found, key=lambda moment: moment.at_ns)


def _counters(run: Run) -> list[Counter]:
    samples, found = run.counters, []
    for name, key in _COUNTERS:
        if key in samples.dtype.names:
            at_ns = np.minimum(samples["at_ns"], _MOST_NS).astype(np.int64)
            found.append(Counter(name, at_ns, samples[key].astype(np.float64)))
    edges_s, rates = Figures(run).ended()
    at_ns = min(run.first_ns, _MOST_NS) + np.minimum(edges_s * 1e9, _MOST_NS).astype(np.int64)
    for name, rate in rates.items():
        if rate.any():
            # It holds until the next one.
            found.append(Counter(f"calls {name} per second", at_ns, np.append(rate, 0.0)))
    return found
