"""What is measured. Each measure gives samples: a case and numbers by metric."""

from __future__ import annotations

import gc
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

from vinefast.bench.calls import echo, hold, increment, nap, noop
from vinefast.bench.effort import Effort
from vinefast.bench.peers import PEERS, Peer
from vinefast.bench.timing import one_at_a_time, rate, timed
from vinefast.calls.overhead import overhead

Sample = tuple[str, dict[str, float]]


class NotMeasured(Exception):
    """Raised by a measure that says nothing about an executor; the message tells why."""


@dataclass(frozen=True)
class Metric:
    """One number of a measure.

    Attributes
    ----------
    label : str
        What it is, with its unit.
    more_is_better : bool
        Which way is better.
    """

    label: str
    more_is_better: bool = True


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes
    ----------
    title : str
        What it measures, in a line.
    samples : callable or None
        Takes an executor that runs and an effort, gives samples; None if starting and stopping gives them.
    metrics : dict of Metric
        By name; the first is the one that executors are compared by.
    """

    title: str
    samples: Callable[[Peer, Effort], Iterator[Sample]] | None
    metrics: dict[str, Metric]


def warm_up(peer: Peer, effort: Effort) -> None:
    """Call until the slots are warm; each measure warms up what is its own besides."""
    end = time.monotonic() + min(effort.target_s, 1.0)
    while True:
        run_calls(peer, 20)
        if time.monotonic() > end:
            return


def run_calls(peer: Peer, count: int) -> None:
    """Submit no-op calls to the executor, all at once, and wait for them."""
    peer.wait(peer.submit_all(noop, ((i,) for i in range(count))))


def run_apps(peer: Peer, count: int) -> None:
    """Do the same with apps, through Parsl."""
    app = _app(peer)
    for future in [app() for _ in range(count)]:
        future.result()


def _calls(peer: Peer, effort: Effort) -> Iterator[Sample]:
    count, calls_per_s = rate(partial(run_calls, peer), effort.calls, effort.target_s, peer.full_size)
    floor = PEERS["floor"](1, peer.directory)
    # Back to back, since the machine does not stay the same.
    floor_calls_per_s = effort.calls / timed(run_calls, floor, effort.calls)
    yield "", {"calls_per_s": calls_per_s, "of_floor": calls_per_s / floor_calls_per_s, "calls": count}


def _stages(peer: Peer, effort: Effort) -> Iterator[Sample]:
    stats = getattr(getattr(peer, "executor", None), "stats", None)
    if stats is None:
        raise NotMeasured("it does not tell where time goes")
    for case, run in (
        ("all at once", lambda: run_calls(peer, effort.calls)),
        ("one at a time", lambda: one_at_a_time(lambda: peer.run(noop, 0), effort.singles, effort.target_s)),
    ):
        run()
        before = stats()
        run()
        yield case, {stage.name: stage.spent_us for stage in overhead(stats(), before).stages}


def _apps(peer: Peer, effort: Effort) -> Iterator[Sample]:
    count, apps_per_s = rate(partial(run_apps, peer), effort.apps, effort.target_s)
    yield "", {"apps_per_s": apps_per_s, "apps": count}


def _one(peer: Peer, effort: Effort) -> Iterator[Sample]:
    yield "call", one_at_a_time(lambda: peer.run(noop, 0), effort.singles, effort.target_s)
    if peer.through_parsl:
        app = _app(peer)
        yield "app", one_at_a_time(lambda: app().result(), effort.singles, effort.target_s)


def _busy(peer: Peer, effort: Effort) -> Iterator[Sample]:
    if not peer.uses_slots or peer.slots < 2:
        raise NotMeasured("it takes two slots")

    def call() -> None:
        peer.run(noop, 0)

    idle = one_at_a_time(call, effort.busy_singles, effort.target_s)
    with holding(peer, peer.slots - 1):
        busy = one_at_a_time(call, effort.busy_singles, 2 * effort.target_s)
    yield "", {"p50_ms": busy["p50_ms"], "of_idle": busy["p50_ms"] / idle["p50_ms"], "max_ms": busy["max_ms"]}


def _duration(peer: Peer, effort: Effort) -> Iterator[Sample]:
    if not peer.uses_slots:
        raise NotMeasured("calls do not run beside each other")
    slept = 0.0

    def run(durations_s: list[float]) -> None:
        nonlocal slept
        slept = sum(peer.wait(peer.submit_all(nap, [(duration_s,) for duration_s in durations_s])))

    def sample(count: int, calls_per_s: float) -> dict[str, float]:
        share = slept * calls_per_s / (count * peer.slots)
        return {"calls_per_s": calls_per_s, "share_of_slots": share, "calls": count}

    for duration_s in effort.durations_s:
        most = effort.calls
        if duration_s:
            most = min(most, max(peer.slots, round(peer.slots * effort.sleep_s / duration_s)))
        count, calls_per_s = rate(partial(lambda d, n: run([d] * n), duration_s), most, effort.target_s, peer.full_size)
        yield f"{1e3 * duration_s:g} ms", sample(count, calls_per_s)
    # The same durations in the same order for all.
    draw = random.Random(1)
    durations_s = [draw.uniform(0, 0.1) for _ in range(max(2, round(20 * peer.slots * effort.sleep_s)))]
    calls_per_s = len(durations_s) / timed(run, durations_s)
    yield "0-100 ms", sample(len(durations_s), calls_per_s)


def _arrays(peer: Peer, effort: Effort) -> Iterator[Sample]:
    import numpy

    # Workers import NumPy now and not in what is measured.
    peer.wait(peer.submit_all(echo, [(numpy.zeros(1),)] * (10 * peer.slots)))
    for nbytes in effort.array_nbytes:
        array = numpy.arange(nbytes // 8, dtype=numpy.float64)

        def run(count: int, array: Any = array) -> None:
            for result in peer.wait(peer.submit_all(echo, [(array,)] * count)):
                if result.shape != array.shape or result[-1] != array[-1]:
                    raise AssertionError(f"an array of shape {array.shape} came back as one of shape {result.shape}")

        most = max(1, effort.arrays_total_nbytes // nbytes)
        count, calls_per_s = rate(run, most, effort.target_s)
        size = f"{nbytes // 10**6} MB" if nbytes >= 10**6 else f"{nbytes // 1000} kB"
        yield size, {"mb_per_s": calls_per_s * array.nbytes / 1e6, "calls_per_s": calls_per_s, "calls": count}


def _queue(peer: Peer, effort: Effort) -> Iterator[Sample]:
    if peer.name != "vinefast":
        raise NotMeasured("only vinefast is held to this")
    run_calls(peer, 10_000)
    few_per_s = 10_000 / timed(run_calls, peer, 10_000)
    process = psutil.Process()
    futures = []
    longest_s = 0.0
    with holding(peer, peer.slots, limit_s=300.0):
        gc.collect()
        before = process.memory_info().rss
        for i in range(effort.queued):
            start = time.perf_counter()
            futures.append(peer.submit(noop, i))
            longest_s = max(longest_s, time.perf_counter() - start)
        nbytes = process.memory_info().rss - before
    calls_per_s = effort.queued / timed(peer.wait, futures)
    yield (
        f"{effort.queued:,} calls",
        {
            "bytes_per_call": nbytes / effort.queued,
            "longest_submit_ms": 1e3 * longest_s,
            "calls_per_s": calls_per_s,
            "of_few": calls_per_s / few_per_s,
        },
    )


def _map(peer: Peer, effort: Effort) -> Iterator[Sample]:
    def run(count: int) -> None:
        results = peer.map(increment, range(count))
        if results is None:
            raise NotMeasured("it has no map that sends items in chunks")
        if sum(results) != count * (count + 1) // 2:
            raise AssertionError("the results of a map are not those expected")

    count, items_per_s = rate(run, effort.mapped, effort.target_s, at_once=True)
    yield "", {"items_per_s": items_per_s, "items": count}


@contextmanager
def holding(peer: Peer, slots: int, limit_s: float = 10.0) -> Iterator[None]:
    """Keep so many slots busy, all of them from the first moment, and no longer than asked for."""
    with tempfile.TemporaryDirectory(dir=peer.directory) as directory:
        flag = os.path.join(directory, "flag")
        open(flag, "w").close()
        futures = peer.submit_all(hold, [(flag, str(index), limit_s) for index in range(slots)])
        try:
            end = time.monotonic() + limit_s
            while not all(os.path.exists(f"{flag}.{index}") for index in range(slots)):
                if time.monotonic() > end:
                    raise NotMeasured(f"{slots} long calls did not all run at once within {limit_s:.0f} s")
                time.sleep(0.01)
            yield
        finally:
            os.unlink(flag)
        peer.wait(futures)


def _app(peer: Peer) -> Callable[[], Any]:
    if not peer.through_parsl:
        raise NotMeasured("Parsl apps do not run on it")
    import parsl

    return parsl.python_app(noop)


_LATENCIES = {
    "p50_ms": Metric("median, ms", more_is_better=False),
    "p90_ms": Metric("90 %, ms", more_is_better=False),
    "p99_ms": Metric("99 %, ms", more_is_better=False),
    "max_ms": Metric("longest, ms", more_is_better=False),
}

MEASURES: dict[str, Measure] = {
    "executor": Measure(
        "no-op calls at the executor",
        _calls,
        {"calls_per_s": Metric("calls/s"), "of_floor": Metric("of the floor just after")},
    ),
    "stages": Measure(
        "where a no-op call spends its time, in microseconds",
        _stages,
        {stage.name: Metric(stage.name, more_is_better=False) for stage in overhead({}).stages},
    ),
    "apps": Measure("no-op apps through Parsl", _apps, {"apps_per_s": Metric("apps/s")}),
    "one": Measure("one no-op at a time, from submit to result", _one, _LATENCIES),
    "busy": Measure(
        "one no-op call at a time, all slots but one busy with long calls",
        _busy,
        {
            "p50_ms": _LATENCIES["p50_ms"],
            "of_idle": Metric("of the idle executor's", more_is_better=False),
            "max_ms": _LATENCIES["max_ms"],
        },
    ),
    "duration": Measure(
        "calls that sleep",
        _duration,
        {"calls_per_s": Metric("calls/s"), "share_of_slots": Metric("share of slot time asleep")},
    ),
    "arrays": Measure(
        "a NumPy array there and back", _arrays, {"mb_per_s": Metric("MB/s each way"), "calls_per_s": Metric("calls/s")}
    ),
    "queue": Measure(
        "many calls waiting at once",
        _queue,
        {
            "bytes_per_call": Metric("bytes per call", more_is_better=False),
            "longest_submit_ms": Metric("longest submit, ms", more_is_better=False),
            "calls_per_s": Metric("then calls/s"),
            "of_few": Metric("of the rate of 10,000"),
        },
    ),
    "map": Measure("map of a small function", _map, {"items_per_s": Metric("items/s")}),
    "start": Measure(
        "start to first result, and shutdown",
        None,
        {
            "start_s": Metric("start, s", more_is_better=False),
            "stop_s": Metric("shutdown, s", more_is_better=False),
        },
    ),
}
