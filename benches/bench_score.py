"""The choice of a worker for each call by where its inputs are, beside the same definition in NumPy.

The NumPy baselines do less: they choose for all calls of a batch at once, with the queues and replicas as they are at
its start. That a choice depends on those before it (queues grow, capacity falls, moved files are replicas) has no form
in array algebra short of one NumPy step per call. So they send call after call to the same short queues, which
`LocalityTable` does not.
"""

import numpy as np
import pytest
from benches._locality import LocalityTable

from tests.helpers.naive_locality import NaiveTable

ROUNDS = 10
BANDWIDTH = 1.25  # bytes per ns: 10 Gbit/s
QUEUE_WEIGHT = 1.0
REPLICAS = 3
INPUTS = 4
CALLS_AT_ONCE = 100  # of the dense baseline: its costs stay in the cache; more and fewer are slower


class Batch:
    """Files with three replicas each, workers with something queued, and calls with four inputs each."""

    def __init__(self, n_calls, n_workers, n_files):
        random = np.random.default_rng(1)
        self.n_calls, self.n_workers = n_calls, n_workers
        self.nbytes = random.integers(1_000, 10_000_000, n_files)
        self.holders = random.permuted(np.tile(np.arange(n_workers), (n_files, 1)), axis=1)[:, :REPLICAS]
        self.queued = random.integers(0, 5_000_000, n_workers)
        self.inputs = random.permuted(np.tile(np.arange(n_files, dtype=np.uint32), (100, 1)), axis=1)
        rows = random.integers(0, len(self.inputs), n_calls)
        starts = random.integers(0, n_files - INPUTS, n_calls)
        self.inputs = self.inputs[rows[:, None], starts[:, None] + np.arange(INPUTS)]  # a call's inputs are distinct
        self.durations = random.integers(100_000, 10_000_000, n_calls).astype(np.uint64)

    def table(self):
        table = LocalityTable(BANDWIDTH, QUEUE_WEIGHT, moved="batch")
        for nbytes in self.nbytes.tolist():
            table.add_file(nbytes)
        for queued in self.queued.tolist():
            table.set_queue(table.add_worker(), queued)
        for file, holders in enumerate(self.holders.tolist()):
            for worker in holders:
                table.add_replica(file, worker)
        return table

    def naive(self):
        naive = NaiveTable(self.nbytes, self.n_workers, BANDWIDTH, QUEUE_WEIGHT, "batch")
        naive.held[np.arange(len(self.nbytes))[:, None], self.holders] = True
        naive.queued[:] = self.queued
        return naive

    def parts(self, batch):
        """Arrays of `batch` calls each."""
        for i in range(0, self.n_calls, batch):
            inputs = self.inputs[i : i + batch]
            offsets = np.arange(len(inputs) + 1, dtype=np.uint64) * INPUTS
            yield offsets, inputs.ravel(), self.durations[i : i + batch]


def assign_all(table, parts):
    return [table.assign(*part) for part in parts]


def dense(ns_there, queue_cost, inputs):
    """Costs of every call at every worker, less what is the same at all: a call's total bytes."""
    chosen = np.empty(len(inputs), dtype=np.intp)
    costs = np.empty((CALLS_AT_ONCE, len(queue_cost)))
    rows = np.empty_like(costs)
    for i in range(0, len(inputs), CALLS_AT_ONCE):
        part = inputs[i : i + CALLS_AT_ONCE]
        out, row = costs[: len(part)], rows[: len(part)]
        out[:] = queue_cost
        for k in range(INPUTS):
            np.take(ns_there, part[:, k], axis=0, out=row, mode="clip")
            out -= row
        out.argmin(axis=1, out=chosen[i : i + len(part)])
    return chosen


def sparse(nbytes, holders, queued, inputs):
    """Costs where something is, and at the shortest queue, by sorting (call, worker)."""
    n_calls, n_workers = len(inputs), len(queued)
    pairs = (np.arange(n_calls)[:, None, None] * n_workers + holders[inputs]).ravel()
    present = np.repeat(nbytes[inputs].ravel(), REPLICAS)
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    first = np.flatnonzero(np.diff(pairs, prepend=-1))
    pairs, present = pairs[first], np.add.reduceat(present[order], first)
    calls, workers = np.divmod(pairs, n_workers)
    queue_cost = QUEUE_WEIGHT * queued
    total = nbytes[inputs].sum(axis=1)
    costs = (total[calls] - present) / BANDWIDTH + queue_cost[workers]
    starts = np.flatnonzero(np.diff(calls, prepend=-1))
    least = np.minimum.reduceat(costs, starts)
    hits = np.flatnonzero(costs == least[calls])
    chosen = np.empty(n_calls, dtype=np.intp)
    chosen[calls[hits[::-1]]] = workers[hits[::-1]]
    shortest = queue_cost.argmin()
    return np.where(total / BANDWIDTH + queue_cost[shortest] < least, shortest, chosen)


@pytest.fixture
def make(request):
    """Make what is to be timed; small where nothing is timed."""
    small = request.config.getoption("benchmark_disable")

    def make(n_calls, n_workers):
        if small:
            return Batch(min(n_calls, 200), min(n_workers, 50), 200)
        return Batch(n_calls, n_workers, 5_000)

    return make


def report(benchmark, batch):
    benchmark.extra_info["calls"] = batch.n_calls
    benchmark.extra_info["workers"] = batch.n_workers
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_call"] = round(1e9 * benchmark.stats.stats.median / batch.n_calls, 1)


@pytest.mark.parametrize("n_workers", [10, 1_000])
@pytest.mark.parametrize("n_calls", [1, 100, 10_000])
@pytest.mark.benchmark(group="score")
def test_assign(benchmark, make, n_calls, n_workers):
    """10 000 calls in batches of `n_calls`."""
    batch = make(10_000, n_workers)
    parts = list(batch.parts(n_calls))
    chosen = benchmark.pedantic(assign_all, setup=lambda: ((batch.table(), parts), {}), rounds=ROUNDS)
    naive = batch.naive()
    for part, workers in zip(parts, chosen, strict=True):
        naive.check(*part, workers, LocalityTable.NONE, every=1 if len(parts) > 1 else 20)
    report(benchmark, batch)


def assert_minimum(batch, chosen):
    naive = batch.naive()
    for i in range(0, batch.n_calls, 50):
        costs = naive.costs(batch.inputs[i])
        assert costs[chosen[i]] == pytest.approx(costs.min(), rel=1e-12)


@pytest.mark.parametrize("n_workers", [10, 1_000])
@pytest.mark.benchmark(group="score")
def test_numpy_dense(benchmark, make, n_workers):
    """All 10 000 x `n_workers` costs, without the sequence."""
    batch = make(10_000, n_workers)
    held = batch.naive().held
    ns_there = np.where(held, batch.nbytes[:, None], 0) / BANDWIDTH
    chosen = benchmark.pedantic(dense, args=(ns_there, QUEUE_WEIGHT * batch.queued, batch.inputs), rounds=ROUNDS // 2)
    assert_minimum(batch, chosen)
    report(benchmark, batch)


@pytest.mark.parametrize("n_workers", [10, 1_000])
@pytest.mark.benchmark(group="score")
def test_numpy_sparse(benchmark, make, n_workers):
    """The sparsity that vinefast uses, in NumPy, without the sequence."""
    batch = make(10_000, n_workers)
    chosen = benchmark.pedantic(sparse, args=(batch.nbytes, batch.holders, batch.queued, batch.inputs), rounds=ROUNDS)
    assert_minimum(batch, chosen)
    report(benchmark, batch)
