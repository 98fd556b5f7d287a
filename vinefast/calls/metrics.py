"""Executors' state for Prometheus, read when it is asked for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector, CollectorRegistry

from vinefast._core import BOUNDS_NS
from vinefast.display.state import counts_of

# Name in `stats`, name here, and what it is.
_COUNTERS = (
    ("calls_submitted", "vinefast_calls_submitted", "Calls that were submitted."),
    ("calls_lost", "vinefast_calls_lost", "Calls that a bundle did not bring back, each time."),
    ("calls_remade", "vinefast_calls_remade", "Calls that ran again for a temporary file that was lost."),
    ("bundles_sent", "vinefast_bundles_sent", "Bundles that were given to TaskVine."),
    ("bundles_lost", "vinefast_bundles_lost", "Bundles that did not come back."),
    ("bytes_sent", "vinefast_frames_sent_bytes", "Functions and arguments, to workers."),
    ("bytes_returned", "vinefast_frames_returned_bytes", "Results, from workers."),
    ("files_moved", "vinefast_files_moved", "Files that workers were sent or told to fetch."),
    ("file_bytes_moved", "vinefast_files_moved_bytes", "Their sizes, as far as known."),
    ("manager_bytes_sent", "vinefast_manager_files_sent_bytes", "Files that the manager itself has sent."),
    ("manager_bytes_received", "vinefast_manager_files_received_bytes", "Files that the manager has received."),
    ("workers_joined", "vinefast_workers_joined", "Workers that have joined."),
    ("slots_replaced", "vinefast_slots_replaced", "Processes of slots that others have taken the place of."),
)
_GAUGES = (
    ("bundles_running", "vinefast_bundles", "Bundles that workers have."),
    ("workers_connected", "vinefast_workers", "Workers that are connected."),
    ("slots", "vinefast_slots", "Slots of these workers."),
)
# The sum of each stage in `stats`, and what of that is another stage's.
_STAGE_SUMS = {
    "queue": ("queue_ns", None),
    "dispatch": ("dispatch_ns", None),
    "transfer": ("transfer_ns", None),
    "library": ("library_ns", None),
    "companions": ("bundle_ns", "calls_ns"),
    "execute": ("calls_ns", None),
    "return": ("return_ns", None),
}
# Name here, sum and number of calls in `stats`, and what it is.
_SUMMARIES = (
    ("vinefast_serialize_seconds", "serialize_ns", "calls_submitted", "Function and arguments to bytes, in submit."),
    ("vinefast_complete_seconds", "complete_ns", "calls_returned", "Result to future, with callbacks."),
)
_LE = [*(str(bound_ns / 1e9) for bound_ns in BOUNDS_NS), "+Inf"]


@dataclass(frozen=True)
class Reading:
    """An executor's numbers now.

    Attributes
    ----------
    stats, histograms : mapping
        As `vinefast._core.Engine` has them; empty before the start.
    is_running : bool
        Whether it takes calls.
    """

    stats: Mapping[str, int]
    histograms: Mapping[str, list[int]]
    is_running: bool


class _Source:
    def __init__(self, executor: Any, read: Callable[[Any], Reading]) -> None:
        self.executor = weakref.ref(executor)
        self._read = read
        self._done = 0

    def read(self) -> Reading | None:
        executor = self.executor()
        return None if executor is None else self._read(executor)

    def done(self, stats: Mapping[str, int]) -> int:
        """Give how many calls have results: never fewer than before, which Prometheus would take for a new start.

        A call that is cancelled while it runs is counted as cancelled at once, and as outstanding until it is back.
        """
        counts = counts_of(stats)
        self._done = max(self._done, counts.done - counts.failed - counts.cancelled)
        return self._done


class Metrics(Collector):
    """Tells a registry of prometheus_client's of executors, each by its label.

    Nothing is measured for it: the numbers are those that an executor keeps anyway, read when the registry is asked.
    An executor that was shut down stays, with its last numbers, until it is gone or another one has its label.

    `vinefast_stage_seconds` is from histograms that the manager thread keeps of the calls that come back, and of
    `return` the demux thread (csrc/vf_histogram.h); all calls of a bundle have the same time of `dispatch`, `transfer`,
    `library` and `return`. Everything else is from `VineFastExecutor.stats`.
    """

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()

    def add(self, label: str, executor: Any, read: Callable[[Any], Reading]) -> None:
        """Tell of an executor, for as long as there is one.

        Raises
        ------
        ValueError
            If another one of that label is running.
        """
        with self._lock:
            known = self._sources.get(label)
            if known is not None and known.executor() is executor:
                return
            now = None if known is None else known.read()
            if now is not None and now.is_running:
                raise ValueError(
                    f"This registry tells of another executor with the label {label!r}, which is running: give one of "
                    "them another label, or a registry of its own"
                )
            alive = {label: source for label, source in self._sources.items() if source.executor() is not None}
            self._sources = {**alive, label: _Source(executor, read)}

    def describe(self) -> Iterable[Metric]:
        """Give what there may be, without samples: a registry looks for names that it has already."""
        return _Families().all()

    def collect(self) -> Iterable[Metric]:
        """Give what there is now."""
        families = _Families()
        # Without the lock, which a process that is forked meanwhile would find held.
        for label, source in list(self._sources.items()):
            reading = source.read()
            if reading is not None:
                # A label that is the name of some file may be no whole text, and what is served would end there.
                text = label.encode("utf-8", "backslashreplace").decode()
                families.add(text, reading, source.done(reading.stats))
        return families.all()


class _Families:
    def __init__(self) -> None:
        of = ("executor",)
        self._running = GaugeMetricFamily("vinefast_running", "Whether the executor takes calls.", labels=of)
        self._ended = CounterMetricFamily("vinefast_calls", "Calls that have ended.", labels=(*of, "outcome"))
        self._waiting = GaugeMetricFamily("vinefast_calls_waiting", "Calls that no worker has.", labels=of)
        self._sent = GaugeMetricFamily("vinefast_calls_running", "Calls that were sent to workers.", labels=of)
        self._stages = HistogramMetricFamily(
            "vinefast_stage_seconds", "Time that a call spent in a stage of its way.", labels=(*of, "stage")
        )
        self._counters = [CounterMetricFamily(name, text, labels=of) for _, name, text in _COUNTERS]
        self._gauges = [GaugeMetricFamily(name, text, labels=of) for _, name, text in _GAUGES]
        self._summaries = [SummaryMetricFamily(name, text, labels=of) for name, _, _, text in _SUMMARIES]

    def all(self) -> list[Metric]:
        return [
            self._running,
            self._ended,
            self._waiting,
            self._sent,
            *self._counters,
            *self._gauges,
            self._stages,
            *self._summaries,
        ]

    def add(self, label: str, reading: Reading, done: int) -> None:
        stats, counts = reading.stats, counts_of(reading.stats)
        self._running.add_metric([label], reading.is_running)
        self._waiting.add_metric([label], counts.waiting or 0)
        self._sent.add_metric([label], counts.running or 0)
        for outcome, n_calls in (("done", done), ("failed", counts.failed), ("cancelled", counts.cancelled)):
            self._ended.add_metric([label, outcome], n_calls)
        for (key, _, _), counter in zip(_COUNTERS, self._counters, strict=True):
            counter.add_metric([label], stats.get(key, 0))
        for (key, _, _), gauge in zip(_GAUGES, self._gauges, strict=True):
            # When the manager ends it says no more that its workers are gone.
            gauge.add_metric([label], stats.get(key, 0) if reading.is_running else 0)
        for stage, numbers in reading.histograms.items():
            whole, part = _STAGE_SUMS[stage]
            sum_ns = max(0, stats[whole] - (stats[part] if part else 0))
            buckets = list(zip(_LE, map(float, accumulate(numbers)), strict=True))
            self._stages.add_metric([label, stage], buckets, sum_ns / 1e9)
        for (_, sum_key, n_key, _), summary in zip(_SUMMARIES, self._summaries, strict=True):
            summary.add_metric([label], stats.get(n_key, 0), stats.get(sum_key, 0) / 1e9)


# One for each registry, where executors share the names.
_of_registry: weakref.WeakKeyDictionary[CollectorRegistry, Metrics] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def metrics_in(registry: CollectorRegistry | None) -> Metrics:
    """Give what tells a registry of executors, and register it there if that has not been done.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        That of prometheus_client, from which ``start_http_server`` takes all, if not given.

    Raises
    ------
    TypeError
        If it is something else.
    """
    registry = REGISTRY if registry is None else registry
    if not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry must be a prometheus_client.CollectorRegistry, not {type(registry).__name__}")
    with _lock:
        known = _of_registry.get(registry)
        metrics = Metrics() if known is None else known
        try:
            registry.register(metrics)
        except ValueError:
            # It is there already; or, if this is a new one, something else has its names.
            if known is None:
                raise
        _of_registry[registry] = metrics
    return metrics
