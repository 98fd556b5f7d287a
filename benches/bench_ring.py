"""The hand-over of calls to the manager thread: so many pushed one by one, then all taken at once."""

import os
from collections import deque
from queue import SimpleQueue

import pytest
from benches._stages import Stages

from benches.measure import BATCHES, per_call, repeats


def through(push, take, items, repeat):
    """Push and take; returns how many came out in order."""
    in_order = 0
    for _ in range(repeat):
        for item in items:
            push(item)
        for item in items:
            in_order += take() is item
    return in_order


def through_deque(items, repeat):
    queue = deque()
    return through(queue.append, queue.popleft, items, repeat)


def through_simple_queue(items, repeat):
    queue = SimpleQueue()
    return through(queue.put, queue.get_nowait, items, repeat)


def through_deque_and_pipe(items, repeat):
    """Wake a sleeper through a pipe by the first item, as an asyncio loop is woken."""
    queue = deque()
    push, take = queue.append, queue.popleft
    sleeper, waker = os.pipe()
    in_order = 0
    try:
        for _ in range(repeat):
            asleep = True
            for item in items:
                push(item)
                if asleep:
                    asleep = False
                    os.write(waker, b"\1")
            os.read(sleeper, 1)
            for item in items:
                in_order += take() is item
    finally:
        os.close(sleeper)
        os.close(waker)
    return in_order


@pytest.mark.parametrize("n", BATCHES)
def test_ring(benchmark, n):
    repeat = repeats(benchmark, n, 100_000)
    group = f"hand-over to one that is awake, {n} at once"
    assert per_call(benchmark, group, Stages.ring_round, n, False, repeat, n=n * repeat) == n * repeat


@pytest.mark.parametrize("n", BATCHES)
def test_ring_and_wake(benchmark, n):
    repeat = repeats(benchmark, n)
    group = f"hand-over to a sleeper, {n} at once"
    assert per_call(benchmark, group, Stages.ring_round, n, True, repeat, n=n * repeat) == n * repeat


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("through", [through_deque, through_simple_queue])
def test_in_python(benchmark, through, n):
    repeat = repeats(benchmark, n)
    items = [object() for _ in range(n)]
    group = f"hand-over to one that is awake, {n} at once"
    assert per_call(benchmark, group, through, items, repeat, n=n * repeat) == n * repeat


@pytest.mark.parametrize("n", BATCHES)
def test_in_python_and_wake(benchmark, n):
    repeat = repeats(benchmark, n)
    items = [object() for _ in range(n)]
    group = f"hand-over to a sleeper, {n} at once"
    assert per_call(benchmark, group, through_deque_and_pipe, items, repeat, n=n * repeat) == n * repeat
