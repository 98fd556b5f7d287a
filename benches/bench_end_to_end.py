"""The measures of ``vinefast bench`` under pytest-benchmark, which can compare two versions of vinefast."""

import time

import pytest

from vinefast.bench.calls import noop
from vinefast.bench.measures import MEASURES, NotMeasured, run_apps, run_calls

ROUNDS = 5
# pytest-benchmark times the other two itself.
OTHERS = [name for name, measure in MEASURES.items() if measure.samples and name not in ("executor", "apps")]


def report_rate(benchmark, count):
    if benchmark.stats:
        benchmark.extra_info["calls"] = count
        benchmark.extra_info["calls_per_s"] = round(count / benchmark.stats.stats.median)


@pytest.mark.benchmark(group="no-op calls at the executor")
def test_calls(benchmark, peer, effort):
    count = effort.calls if peer.full_size else effort.calls // 10
    benchmark.pedantic(run_calls, args=(peer, count), rounds=ROUNDS)
    report_rate(benchmark, count)


@pytest.mark.benchmark(group="no-op apps through Parsl")
def test_apps(benchmark, peer, effort):
    if not peer.through_parsl:
        pytest.skip("Parsl apps do not run on it")
    benchmark.pedantic(run_apps, args=(peer, effort.apps), rounds=ROUNDS)
    report_rate(benchmark, effort.apps)


@pytest.mark.parametrize("name", OTHERS)
def test_measure(benchmark, peer, effort, name):
    def measure():
        try:
            return list(MEASURES[name].samples(peer, effort))
        except NotMeasured as reason:
            pytest.skip(str(reason))

    benchmark.group = f"{name}: {MEASURES[name].title}"
    for case, metrics in benchmark.pedantic(measure, rounds=1):
        assert all(value >= 0 for value in metrics.values())
        benchmark.extra_info[case or name] = metrics


@pytest.mark.benchmark(group="widest gap between the results of no-op calls")
def test_widest_gap(benchmark, peer, effort):
    if peer.name != "vinefast":
        pytest.skip("only vinefast is held to this")
    done_at = []

    def run():
        futures = []
        for i in range(5 * effort.calls):
            future = peer.submit(noop, i)
            future.add_done_callback(lambda _: done_at.append(time.perf_counter()))
            futures.append(future)
        peer.wait(futures)

    benchmark.pedantic(run, rounds=1)
    gaps = [later - earlier for earlier, later in zip(done_at, done_at[1:], strict=False)]
    assert len(gaps) == 5 * effort.calls - 1
    benchmark.extra_info["widest_gap_ms"] = round(1e3 * max(gaps), 3)
