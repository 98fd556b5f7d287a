"""The future of a call, apart from any engine."""

import asyncio
import concurrent.futures
import gc
import struct
import subprocess
import sys
import threading
import weakref

import pytest
from benches._stages import Stages

from vinefast._core import CallFuture

# A result frame with one call, which returned None.
NONE = struct.pack("<4sIQQQIII28xIIQ", b"VFR1", 1, 88, 0, 0, 0, 1, 1, 0, 0, 0)


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


class Falsy(Exception):
    """As one that counts what it is about, and has counted nothing."""

    def __len__(self):
        return 0


@pytest.mark.parametrize("is_late", [False, True])
def test_an_exception_that_is_false_is_raised(is_late):
    future, error = CallFuture(), Falsy("false")
    if is_late:
        finished_by(future, lambda f: f.set_exception(error))
    else:
        future.set_exception(error)
    with pytest.raises(Falsy) as raised:
        future.result(timeout=10)
    assert raised.value is error and future.exception() is error


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


@pytest.mark.parametrize("tie", ["result", "callback", "attribute"])
def test_a_cycle_is_collected(tie):
    future = CallFuture()
    gone = weakref.ref(future)
    if tie == "result":
        future.set_result([future])
    elif tie == "attribute":
        future.itself = future
    else:
        future.add_done_callback(lambda f, itself=future: None)
    del future
    gc.collect()
    assert gone() is None


def test_users_may_set_attributes():
    future = CallFuture()
    future.note = "mine"
    assert future.note == "mine"
    with pytest.raises(AttributeError):
        future.duration_ns = 3
    del future.note
    assert not hasattr(future, "note")


@pytest.fixture
def collection():
    """Run something on another thread in a collection that comes when so many more objects have been made."""
    thresholds = gc.get_threshold()
    gc.collect()
    hooks = []
    fresh = []

    def start(n_objects, function):
        def hook(phase, info):
            if phase == "start" and hook in gc.callbacks:
                gc.callbacks.remove(hook)
                thread = threading.Thread(target=function)
                thread.start()
                thread.join(30)

        hooks.append(hook)
        gc.callbacks.append(hook)
        # Lists that are used again do not count.
        fresh.extend([] for _ in range(200))
        gc.set_threshold(gc.get_count()[0] + n_objects)

    def end():
        """Tell whether it has run."""
        gc.set_threshold(*thresholds)
        unused = [hook for hook in hooks if hook in gc.callbacks]
        for hook in unused:
            gc.callbacks.remove(hook)
        hooks.clear()
        fresh.clear()
        return not unused

    start.end = end
    yield start
    end()


@pytest.mark.parametrize("ask", ["callback", "waiter", "condition"])
def test_a_future_that_is_finished_by_a_collection_while_somebody_asks(collection, ask):
    """On Python 3.10 and 3.11 to make a list may start a collection, and that may run any code."""
    for n_objects in range(6):
        future, seen = CallFuture(), []
        note = seen.append
        collection(n_objects, lambda future=future: Stages.finish(NONE, [future]))
        if ask == "callback":
            future.add_done_callback(note)
        elif ask == "waiter":
            future._waiters.append(concurrent.futures._base._FirstCompletedWaiter())
        else:
            assert future._condition is future._condition
        collection.end()
        Stages.finish(NONE, [future])
        assert future.done()
        assert ask != "callback" or seen == [future]


def test_a_callback_added_by_a_collection_is_not_lost(collection):
    for n_objects in range(6):
        future, seen = CallFuture(), []

        def ours(_, seen=seen):
            seen.append("ours")

        def theirs(_, seen=seen):
            seen.append("theirs")

        collection(n_objects, lambda future=future, theirs=theirs: future.add_done_callback(theirs))
        future.add_done_callback(ours)
        collected = collection.end()
        Stages.finish(NONE, [future])
        assert sorted(seen) == (["ours", "theirs"] if collected else ["ours"])


# What a waiter and who finishes the future do, over and over.
INTERRUPTED = """
import os, random, signal, threading, time
from vinefast._core import CallFuture

future = CallFuture()
condition = future._condition
over = threading.Event()

def take_it():
    while not over.is_set():
        with condition:
            pass

def interrupt():
    time.sleep(random.uniform(0, 0.004))
    os.kill(os.getpid(), signal.SIGINT)

other = threading.Thread(target=take_it)
other.start()
left = 0
for _ in range(200):
    interrupter = threading.Thread(target=interrupt)
    try:
        interrupter.start()
        while True:
            with condition:
                pass
    except KeyboardInterrupt:
        pass
    while condition._is_owned():
        left += 1
        condition.release()
    interrupter.join()
over.set()
other.join()
print(left)
"""


@pytest.mark.processes
def test_ctrl_c_leaves_its_condition_unlocked():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("0\n", "")
