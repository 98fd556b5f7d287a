"""The future of a call, apart from any engine."""

import asyncio
import concurrent.futures
import gc
import threading
import weakref

import pytest

from vinefast._core import CallFuture


def finished_by(future, finish):
    threading.Timer(0.05, finish, (future,)).start()
    return future


def test_is_a_future():
    future = CallFuture()
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done() and not future.running() and not future.cancelled()
    future.set_result(3)
    assert future.done() and future.result() == 3 and future.exception() is None
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(4)
    assert "finished returned int" in repr(future)


def test_waiting():
    future = finished_by(CallFuture(), lambda f: f.set_result("late"))
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.001)
    assert future.result(timeout=10) == "late"
    future = finished_by(CallFuture(), lambda f: f.set_exception(KeyError("k")))
    with pytest.raises(KeyError):
        future.result(timeout=10)
    assert isinstance(future.exception(), KeyError)


def test_cancelled():
    future = CallFuture()
    seen = []
    future.add_done_callback(seen.append)
    assert future.cancel() and future.cancelled() and future.done()
    assert seen == [future]
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert not future.set_running_or_notify_cancel()
    assert future.done()


def test_callbacks_before_and_after():
    future = CallFuture()
    seen = []
    future.add_done_callback(lambda f: seen.append(("before", f.result())))
    future.add_done_callback(lambda f: 1 / 0)  # logged, as in the standard library
    future.set_result(1)
    future.add_done_callback(lambda f: seen.append(("after", f.result())))
    assert seen == [("before", 1), ("after", 1)]


def test_functions_of_the_standard_library():
    futures = [CallFuture() for _ in range(3)]
    finished_by(futures[0], lambda f: f.set_result(0))
    done, rest = concurrent.futures.wait(futures, timeout=10, return_when=concurrent.futures.FIRST_COMPLETED)
    assert done == {futures[0]} and rest == set(futures[1:])
    finished_by(futures[1], lambda f: f.set_result(1))
    finished_by(futures[2], lambda f: f.cancel() and f.set_running_or_notify_cancel())
    assert set(concurrent.futures.as_completed(futures, timeout=10)) == set(futures)
    later = finished_by(CallFuture(), lambda f: f.set_result(5))

    async def wait():
        return await asyncio.wrap_future(later)

    assert asyncio.run(wait()) == 5


def test_the_collector_ignores_it_until_it_may_be_in_a_cycle():
    future = CallFuture()
    assert not gc.is_tracked(future)
    future.add_done_callback(print)
    assert gc.is_tracked(future)
    future = CallFuture()
    future.set_result([])
    assert gc.is_tracked(future)


@pytest.mark.parametrize("tie", ["result", "callback"])
def test_a_cycle_is_collected(tie):
    future = CallFuture()
    gone = weakref.ref(future)
    if tie == "result":
        future.set_result([future])
    else:
        future.add_done_callback(lambda f, itself=future: None)
    del future
    gc.collect()
    assert gone() is None


def test_users_may_set_attributes():
    future = CallFuture()
    future.note = "mine"
    assert future.note == "mine"
