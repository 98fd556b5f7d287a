"""A user's program, checked by mypy and pyright as strictly as they can, and not run.

`error: ` says that both are to find something in that line, and what mypy calls it.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future

import parsl
from parsl.dataflow.futures import AppFuture
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from typing_extensions import assert_type

import vinefast
from vinefast import ResourceSpecification, VineFastExecutor


def power(base: float, exponent: int = 2) -> float:
    return base**exponent


def name(number: int) -> str:
    return str(number)


def joined(a: str, b: int, c: float) -> str:
    return f"{a}{b}{c}"


@vinefast.mark(context=dict)
def classify(image: bytes, context: dict[str, int]) -> int:
    return context[str(image)]


@vinefast.mark(keep=True)
def large(n: int) -> bytes:
    return bytes(n)


@vinefast.mark(keeps=True)  # error: [call-overload, untyped-decorator]
def misspelt(n: int) -> bytes:
    return bytes(n)


def configuring() -> parsl.Config:
    tuning = vinefast.Tuning(bundle_ms=20, bandwidth_limit="100MB", locality=False)
    tuning.bundle_nbytes = 1000
    assert_type(tuning.bundle_ms, float)
    assert_type(tuning.scheduler, str)
    executor = VineFastExecutor(
        "cluster",
        worker_launch_method="manual",
        manager_config=TaskVineManagerConfig(port=0, tune_parameters=tuning),
        factory_config=TaskVineFactoryConfig(cores=2),
        storage_access=[vinefast.URLStaging()],
        context=dict,
        ssl=("key.pem", "certificate.pem"),
    )

    VineFastExecutor(worker_cores="two")  # error: [call-arg]
    VineFastExecutor(label=3)  # error: [arg-type]
    VineFastExecutor(worker_launch_method="by hand")  # error: [arg-type]
    VineFastExecutor(manager_config={"port": 0})  # error: [arg-type]
    VineFastExecutor(cancel_running="no")  # error: [arg-type]
    VineFastExecutor(context=3)  # error: [arg-type]
    VineFastExecutor(ssl="certificate.pem")  # error: [arg-type]
    vinefast.Tuning(bundle_ms="20 ms")  # error: [arg-type]
    vinefast.Tuning(bundle_seconds=1)  # error: [call-arg]
    tuning.locality = "no"  # error: [assignment]
    return parsl.Config(executors=[executor])


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
    assert_type(executor.stats(), dict[str, int])
    assert_type(executor.cancel(future), bool)
    assert_type(executor.stack(future, timeout=1), str | None)

    executor.submit(name, None, "three")  # error: [arg-type]
    executor.submit(name, None)  # error: [call-arg]
    executor.submit(power, None, 2.0, exponents=3)  # error: [call-arg]
    executor.submit(name, 3)  # error: [arg-type, call-arg]
    text: str = executor.submit(power, None, 2.0).result()  # error: [assignment]
    executor.cancel(executor.submit(name, None, 3).result())  # error: [arg-type]
    print(text, large)


def asking_for(executor: VineFastExecutor) -> None:
    small: ResourceSpecification = {"cores": 0.5, "memory": 100, "enforce_memory": True, "running_time_max": 2.5}
    small["priority"] = 3
    executor.submit(name, small, 3)
    executor.submit(name, ResourceSpecification(category="names", gpus=None), 3)
    executor.map(name, range(3), resource_specification={"cores": 2})

    executor.submit(name, {"core": 2}, 3)  # error: [arg-type]
    executor.submit(name, {"cores": "two"}, 3)  # error: [arg-type]
    executor.map(name, range(3), resource_specification={"memory": "2 GB"})  # error: [call-overload]
    small["disk"] = 1.5  # error: [typeddict-item]
    small["walltime"] = 3  # error: [typeddict-unknown-key]


def many(executor: VineFastExecutor) -> Iterator[float]:
    for number in executor.map(power, [1.0, 2.0], range(2)):
        assert_type(number, float)
    for number in executor.map(pow, range(3), [2, 2, 2]):
        print(number)
    for called in executor.map(joined, "ab", range(2), [3.0, 4.0], timeout=3):
        assert_type(called, str)
    yield from executor.map(power, [1.0], chunksize=1)
    for future in executor.submit_many(name, ((i,) for i in range(3))):
        assert_type(future, vinefast.CallFuture[str])
    text = next(executor.map(name, range(3)))
    executor.map(name, ["one", "two"])  # error: [arg-type]
    executor.map(name, 3)  # error: [call-overload]
    executor.map(name, range(3), chunksize="all")  # error: [call-overload]
    executor.submit_many(name, range(3))  # error: [arg-type]
    yield text  # error: [misc]


def waiting(executor: VineFastExecutor) -> None:
    futures = [executor.submit(name, None, i) for i in range(3)]
    for future in vinefast.as_completed(futures, timeout=1, progress=True):
        assert_type(future, vinefast.CallFuture[str])
    done, not_done = vinefast.wait(futures, progress=True)
    assert_type(done, set[Future[str]])
    print(not_done)
    plain: list[Future[int]] = []
    for other in vinefast.as_completed(plain):
        assert_type(other.result(), int)
    vinefast.wait([3])  # error: [arg-type]
    vinefast.as_completed(futures, timeout="1 s")  # error: [arg-type]


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


@vinefast.python_app
def double(x: int) -> int:
    return 2 * x


@vinefast.python_app(keep=True, executors=["cluster"], cache=True)
def write(n: int, outputs: tuple[str, ...] = ()) -> bytes:
    return bytes(n)


@vinefast.python_app(executor="cluster")  # error: [call-overload, untyped-decorator]
def elsewhere(x: int) -> int:
    return x


def files(kept: vinefast.Kept) -> None:
    assert_type(double(3), AppFuture)
    temp = vinefast.TempFile("x.txt")
    assert_type(write(3, outputs=[temp]), AppFuture)
    assert_type(temp.fetch("x.txt", timeout=1), str)
    cached = vinefast.CachedFile("model.bin", cache="workflow", unpack=False)
    assert_type(cached.cleancopy(), vinefast.CachedFile)
    print(write(kept))
    assert_type(kept.nbytes, int)

    vinefast.TempFile(3)  # error: [arg-type]
    vinefast.CachedFile("model.bin", cache="for ever")  # error: [arg-type]
    vinefast.CachedFile(b"model.bin")  # error: [arg-type]
    temp.fetch(3)  # error: [arg-type]
    kept.result(timeout="1 s")  # error: [arg-type]


def failing(future: vinefast.CallFuture[int]) -> int:
    try:
        return future.result()
    except vinefast.MemoryLimitExceeded as error:
        assert_type(error.limit_mb, int)
    except vinefast.CallTimedOut as error:
        print(error.limits)  # error: [attr-defined]
    return 0


def alone() -> str:
    with VineFastExecutor() as executor, executor.progress() as bar:
        assert_type(executor, VineFastExecutor)
        print(bar.text())
        return executor.submit(name, None, 3).result()
