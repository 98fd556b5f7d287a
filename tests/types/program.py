"""A user's program, checked by mypy as strictly as it can, and not run. `error: ` says what is to be found there."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future

from typing_extensions import assert_type

import vinefast
from vinefast import VineFastExecutor


def power(base: float, exponent: int = 2) -> float:
    return base**exponent


def name(number: int) -> str:
    return str(number)


@vinefast.mark(context=dict)
def classify(image: bytes, context: dict[str, int]) -> int:
    return context[str(image)]


@vinefast.mark(keep=True)
def large(n: int) -> bytes:
    return bytes(n)


def submitting(executor: VineFastExecutor) -> None:
    future = executor.submit(power, None, 2.0, exponent=3)
    assert_type(future, vinefast.CallFuture[float])
    assert_type(future.result(), float)
    as_stdlib: Future[float] = future
    print(as_stdlib.result(timeout=1.0), future.duration_ns, future.stdout)
    assert_type(executor.submit(name, {"cores": 2}, 3).result(), str)
    assert_type(executor.submit(lambda: 3).result(), int)
    # What context there is, only the executor knows.
    assert_type(executor.submit(classify, None, b"").result(), int)

    executor.submit(name, None, "three")  # error: [arg-type]
    executor.submit(name, None)  # error: [call-arg]
    executor.submit(power, None, 2.0, exponents=3)  # error: [call-arg]
    executor.submit(name, 3)  # error: [arg-type, call-arg]
    text: str = executor.submit(power, None, 2.0).result()  # error: [assignment]
    print(text, large)


def many(executor: VineFastExecutor) -> Iterator[float]:
    for number in executor.map(power, [1.0, 2.0], range(2)):
        assert_type(number, float)
    yield from executor.map(power, [1.0], chunksize=1)
    for future in executor.submit_many(name, ((i,) for i in range(3))):
        assert_type(future, vinefast.CallFuture[str])
    text = next(executor.map(name, range(3)))
    yield text  # error: [misc]


def waiting(executor: VineFastExecutor) -> None:
    futures = [executor.submit(name, None, i) for i in range(3)]
    for future in vinefast.as_completed(futures, timeout=1, progress=True):
        assert_type(future, vinefast.CallFuture[str])
    done, not_done = vinefast.wait(futures, progress=True)
    assert_type(done, set[Future[str]])
    plain: list[Future[int]] = []
    for other in vinefast.as_completed(plain):
        assert_type(other.result(), int)
    vinefast.wait([3])  # error: [arg-type]


async def awaiting(executor: VineFastExecutor) -> str:
    assert_type(await executor.submit(power, None, 2.0), float)
    both = await asyncio.gather(executor.submit(name, None, 1), executor.submit(power, None, 2.0))
    assert_type(both, tuple[str, float])
    async for text in executor.map(name, range(3)):
        assert_type(text, str)
    async for future in executor.submit_many(power, [(1.0, 2)]):
        assert_type(future, vinefast.CallFuture[float])
    number = await executor.submit(power, None, 2.0)
    return number  # error: [return-value]


def alone() -> str:
    with VineFastExecutor() as executor, executor.progress() as bar:
        assert_type(executor, VineFastExecutor)
        print(bar.text())
        return executor.submit(name, None, 3).result()
