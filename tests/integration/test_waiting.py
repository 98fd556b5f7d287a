"""Waiting for many calls at once and in event loops, and what a program shows meanwhile."""

import asyncio
import itertools
import operator
import os
import pty
import re
import threading
import time

import parsl
import pytest

import vinefast
from tests.helpers.waiting import wait_until
from vinefast import EngineStopped
from vinefast.errors import WaitInCallback


def inverse(x):
    return 1 / x


def slow(x):
    time.sleep(0.05)
    return x


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_awaiting_calls(executor):
    async def main():
        assert await executor.submit(pow, None, 2, 10) == 1024
        with pytest.raises(ZeroDivisionError):
            await executor.submit(inverse, None, 0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(executor.submit(time.sleep, None, 2), 0.1)
        threads = threading.active_count()
        found = await asyncio.gather(*(executor.submit(operator.neg, None, i) for i in range(20_000)))
        assert found == [-i for i in range(20_000)]
        assert threading.active_count() == threads

    run(main())


def test_a_call_whose_task_is_cancelled_ends_on_its_worker(make_executor):
    executor = make_executor(cancel_running=True)

    async def main():
        future = executor.submit(time.sleep, None, 600)
        task = asyncio.ensure_future(asyncio.wait_for(future, 600))
        while not (future.running() and future._done_callbacks):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()

    run(main())
    assert wait_until(lambda: executor.outstanding() == 0, 30)


def test_async_for_over_a_map(executor):
    async def main(n, **options):
        return [x async for x in executor.map(operator.neg, range(n), **options)]

    for n, chunksize in itertools.product([0, 1, 6, 1000], [None, 1, 7]):
        assert run(main(n, chunksize=chunksize)) == [-i for i in range(n)]


def test_other_tasks_run_meanwhile(executor):
    async def main():
        turns = 0

        async def turn():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        other = asyncio.ensure_future(turn())
        assert [x async for x in executor.map(slow, range(20), chunksize=1)] == list(range(20))
        other.cancel()
        found = [await future async for future in executor.submit_many(slow, ((i,) for i in range(20)), None, 4)]
        assert found == list(range(20))
        return turns

    assert run(main()) > 20


def test_async_for_over_a_map_that_raises(executor):
    async def main():
        results = executor.map(inverse, [4, 2, 0, 1], chunksize=2)
        found = [await results.__anext__(), await results.__anext__()]
        with pytest.raises(ZeroDivisionError):
            await results.__anext__()
        with pytest.raises(StopAsyncIteration):
            await results.__anext__()
        assert list(results) == []
        return found

    assert run(main()) == [0.25, 0.5]


def test_a_map_in_time_and_one_that_is_not(executor):
    async def main():
        assert [x async for x in executor.map(slow, range(4), timeout=60)] == list(range(4))
        with pytest.raises(asyncio.TimeoutError):
            async for _ in executor.map(time.sleep, [0, 1, 1, 1, 1, 1], timeout=0.5, chunksize=1):
                pass

    run(main())


def test_a_task_that_is_cancelled_in_a_map_cancels_the_rest(executor):
    async def take():
        async for _ in executor.map(slow, range(1000), chunksize=1):
            pass

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(take(), 0.3)

    run(main())
    assert wait_until(lambda: executor.outstanding() == 0, 10)


def test_one_may_change_between_the_two_ways_within_a_chunk(executor):
    async def main():
        results = executor.map(operator.neg, range(50), chunksize=7)
        sync, found = iter(results), []
        for i in range(20):
            found.append(next(sync))
            found.append(await results.__anext__())
            if i % 3 == 0:
                found.append(next(results))
        return found + list(results)

    assert run(main()) == [-i for i in range(50)]


def test_only_one_task_takes_results_at_a_time(executor):
    async def main():
        results = executor.map(slow, range(4), chunksize=1)
        first = asyncio.ensure_future(results.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task waits"):
            await results.__anext__()
        assert await first == 0
        assert [x async for x in results] == [1, 2, 3]

    run(main())


def test_a_map_that_is_closed_before_its_first_result(executor):
    results = executor.map(slow, range(1000), chunksize=1)
    results.close()
    assert list(results) == []
    assert wait_until(lambda: executor.outstanding() == 0, 10)


@pytest.mark.parametrize("way", ["as_completed", "wait", "await"])
def test_waiting_where_nobody_would_finish_it_is_refused(executor, way):
    found = []

    def callback(_):
        other = executor.submit(time.sleep, None, 0.01)
        try:
            if way == "await":
                asyncio.run(asyncio.wait_for(other, 5))
            elif way == "wait":
                vinefast.wait([other])
            else:
                list(vinefast.as_completed([other]))
        except BaseException as error:
            found.append(error)

    executor.submit(slow, None, 1).add_done_callback(callback)
    assert wait_until(lambda: found, 30)
    assert type(found[0]) is WaitInCallback


def test_a_shutdown_ends_all_waiting(make_executor):
    executor = make_executor()
    futures = [executor.submit(time.sleep, None, 600) for _ in range(4)]
    threading.Timer(0.5, executor.shutdown).start()

    async def main():
        return await asyncio.gather(*futures, return_exceptions=True)

    assert [type(error) for error in run(main())] == [EngineStopped] * 4
    assert vinefast.wait(futures).done == set(futures)
    assert list(vinefast.as_completed(futures))


def test_in_a_forked_process_nobody_waits_for_ever(executor):
    future = executor.submit(time.sleep, None, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            vinefast.wait([future])
        except EngineStopped:
            try:
                asyncio.run(asyncio.wait_for(future, 5))
            except EngineStopped:
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert vinefast.wait([future], 30).done == {future}


def test_apps_and_calls_in_one_as_completed(load):
    executor = load()

    @parsl.python_app
    def double(x):
        return 2 * x

    futures = [double(i) for i in range(50)] + [executor.submit(operator.neg, None, i) for i in range(50)]
    found = list(vinefast.as_completed(futures, timeout=60))
    assert set(found) == set(futures) and len(found) == 100
    assert vinefast.wait(futures).not_done == set()


def test_without_a_worker_all_calls_wait_at_any_moment(make_executor):
    """In the ring, in the manager thread, and the first one in TaskVine."""
    executor = make_executor(worker_launch_method="manual")
    for n in range(1, 100):
        executor.submit(inverse, None, n)
        assert f"calls: {n} waiting, 0 running" in repr(executor)
    assert wait_until(lambda: executor.stats()["calls_sent"] == 1)
    assert executor.stats()["calls_waiting"] == 99
    executor.cancel_all()
    assert wait_until(lambda: executor.outstanding() == 0)
    assert executor.stats()["calls_waiting"] == 0


def test_the_state_of_an_executor(make_executor):
    executor = make_executor(start=False)
    assert repr(executor).startswith("<VineFastExecutor 'vinefast0': not started")
    assert "not started" in executor._repr_html_()
    executor.start()
    slots = os.cpu_count()
    futures = [executor.submit(time.sleep, None, 600) for _ in range(slots + 50)]
    for future in (executor.submit(inverse, None, 0), executor.submit(inverse, None, 1)):
        future.add_done_callback(lambda _: None)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1 and any(f.running() for f in futures), 60)
    shown = repr(executor)
    assert f"running; manager at {executor._parts.address}:{executor.port}; 1 worker with {slots} slot" in shown
    waiting, running = map(int, re.search(r"calls: (\d+) waiting, (\d+) running", shown).groups())
    assert waiting + running == executor.stats()["calls_outstanding"] and running >= 1
    assert f"{executor._parts.address}:{executor.port}" in executor._repr_html_()
    executor.cancel_all()
    assert wait_until(lambda: executor.outstanding() == 0, 60)
    stats = executor.stats()
    assert stats["calls_cancelled"] + stats["calls_failed"] <= stats["calls_submitted"] == slots + 52
    with pytest.raises(ZeroDivisionError):
        executor.submit(inverse, None, 0).result(60)
    assert executor.stats()["calls_failed"] == stats["calls_failed"] + 1
    assert f", {executor.stats()['calls_failed']} failed, {stats['calls_cancelled']} cancelled>" in repr(executor)
    executor.shutdown()
    found = re.search(r"ended; calls: (\d+) done, (\d+) failed, (\d+) cancelled>", repr(executor))
    assert sum(map(int, found.groups())) == slots + 53


def test_calls_that_a_shutdown_fails_are_counted(make_executor):
    executor = make_executor()
    futures = [executor.submit(time.sleep, None, 600) for _ in range(10)]
    executor.shutdown()
    assert [type(future.exception()) for future in futures] == [EngineStopped] * 10
    assert executor.stats()["calls_failed"] == 10


PROGRAM = """
import operator, sys, time
from vinefast import VineFastExecutor

executor = VineFastExecutor(label="waits")
executor.start()
list(executor.map(operator.neg, range(10)))
with executor.progress():
    futures = [executor.submit(time.sleep, None, 0.05) for _ in range(40)] + [executor.submit(operator.neg, None, "a")]
    for future in futures:
        future.exception()
bar = executor.progress().start()
executor.submit(time.sleep, None, 0.5).result()
time.sleep(1)
print("lines below")
executor.shutdown()
"""


def test_a_bar_of_an_executor(mark, tmp_path):
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "150", "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # nobody has the other side any more
        pass
    os.close(ours)
    assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"waits .*\d+/41, .*\d+ waiting, \d+ running, 1 worker with \d+ slots?, .*/s, .* left", text)
    assert re.search(r"41/41, 1 failed, 0 waiting, 0 running.* in \d", text)
    # The second one counts from its start, and goes by itself.
    assert re.search(r"1/1, .*\r?\n.*lines below", text)
