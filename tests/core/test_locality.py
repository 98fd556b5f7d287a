"""The replica table and the choice of workers, beside the definition of the cost in NumPy."""

import threading
from collections import Counter

import numpy as np
import pytest
from benches._locality import LocalityTable
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.naive_locality import FULL, NaiveTable


def arrays(calls, durations):
    """CSR arrays of lists of files."""
    offsets = np.concatenate([[0], np.cumsum([len(files) for files in calls])]).astype(np.uint64)
    files = np.array([file for files in calls for file in files], dtype=np.uint32)
    return offsets, files, np.array(durations, dtype=np.uint64)


@st.composite
def stories(draw):
    n_files, n_workers = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    calls = st.lists(
        st.tuples(st.lists(st.integers(0, n_files - 1), max_size=5), st.integers(0, 500)), min_size=0, max_size=12
    )
    file, worker = st.integers(0, n_files - 1), st.integers(0, n_workers - 1)
    steps = st.one_of(
        st.tuples(st.just("assign"), calls),
        st.tuples(st.just("add_replica"), file, worker),
        st.tuples(st.just("remove_replica"), file, worker),
        st.tuples(st.just("set_queue"), worker, st.integers(0, 1000)),
        st.tuples(st.just("set_capacity"), worker, st.one_of(st.none(), st.integers(0, 3))),
        st.tuples(st.just("leave"), worker),
        st.tuples(st.just("join")),
    )
    return {
        "nbytes": draw(st.lists(st.integers(0, 1000), min_size=n_files, max_size=n_files)),
        "n_workers": n_workers,
        "bandwidth": draw(st.sampled_from([1.0, 0.3, 50.0, float("inf")])),
        "queue_weight": draw(st.sampled_from([1.0, 0.0, 0.7])),
        "moved": draw(st.sampled_from(["batch", "keep", "ignore"])),
        "steps": draw(st.lists(steps, max_size=25)),
    }


@settings(max_examples=300, deadline=None)
@given(stories(), st.integers(0, 2**64 - 1))
def test_every_choice_costs_the_minimum(story, seed):
    rule = story["bandwidth"], story["queue_weight"], story["moved"]
    naive = NaiveTable(story["nbytes"], story["n_workers"], *rule)
    table = LocalityTable(*rule, seed=seed)
    assert [table.add_file(nbytes) for nbytes in story["nbytes"]] == list(range(len(story["nbytes"])))
    assert [table.add_worker() for _ in range(story["n_workers"])] == list(range(story["n_workers"]))

    for name, *values in story["steps"]:
        if name == "assign":
            offsets, files, durations = arrays([c[0] for c in values[0]], [c[1] for c in values[0]])
            charged = np.zeros(len(durations), dtype=np.uint64)
            chosen = table.assign(offsets, files, durations, charged)
            assert chosen.dtype == np.uint32
            assert naive.check(offsets, files, durations, chosen, LocalityTable.NONE) == charged.tolist()
        elif name == "join":
            gone = np.flatnonzero(~naive.known)
            if len(gone):
                worker = table.add_worker()
                assert worker in gone
                naive.known[worker], naive.capacity[worker], naive.queued[worker] = True, FULL, 0
        elif not naive.known[values[0 if name in ("leave", "set_queue", "set_capacity") else 1]]:
            with pytest.raises(IndexError, match="has been removed"):
                getattr(table, "remove_worker" if name == "leave" else name)(*values)
        elif name == "leave":
            table.remove_worker(*values)
            naive.known[values[0]] = False
            naive.held[:, values[0]] = False
        else:
            getattr(table, name)(*values)
            if name == "set_queue":
                naive.queued[values[0]] = values[1]
            elif name == "set_capacity":
                naive.capacity[values[0]] = FULL if values[1] is None else values[1]
            else:
                naive.held[tuple(values)] = name == "add_replica"

        for worker in np.flatnonzero(naive.known).tolist():
            assert table.queued_ns(worker) == naive.queued[worker]
            assert table.capacity(worker) == (None if naive.capacity[worker] == FULL else naive.capacity[worker])
            assert [table.has_replica(f, worker) for f in range(len(naive.nbytes))] == naive.held[:, worker].tolist()


@pytest.mark.parametrize("duration", [0, 7])
def test_ties_are_spread_evenly(duration):
    table = LocalityTable()
    for _ in range(10):
        table.add_worker()
    counts = Counter(table.assign(*arrays([[]] * 1003, [duration] * 1003)).tolist())
    assert sorted(counts.values()) == [100] * 7 + [101] * 3


def test_a_seed_decides_ties():
    def first(seed):
        table = LocalityTable(seed=seed)
        for _ in range(5):
            table.add_worker()
        return table.assign(*arrays([[]], [1])).item()

    assert {first(seed) for seed in range(60)} == set(range(5))
    assert [first(seed) for seed in range(60)] == [first(seed) for seed in range(60)]


def test_calls_with_the_same_input_gather():
    for moved, gathers in (("batch", True), ("keep", True), ("ignore", False)):
        table = LocalityTable(queue_weight=0.01, moved=moved)
        file = table.add_file(1000)
        for _ in range(20):
            table.add_worker()
        chosen = table.assign(*arrays([[file]] * 10, [5] * 10))
        assert len(set(chosen.tolist())) == (1 if gathers else 10)
        assert table.has_replica(file, chosen[0]) == (moved == "keep")


def test_full_workers_get_nothing_until_a_call_is_done():
    table = LocalityTable()
    table.add_worker(2), table.add_worker(1), table.add_worker(0)
    charged = np.empty(4, dtype=np.uint64)
    chosen = table.assign(*arrays([[]] * 4, [10] * 4), charged)
    assert sorted(chosen[:3].tolist()) == [0, 0, 1]
    assert chosen[3] == LocalityTable.NONE and charged.tolist() == [10, 10, 10, 0]
    table.finish(1, 10)
    assert table.queued_ns(1) == 0
    assert table.assign(*arrays([[]], [1])).tolist() == [1]


def test_no_workers_and_no_calls():
    table = LocalityTable()
    assert table.assign(*arrays([[], []], [1, 1])).tolist() == [LocalityTable.NONE] * 2
    assert table.assign(*arrays([], [])).tolist() == []


def test_indices_are_used_again_without_what_was_there():
    table = LocalityTable()
    file, worker = table.add_file(10), table.add_worker()
    table.add_replica(file, worker)
    table.set_queue(worker, 5)
    table.remove_worker(worker)
    assert table.add_worker() == worker
    assert not table.has_replica(file, worker) and table.queued_ns(worker) == 0
    table.add_replica(file, worker)
    table.forget_file(file)
    assert table.add_file(20) == file
    assert not table.has_replica(file, worker)


def test_what_is_wrong_is_named():
    table = LocalityTable()
    table.add_file(1), table.add_file(2**62), table.add_file(2**62)
    table.add_worker()
    offsets, files, durations = arrays([[0, 1], [2]], [1, 1])

    for file in (3, -1, 2**40):
        with pytest.raises(IndexError, match=f"no file {file}: all indices are below 3"):
            table.add_replica(file, 0)
    for worker in (1, -1):
        with pytest.raises(IndexError, match=f"no worker {worker}: all indices are below 1"):
            table.add_replica(0, worker)
    with pytest.raises(IndexError, match=r"files\[1\]: no file 7: all indices are below 3"):
        table.assign(offsets, np.array([0, 7, 1], dtype=np.uint32), durations)
    table.forget_file(0)
    with pytest.raises(IndexError, match=r"files\[0\]: file 0 has been forgotten"):
        table.assign(offsets, files, durations)
    table.add_file(1)

    for wrong, message in (
        ([1, 2, 3], r"offsets\[0\] is 1, and must be 0"),
        ([0, 2, 1], r"offsets\[2\] is 1, and must be at least 2 and at most 3"),
        ([0, 4, 4], r"offsets\[1\] is 4, and must be at least 0 and at most 3"),
        ([0, 3], "2 durations need 3 offsets, not 2"),
        ([0, 3, 3], "the inputs of call 0 have more than 9223372036854775807 bytes together"),
    ):
        with pytest.raises(ValueError, match=message):
            table.assign(np.array(wrong, dtype=np.uint64), files, durations)
    with pytest.raises(ValueError, match="charged_ns must have a place for each of 2 calls, not 1"):
        table.assign(offsets, files, durations, np.empty(1, dtype=np.uint64))
    with pytest.raises(ValueError, match="dtype mismatch"):
        table.assign(offsets.astype(np.int32), files, durations)
    with pytest.raises(ValueError, match="contiguous"):
        table.assign(offsets, np.repeat(files, 2)[::2], durations)
    with pytest.raises(TypeError):
        table.assign(offsets, None, durations)
    assert table.queued_ns(0) == 0  # nothing of all that was assigned

    for attempt in (
        lambda: table.add_file(-1),
        lambda: table.add_file(2**63),
        lambda: table.add_worker(-1),
        lambda: table.set_queue(0, -1),
        lambda: table.finish(0, 2**63),
        lambda: LocalityTable(bandwidth_bytes_per_ns=0),
        lambda: LocalityTable(queue_weight=float("nan")),
        lambda: LocalityTable(moved="yes"),
    ):
        with pytest.raises(ValueError, match="must be"):
            attempt()


def test_threads_wait_for_each_other():
    table = LocalityTable(moved="keep")
    files = [table.add_file(100) for _ in range(50)]
    for _ in range(8):
        table.add_worker()
    batch = arrays([[i % 50, (i * 7) % 50] for i in range(2000)], [10] * 2000)
    failures = []

    def assign():
        for _ in range(20):
            if table.assign(*batch).max() >= 64:
                failures.append("no worker")

    def churn():
        for i in range(300):
            worker = table.add_worker()
            table.add_replica(files[i % 50], worker)
            table.remove_worker(worker)

    threads = [threading.Thread(target=target) for target in (assign, assign, churn, churn)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
