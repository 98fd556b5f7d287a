"""Results of many megabytes: where they lie on this side, and what happens to those that do not fit."""

import numpy as np
import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from vinefast.errors import ResultTooLarge, StdoutMissing

TOO_MANY = 4_000_000  # floats


def ones(n):
    import numpy

    return numpy.ones(n)


def test_an_array_lies_where_it_was_received(make_executor):
    executor = make_executor()
    for n in (1_000, 100_000, 2_000_000):
        array = executor.submit(ones, {}, n).result(30)
        assert not array.flags.owndata
        assert array.ctypes.data % 64 == 0
        assert array.flags.writeable
        np.testing.assert_array_equal(array, np.ones(n))


def test_an_array_outlives_the_executor(make_executor):
    executor = make_executor()
    array = executor.submit(ones, {}, 2_000_000).result(30)
    executor.shutdown()
    del executor
    array += 1
    assert array.sum() == 4_000_000


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_a_result_beyond_taskvines_limit_fails_and_none_is_cut_short(make_executor, mode):
    config = TaskVineManagerConfig(port=0, tune_parameters={"max-task-stdout-storage": "1M"})
    executor = make_executor(function_exec_mode=mode, manager_config=config)
    with pytest.raises(
        ResultTooLarge, match=r"of ones does not fit.* 1048576 is the limit .*max-task-stdout"
    ) as caught:
        executor.submit(ones, {}, 200_000).result(30)
    assert caught.value.app == "ones"
    assert caught.value.nbytes > 1_600_000
    assert executor.submit(ones, {}, 130_000).result(30).sum() == 130_000


def test_results_of_one_bundle_are_not_counted_against_each_other(make_executor):
    config = TaskVineManagerConfig(port=0, tune_parameters={"max-task-stdout-storage": "1M", "bundle-ms": 1000})
    executor = make_executor(manager_config=config)
    for _ in range(3):
        assert [f.result(30) for f in [executor.submit(abs, {}, -i) for i in range(100)]] == list(range(100))
    futures = [executor.submit(ones, {}, 60_000 + i) for i in range(40)]
    assert [f.result(30).size for f in futures] == [60_000 + i for i in range(40)]


@pytest.fixture
def small_disk(mount_disk):
    return mount_disk(24 << 20)


@pytest.fixture
def cramped(make_executor, small_disk, by_hand):
    """An executor, in serverless mode if not said otherwise, with a worker that has a small disk."""

    def make(**arguments):
        executor = make_executor(worker_launch_method="manual", **arguments)
        by_hand(executor, "--cores", "1", directory=small_disk)
        return executor

    return make


def pid():
    import os

    return os.getpid()


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_a_result_that_the_workers_disk_cannot_hold(cramped, mode):
    executor = cramped(function_exec_mode=mode)
    before = executor.submit(pid, {}).result(60)
    with pytest.raises(ResultTooLarge, match=r"of ones does not fit.*No space left on device") as caught:
        executor.submit(ones, {}, TOO_MANY).result(60)
    assert caught.value.nbytes > 8 * TOO_MANY
    assert caught.value.result == "VINE_RESULT_STDOUT_MISSING"
    after = executor.submit(pid, {}).result(60)
    assert after == before or mode == "regular"
    assert executor.submit(ones, {}, 100_000).result(60).sum() == 100_000


def test_only_the_culprit_of_a_bundle_fails(cramped):
    executor = cramped()

    def result(i, log, large):
        with open(log, "a") as file:
            file.write(f"{i}\n")
        return b"." * (8 * large) if large else i

    return_many = [executor.submit(abs, {}, -i) for i in range(200)]  # from which bundles learn their size
    assert [f.result(60) for f in return_many] == list(range(200))
    log = str(executor.run_dir + "/log")
    futures = [executor.submit(result, {}, i, log, TOO_MANY if i % 40 == 20 else 0) for i in range(200)]
    for i, future in enumerate(futures):
        if i % 40 == 20:
            with pytest.raises(ResultTooLarge):
                future.result(60)
        else:
            assert future.result(60) == i
    with open(log) as file:
        assert sorted(map(int, file)) == list(range(200))  # each has run once
    # A bundle that comes while the disk is full may not be begun, and is sent again.
    assert executor.stats()["workers_joined"] == 1


def test_a_call_that_fills_the_disk_fails_and_the_worker_goes_on(cramped):
    executor = cramped()

    def fill():
        with open("rubbish", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        return "text" * 500

    with pytest.raises(StdoutMissing, match="disk is full|No space left"):
        executor.submit(fill, {}).result(60)
    assert executor.submit(abs, {}, -1).result(60) == 1
