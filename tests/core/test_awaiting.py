"""Calls' futures in event loops, and callbacks of many futures, apart from any engine."""

import asyncio
import concurrent.futures
import gc
import struct
import threading
import weakref

import pytest
from benches._stages import Stages

from tests.helpers.waiting import wait_until
from vinefast._core import CallCondition, CallFuture, done_within, subscribe, unsubscribe

# A result frame with one call, which returned None.
NONE = struct.pack("<4sIQQQIII28xIIQ", b"VFR1", 1, 88, 0, 0, 0, 1, 1, 0, 0, 0)


def later(finish, *args):
    timer = threading.Timer(0.05, finish, args)
    timer.start()
    return timer


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often other threads wake it."""

    n_wakes = 0

    def call_soon_threadsafe(self, *args, **kwargs):
        self.n_wakes += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def run(coroutine, loop=None, debug=False):
    """Run a coroutine within 30 seconds."""
    loop = loop or CountingLoop()
    loop.set_debug(debug)
    try:
        return loop.run_until_complete(asyncio.wait_for(coroutine, 30))
    finally:
        loop.close()


@pytest.mark.parametrize("debug", [False, True])
def test_a_result_and_an_exception_come_to_who_awaits_them(debug):
    async def main():
        good, bad = CallFuture(), CallFuture()
        later(good.set_result, 3)
        later(bad.set_exception, KeyError("k"))
        assert await good == 3
        assert await good == 3  # done already
        for _ in range(2):
            with pytest.raises(KeyError):
                await bad

    run(main(), debug=debug)


def test_an_exception_that_ends_iterators_does_not_end_the_coroutine_as_a_result():
    async def main():
        for wait_first in (True, False):
            future = CallFuture()
            finish = future.set_exception
            later(finish, StopIteration(5)) if wait_first else finish(StopIteration(5))
            with pytest.raises(RuntimeError):
                await future

    run(main())


def test_a_call_that_is_cancelled_cancels_who_awaits_it():
    async def wait_for_it(future):
        await future

    async def main():
        future = CallFuture()
        task = asyncio.ensure_future(wait_for_it(future))
        await asyncio.sleep(0)
        later(future.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await future

    run(main())


def test_a_task_that_is_cancelled_cancels_its_call():
    async def main():
        future = CallFuture()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(future, 0.01)
        assert future.cancelled()

    run(main())


def test_a_coroutine_that_is_closed_leaves_its_call_alone():
    async def main():
        future = CallFuture()
        iterator = future.__await__()
        next(iterator)
        iterator.close()
        assert not future.cancelled() and future._done_callbacks == []
        return future

    run(main()).set_result(1)


def test_a_call_that_goes_on_keeps_nothing_of_those_who_gave_up():
    class Going(CallFuture):
        __slots__ = ()

        def cancel(self):
            return False

    async def main():
        future = Going()
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(future, 0.001)
            with pytest.raises(asyncio.TimeoutError):
                await done_within(future, 0.001)
        assert future._done_callbacks == []

    run(main())


def test_several_tasks_and_loops_await_one_call():
    future, found = CallFuture(), []

    async def take():
        found.append(await future)

    async def main():
        await asyncio.gather(take(), take(), take())

    threads = [threading.Thread(target=run, args=(main(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(future._done_callbacks) == 9, 10)
    future.set_result(1)
    for thread in threads:
        thread.join()
    assert found == [1] * 9


def test_many_that_are_done_at_once_wake_the_loop_once():
    n = 10_000
    loop = CountingLoop()

    async def main():
        futures = [CallFuture() for _ in range(n)]
        gathered = asyncio.gather(*futures)
        await asyncio.sleep(0)  # all of them wait now
        for future in futures:
            Stages.finish(NONE, [future])
        assert loop.n_wakes == 1
        assert await gathered == [None] * n
        assert loop.n_wakes == 1

    run(main(), loop)


def test_a_loop_that_is_closed_hurts_nobody(caplog):
    future = CallFuture()
    loop = asyncio.new_event_loop()

    async def main():
        asyncio.ensure_future(done_within(future, None)).add_done_callback(lambda task: task.cancelled())
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
    assert future._done_callbacks
    Stages.finish(NONE, [future])
    assert future.done() and not caplog.records


def test_nothing_is_kept_of_a_loop():
    loop = CountingLoop()
    gone = weakref.ref(loop)

    async def main():
        future = CallFuture()
        later(future.set_result, 1)
        await future

    run(main(), loop)
    del loop
    gc.collect()
    assert gone() is None


def test_done_within_leaves_the_outcome_alone():
    async def main():
        future = CallFuture()
        with pytest.raises(asyncio.TimeoutError):
            await done_within(future, 0.01)
        assert not future.cancelled()
        later(future.set_exception, KeyError("k"))
        await done_within(future, 30)
        await done_within(future, 0)
        future = CallFuture()
        later(future.cancel)
        await done_within(future, None)
        assert future.cancelled()

    run(main())


def test_without_an_event_loop_there_is_no_waiting():
    future = CallFuture()
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(future.__await__())
    assert not future._done_callbacks


@pytest.mark.parametrize("kind", [CallFuture, concurrent.futures.Future])
def test_callbacks_that_are_taken_away_are_not_called(kind):
    seen, others = [], []
    note = seen.append
    futures = [kind() for _ in range(4)]
    futures[0].set_result(0)
    _ = futures[1]._condition  # as if somebody waited for it
    for future in futures:
        future.add_done_callback(others.append)
    subscribe(futures, note)
    futures[3].cancel()
    unsubscribe(futures, note)
    unsubscribe(futures, note)
    for future in futures[1:3]:
        future.set_result(1)
    assert seen == [futures[0], futures[3]]
    assert others == [futures[0], futures[3], *futures[1:3]]


def test_callbacks_give_a_future_no_lock():
    futures = [CallFuture(), CallFuture()]
    _ = futures[1]._condition
    subscribe(futures, print)
    locks = [any(isinstance(held, CallCondition) for held in gc.get_referents(future)) for future in futures]
    assert locks == [False, True]
    unsubscribe(futures, print)
    assert [future._done_callbacks for future in futures] == [[], []]
