"""No-op calls from end to end, beside Parsl's own executors and a floor that no executor passes on one core."""

import pickle
import time
from concurrent.futures import Future

import pytest

from benches.conftest import noop, nothing
from vinefast import VineFastExecutor

ROUNDS = 5


def in_one_process(n):
    """Do what every executor must do for a call, and nothing else."""
    for i in range(n):
        future = Future()
        args, kwargs = pickle.loads(pickle.dumps(((i,), {}), 5))
        future.set_result(pickle.loads(pickle.dumps(nothing(*args, **kwargs), 5)))


def submit_all(executor, n):
    """Call the executor itself, as Parsl does."""
    for future in [executor.submit(nothing, {}, i) for i in range(n)]:
        future.result()


def apps(n):
    """Call an app through Parsl."""
    for future in [noop() for _ in range(n)]:
        future.result()


def one_at_a_time(n):
    """Call an app, wait for it, and so on; returns each round trip in seconds."""
    trips = []
    for _ in range(n):
        start = time.perf_counter()
        noop().result()
        trips.append(time.perf_counter() - start)
    return trips


def report_rate(benchmark, n):
    benchmark.extra_info["calls"] = n
    benchmark.extra_info["calls_per_s"] = round(n / benchmark.stats.stats.median)


@pytest.mark.benchmark(group="20 000 no-op calls at the executor")
def test_floor(benchmark):
    benchmark.pedantic(in_one_process, args=(20_000,), rounds=ROUNDS)
    report_rate(benchmark, 20_000)


@pytest.mark.benchmark(group="20 000 no-op calls at the executor")
def test_executor(benchmark, loaded):
    n = 20_000 if isinstance(loaded, VineFastExecutor) else 2_000
    benchmark.pedantic(submit_all, args=(loaded, n), rounds=ROUNDS)
    report_rate(benchmark, n)


@pytest.mark.benchmark(group="no-op apps through Parsl")
def test_apps(benchmark, loaded):
    benchmark.pedantic(apps, args=(2_000,), rounds=ROUNDS)
    report_rate(benchmark, 2_000)


@pytest.mark.benchmark(group="one no-op app at a time through Parsl")
def test_one_at_a_time(benchmark, loaded):
    trips = sorted(benchmark.pedantic(one_at_a_time, args=(2_000,), rounds=1))
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1)):
        benchmark.extra_info[name] = round(1e3 * trips[min(int(share * len(trips)), len(trips) - 1)], 3)


@pytest.mark.benchmark(group="100 000 no-op calls, widest gap between two results")
def test_widest_gap(benchmark, loaded):
    if not isinstance(loaded, VineFastExecutor):
        pytest.skip("only vinefast is held to this")
    done_at = []

    def run():
        futures = []
        for i in range(100_000):
            future = loaded.submit(nothing, {}, i)
            future.add_done_callback(lambda _: done_at.append(time.perf_counter()))
            futures.append(future)
        for future in futures:
            future.result()

    benchmark.pedantic(run, rounds=1)
    gaps = [later - earlier for earlier, later in zip(done_at, done_at[1:], strict=False)]
    assert len(gaps) == 99_999
    benchmark.extra_info["widest_gap_ms"] = round(1e3 * max(gaps), 3)
