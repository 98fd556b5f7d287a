"""What a call asks for: cores, memory and GPUs of a worker, its place in the order, its category."""

import os
import threading
import time

import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.waiting import wait_for_file, wait_until

# More than this machine may have: a worker believes what it is told.
EIGHT_CORES = TaskVineFactoryConfig(cores=8, memory=8000, disk=800)


def occupy(directory, expected):
    """Be counted while running, until as many as expected are there or it is clear that they are not; give the most."""
    mine = os.path.join(directory, f"{os.getpid()}-{time.monotonic_ns()}")
    open(mine, "x").close()
    most, end = 0, time.monotonic() + 5
    while time.monotonic() < end and most < expected:
        most = max(most, len(os.listdir(directory)))
        time.sleep(0.01)
    time.sleep(0.1)
    most = max(most, len(os.listdir(directory)))
    os.unlink(mine)
    return most


def environment(*names):
    return {name: os.environ.get(name) for name in names}


def check_most_at_once(executor, directory, spec, expected):
    directory.mkdir()
    futures = [executor.submit(occupy, spec, str(directory), expected) for _ in range(2 * expected)]
    assert max(future.result(60) for future in futures) == expected


@pytest.fixture
def eight(make_executor):
    executor = make_executor(factory_config=EIGHT_CORES)
    assert wait_until(lambda: executor.stats()["slots"] == 8)
    return executor


def test_a_call_takes_the_largest_of_its_parts(eight, tmp_path):
    check_most_at_once(eight, tmp_path / "one", {"cores": 1}, 8)
    check_most_at_once(eight, tmp_path / "four", {"cores": 4}, 2)
    check_most_at_once(eight, tmp_path / "memory", {"cores": 1, "memory": 3000}, 2)
    check_most_at_once(eight, tmp_path / "whole", {"cores": 8}, 1)


def test_wide_calls_get_their_turn_among_narrow_ones(eight, tmp_path):
    order = []
    narrow = [eight.submit(time.sleep, None, 0.05) for _ in range(100)]
    wide = eight.submit(time.sleep, {"cores": 6}, 0.05)
    narrow += [eight.submit(time.sleep, None, 0.05) for _ in range(200)]
    for future in narrow[-50:]:
        future.add_done_callback(lambda _: order.append("narrow"))
    wide.add_done_callback(lambda _: order.append("wide"))
    for future in [wide, *narrow]:
        future.result(60)
    assert order[0] == "wide"


def test_what_no_worker_can_take_waits_and_holds_up_nobody(make_executor, by_hand):
    eight = make_executor(worker_launch_method="manual", factory_config=EIGHT_CORES)
    by_hand(eight)
    huge = eight.submit(abs, {"cores": 9}, -1)
    gpu = eight.submit(abs, {"gpus": 1}, -1)
    assert [eight.submit(abs, {"cores": 2}, -k).result(30) for k in range(20)] == list(range(20))
    assert eight.submit(abs, None, -3).result(30) == 3
    assert not huge.done() and not gpu.done()
    assert wait_until(lambda: eight.stats()["calls_too_large"] == 2)
    assert huge.cancel() and gpu.cancel()
    eight.submit(abs, None, -1).result(30)
    assert wait_until(lambda: eight.stats()["calls_too_large"] == 0)


class Last:
    """Takes long to pickle: until no other call of its specification is left."""

    def __init__(self, executor):
        self._executor = executor

    def __reduce__(self):
        assert wait_until(lambda: self._executor.outstanding() == 0)
        return int, (-1,)


def test_a_call_that_was_made_while_the_last_one_like_it_ended_is_refused_too(make_executor, by_hand):
    manager_config = TaskVineManagerConfig(port=0, tune_parameters={"larger-worker-timeout": 1})
    executor = make_executor(worker_launch_method="manual", manager_config=manager_config)
    by_hand(executor, "--cores=1")
    for argument in (-1, Last(executor)):
        future = executor.submit(abs, {"cores": 2}, argument)
        assert isinstance(future.exception(30), InvalidResourceSpecification)


def test_numeric_libraries_use_what_a_call_asks_for(eight):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert eight.submit(environment, None, *names).result(30) == dict.fromkeys(names, "1")
    assert eight.submit(environment, {"cores": 4}, *names).result(30) == dict.fromkeys(names, "4")


def blas_threads():
    import numpy as np
    from threadpoolctl import threadpool_info

    assert np.ones(2) @ np.ones(2) == 2
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="these libraries want no more threads than there are cores"
)
def test_numeric_libraries_that_are_loaded_already_are_told(make_executor):
    executor = make_executor(
        factory_config=TaskVineFactoryConfig(cores=2),
        manager_config=TaskVineManagerConfig(port=0, library_config={"num_slots": 1}),
    )
    got = [executor.submit(blas_threads, spec).result(30) for spec in (None, {"cores": 1}, None)]
    assert got == [{2}, {1}, {2}]


def test_numeric_libraries_use_what_the_user_says(make_executor):
    executor = make_executor(
        factory_config=EIGHT_CORES, manager_config=TaskVineManagerConfig(port=0, env_vars={"OMP_NUM_THREADS": "3"})
    )
    assert executor.submit(environment, {"cores": 4}, "OMP_NUM_THREADS").result(30) == {"OMP_NUM_THREADS": "3"}


def test_gpus_are_shared_out_among_slots(make_executor, tmp_path):
    executor = make_executor(
        factory_config=TaskVineFactoryConfig(cores=8, memory=8000, disk=800, gpus=4),
        manager_config=TaskVineManagerConfig(port=0, library_config={"num_slots": 4}),
    )
    check_most_at_once(executor, tmp_path / "gpu", {"gpus": 1}, 4)
    check_most_at_once(executor, tmp_path / "gpus", {"gpus": 2}, 2)
    seen = {
        executor.submit(environment, {"gpus": 1}, "VINEFAST_SLOT", "CUDA_VISIBLE_DEVICES").result(30).values()
        for _ in range(4)
    }
    assert all(slot == device for slot, device in map(tuple, seen))


@pytest.mark.parametrize(("order", "first"), [("highest_first", 9), ("lowest_first", 0)])
def test_priorities_go_in_the_order_that_is_asked_for(make_executor, order, first):
    executor = make_executor(factory_config=TaskVineFactoryConfig(cores=1), priority_order=order)
    executor.submit(abs, None, 1).result(30)
    done, lock = [], threading.Lock()
    blocker = executor.submit(time.sleep, None, 0.5)

    def note(priority):
        with lock:
            done.append(priority)

    futures = [executor.submit(time.sleep, {"priority": k}, 0.12) for k in range(10)]
    for k, future in enumerate(futures):
        future.add_done_callback(lambda _, k=k: note(k))
    for future in [blocker, *futures]:
        future.result(30)
    # The first two may have gone out before the others were there.
    assert first in done[:3]
    assert done[2:] == sorted(done[2:], reverse=order == "highest_first")


def test_calls_of_many_priorities_share_bundles_and_leave_nothing_behind(make_executor, tmp_path):
    executor = make_executor(factory_config=TaskVineFactoryConfig(cores=1))
    n_calls, order = 2000, []
    for future in [executor.submit(abs, None, -k) for k in range(2000)]:
        future.result(30)  # now it is known how long this takes
    gate = tmp_path / "gate"
    blockers = [executor.submit(wait_for_file, None, str(gate)) for _ in range(4)]
    assert wait_until(lambda: executor.stats()["bundles_running"] >= 2)
    before = executor.stats()
    futures = [executor.submit(abs, {"priority": k * 7 % n_calls}, -k) for k in range(n_calls)]
    for k, future in enumerate(futures):
        future.add_done_callback(lambda _, priority=k * 7 % n_calls: order.append(priority))
    assert len(executor._parts.engine.specifications()) >= n_calls
    gate.touch()
    assert [future.result(60) for future in futures] == list(range(n_calls))
    for future in blockers:
        future.result(30)
    assert order[2:] == sorted(order[2:], reverse=True)  # the first may have gone before the others were there
    assert executor.stats()["bundles_sent"] - before["bundles_sent"] < n_calls / 20
    assert len(executor._parts.engine.specifications()) <= 1
