"""as_completed and wait, apart from any engine."""

import concurrent.futures
import math
import struct
import threading
import time
import weakref
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future
from concurrent.futures import TimeoutError as FutureTimeout

import numpy as np
import pytest
from benches._stages import Stages
from parsl.dataflow.futures import AppFuture

import vinefast
from tests.helpers.waiting import wait_until
from vinefast._core import CallFuture
from vinefast.calls import waiting

# A result frame with one call, which returned None.
NONE = struct.pack("<4sIQQQIII28xIIQ", b"VFR1", 1, 88, 0, 0, 0, 1, 1, 0, 0, 0)


def app_future():
    return AppFuture({"id": 1, "func_name": "app"})


KINDS = {"calls": CallFuture, "apps": app_future, "others": Future}


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


def later(*steps, subscribed=()):
    """Do this on another thread, a moment later each; first of all, once somebody waits for these."""

    def work():
        assert wait_until(lambda: len(callbacks(subscribed)) == len(subscribed), 30)
        for step in steps:
            never.wait(0.05)
            step()

    never = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def callbacks(futures):
    return [callback for future in futures for callback in future._done_callbacks]


def test_futures_come_as_they_are_done(make):
    futures = [make() for _ in range(4)]
    futures[3].set_result(3)
    thread = later(
        lambda: futures[1].set_result(1),
        lambda: futures[0].set_exception(KeyError()),
        lambda: futures[2].set_result(2),
        subscribed=futures[:3],
    )
    found = list(vinefast.as_completed([*futures, futures[0]], timeout=30))
    assert found == [futures[3], futures[1], futures[0], futures[2]]
    thread.join()


def test_futures_of_all_kinds_come_together():
    futures = [make() for make in KINDS.values()]
    thread = later(*(lambda future=future: future.set_result(1) for future in futures), subscribed=futures)
    assert list(vinefast.as_completed(iter(futures))) == futures
    thread.join()
    assert vinefast.wait(futures) == (set(futures), set())


def test_what_is_not_done_in_time(make):
    futures = [make() for _ in range(3)]
    futures[0].set_result(0)
    found = vinefast.as_completed(futures, timeout=0.05)
    assert next(found) is futures[0]
    with pytest.raises(FutureTimeout, match=r"2 \(of 3\) futures unfinished"):
        next(found)
    assert vinefast.wait(futures, timeout=0) == ({futures[0]}, set(futures[1:]))
    assert vinefast.wait(futures, timeout=0.05) == ({futures[0]}, set(futures[1:]))
    assert callbacks(futures[1:]) == []


@pytest.mark.parametrize("timeout", [math.inf, 1e300, np.float64("inf"), 10**400])
def test_a_timeout_longer_than_the_system_can_count(timeout):
    future = Future()
    threading.Timer(0.1, future.set_result, [1]).start()
    assert vinefast.wait([future], timeout=timeout).done == {future}
    assert list(vinefast.as_completed([future], timeout=timeout)) == [future]


def test_a_timeout_of_numpy_is_as_exact_as_any(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 1e7 + 0.25)
    assert waiting._deadline(np.float32(0.5)) == 1e7 + 0.75


def test_whoever_stops_early_leaves_no_callbacks(make):
    futures = [make() for _ in range(3)]
    thread = later(lambda: futures[0].set_result(0), subscribed=futures)
    found = vinefast.as_completed(futures)
    next(found)
    assert len(callbacks(futures[1:])) == 2
    found.close()
    assert callbacks(futures[1:]) == []
    thread.join()


def test_a_future_that_was_taken_is_not_kept():
    futures = [CallFuture(), CallFuture()]
    gone = weakref.ref(futures[0])
    found = vinefast.as_completed(futures)
    thread = later(lambda: Stages.finish(NONE, [futures[0]]))
    assert next(found) is futures[0]
    thread.join()
    del futures[0], thread
    assert gone() is None


def test_waiting_for_the_first_one(make):
    futures = [make() for _ in range(3)]
    thread = later(lambda: futures[1].set_result(1))
    assert vinefast.wait(futures, 30, FIRST_COMPLETED) == ({futures[1]}, {futures[0], futures[2]})
    thread.join()
    assert vinefast.wait(futures, 30, FIRST_COMPLETED).done == {futures[1]}
    assert callbacks([futures[0], futures[2]]) == []


def test_waiting_for_the_first_exception(make):
    futures = [make() for _ in range(4)]
    futures[0].set_result(0)
    thread = later(lambda: futures[1].set_result(1), lambda: futures[2].set_exception(KeyError()))
    assert vinefast.wait(futures, 30, FIRST_EXCEPTION) == (set(futures[:3]), {futures[3]})
    thread.join()
    assert vinefast.wait(futures, 30, FIRST_EXCEPTION).not_done == {futures[3]}


def test_a_cancelled_one_is_done_and_no_exception():
    futures = [CallFuture(), CallFuture()]
    thread = later(futures[0].cancel, lambda: futures[1].set_result(1))
    assert vinefast.wait(futures, 30, FIRST_EXCEPTION).done == set(futures)
    thread.join()


def test_nothing_to_wait_for():
    assert list(vinefast.as_completed([])) == []
    assert vinefast.wait([], progress=True) == (set(), set())


def test_what_is_no_future_is_named():
    with pytest.raises(TypeError, match="3 is no future; accepted: what submit, or an app, has returned"):
        vinefast.as_completed([3])
    with pytest.raises(TypeError, match="3 is no future"):
        vinefast.wait([3])
    with pytest.raises(ValueError, match="return_when is 'SOON'; accepted: 'ALL_COMPLETED'"):
        vinefast.wait([CallFuture()], return_when="SOON")


def test_it_does_what_the_standard_library_does():
    for seed in range(20):
        futures = [(CallFuture, Future)[(seed + i) % 2]() for i in range(7)]
        for i, future in enumerate(futures):
            kind = (seed * 7 + i * 3) % 5
            if kind == 1:
                future.set_result(i)
            elif kind == 2:
                future.set_exception(KeyError(i))
        for return_when in (concurrent.futures.ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
            theirs = concurrent.futures.wait(futures, 0, return_when)
            assert vinefast.wait(futures, 0, return_when) == theirs


def test_a_tally_counts_and_lets_go():
    futures = [CallFuture() for _ in range(4)]
    pending = set(futures)
    with waiting._finished(pending) as finished:
        tally = waiting._Tally(pending, finished)
        assert (tally.count().done, tally.count().total) == (0, 4)
        futures[0].set_result(0)
        futures[1].set_exception(KeyError())
        futures[2].cancel()
        counts = tally.count()
        assert (counts.done, counts.total, counts.failed, counts.cancelled) == (3, 4, 1, 1)
        assert pending == {futures[3]}
