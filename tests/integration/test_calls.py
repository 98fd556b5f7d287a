"""Calls on a real worker: results, exceptions, arguments of every size and kind."""

import functools
import math
import operator
import os
import random
import textwrap
import threading
import time
import types
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np
import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.serialize.errors import DeserializationError, SerializationError

from tests.helpers.waiting import wait_until
from vinefast.errors import CallDied, RemoteError


def call(executor, func, *args, **kwargs):
    return executor.submit(func, {}, *args, **kwargs).result(timeout=30)


def test_result_and_arguments(executor):
    assert call(executor, lambda: None) is None
    assert call(executor, divmod, 17, 5) == (3, 2)
    assert call(executor, lambda *args, **kwargs: (args, kwargs), 1, "two", three=3) == ((1, "two"), {"three": 3})
    assert call(executor, functools.partial(operator.add, 40), 2) == 42
    assert call(executor, "abc".upper) == "ABC"


class Rows:
    """Something to call that has no name, and a representation of many lines."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, row):
        return self.rows[row]

    def __repr__(self):
        return "\n".join(map(repr, self.rows))


def test_a_function_of_which_the_representation_is_long(executor):
    # A function's name is its category, which TaskVine sends in a line of 4096 bytes at most.
    function = functools.partial(operator.getitem, [[i, "\n"] for i in range(2000)])
    assert call(executor, function, 1999) == [1999, "\n"]
    assert list(executor.map(function, [0, 1])) == [[0, "\n"], [1, "\n"]]
    assert call(executor, Rows(list(range(3000))), 7) == 7
    renamed = types.FunctionType((lambda: 42).__code__, {}, "a\nb" * 2000)
    assert call(executor, renamed) == 42


def test_a_category_is_short(executor):
    assert call(executor, operator.add, 1, 2) == 3
    with pytest.raises(InvalidResourceSpecification, match="category .*at most 200 printable characters"):
        executor.submit(operator.add, {"category": "c" * 5000}, 1, 2)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        10**100,
        math.inf,
        "",
        "\0",
        "ünïcödé \0 \1 \n",
        b"\0" * 5000,
        bytes(range(256)) * 3,
        [],
        {"nested": [{"deep": (1, {2, 3})}]},
        Ellipsis,
        complex(1, -1),
        range(5),
        ValueError("returned, not raised"),
    ],
    ids=repr,
)
def test_odd_values_come_back_equal(executor, value):
    result = call(executor, lambda x: x, value)
    assert type(result) is type(value)
    assert repr(result) == repr(value)


def test_nan_comes_back(executor):
    assert math.isnan(call(executor, lambda x: x, math.nan))


@pytest.mark.parametrize("nbytes", [100, 1000, 1024, 1025, 10_000, 64_000, 66_000, 1_000_000, 20_000_000])
def test_every_size_comes_back_equal(executor, nbytes):
    data = random.Random(nbytes).randbytes(nbytes)
    assert call(executor, lambda x: x, data) == data


@pytest.mark.parametrize("shape", [(0,), (3, 0), (10,), (200, 300), (1000, 1000)])
@pytest.mark.parametrize("dtype", ["f8", "i4", "c16", "U5", "datetime64[s]"])
def test_arrays_come_back_equal_and_writable(executor, shape, dtype):
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    result = call(executor, lambda x: x, array)
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)
    assert result.flags.writeable


def change_in_place(arrays, keep):
    for array in arrays:
        array += 1
    return {"arrays": arrays, "keep": keep, "total": sum(float(array.sum()) for array in arrays)}


@pytest.mark.parametrize("n_bytes", [100, 5_000, 100_000, 3_000_000])
@pytest.mark.parametrize("n_arrays", [1, 3, 100])
def test_arrays_within_other_values(executor, n_arrays, n_bytes):
    if n_arrays * n_bytes > 10_000_000:
        n_bytes = 10_000_000 // n_arrays
    arrays = [np.full(n_bytes // 8, float(i)) for i in range(n_arrays)]
    futures = [executor.submit(change_in_place, {}, arrays, keep=np.arange(i)) for i in range(4)]
    for i, future in enumerate(futures):
        result = future.result(60)
        assert result["total"] == sum((k + 1) * (n_bytes // 8) for k in range(n_arrays))
        for k, array in enumerate(result["arrays"]):
            assert (array == k + 1).all()
            assert array.flags.aligned
            array[:] = -1  # neither the others nor the arguments see it
        np.testing.assert_equal(result["keep"], np.arange(i))
    assert all((array == i).all() for i, array in enumerate(arrays))


def test_arguments_are_taken_when_submitted(executor):
    """A change after submit must not be seen by the call, however long it waits."""
    array = np.zeros(100_000)
    futures = []
    for i in range(50):
        array[:] = i
        futures.append(executor.submit(lambda a: (a.min(), a.max()), {}, array))
    assert [f.result(30) for f in futures] == [(i, i) for i in range(50)]


def test_classes_and_functions_of_main_travel_by_value(executor):
    source = """
    class Point:
        def __init__(self, x):
            self.x = x

        def double(self):
            return Point(2 * self.x)
    """
    namespace = {"__name__": "__main__"}
    exec(textwrap.dedent(source), namespace)
    import __main__

    __main__.Point = point = namespace["Point"]
    try:
        result = call(executor, lambda p: p.double(), point(21))
        assert result.x == 42
    finally:
        del __main__.Point


def test_exception_is_the_apps_own_with_its_remote_traceback(executor):
    def deep(x):
        def deeper():
            raise KeyError(f"no {x}")

        return deeper()

    with pytest.raises(KeyError, match="no luck") as caught:
        call(executor, deep, "luck")
    names = [entry.name for entry in caught.traceback]
    assert names[-2:] == ["deep", "deeper"]


@pytest.mark.parametrize("exception", [MemoryError("m"), StopIteration(4), RecursionError("deep"), OSError(28, "full")])
def test_any_exception_is_passed_on(executor, exception):
    def throw(e):
        raise e

    with pytest.raises(type(exception)):
        call(executor, throw, exception)


def test_exception_cause_is_kept(executor):
    def throw():
        try:
            raise ZeroDivisionError("inner")
        except ZeroDivisionError as error:
            raise LookupError("outer") from error

    with pytest.raises(LookupError) as caught:
        call(executor, throw)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_exception_that_cannot_be_rebuilt(executor):
    def throw():
        class Awkward(Exception):
            def __init__(self, a, b):
                super().__init__(f"{a} and {b}")

        raise Awkward("salt", "pepper")

    with pytest.raises(RemoteError, match="salt and pepper") as caught:
        call(executor, throw)
    assert "Awkward" in str(caught.value)


def test_argument_that_cannot_be_serialized(executor):
    with pytest.raises(SerializationError, match="its argument 0, of type generator, cannot be serialized"):
        executor.submit(lambda x: x, {}, (i for i in range(3)))
    with pytest.raises(SerializationError, match=r"dict: its argument 'b'\['c'\], of type generator, cannot"):
        executor.submit(dict, {}, a=1, b={"c": (i for i in range(3))})
    assert call(executor, lambda: 1) == 1


def test_result_that_cannot_be_serialized(executor):
    def make_generator():
        return (i for i in range(3))

    with pytest.raises(SerializationError, match="make_generator: its result, of type generator, cannot be serialized"):
        call(executor, make_generator)


def test_result_that_cannot_be_rebuilt_here(executor):
    def make():
        class Loader:
            def __reduce__(self):
                return eval, ("__import__('os').environ['VINEFAST_SLOT']",)

        return Loader()

    with pytest.raises(DeserializationError, match="VINEFAST_SLOT"):
        call(executor, make)


def test_argument_that_cannot_be_rebuilt_there(executor):
    class Loader:
        def __reduce__(self):
            return eval, ("1 / 0 if 'VINEFAST_SLOT' in __import__('os').environ else None",)

    with pytest.raises(ZeroDivisionError):
        call(executor, lambda x: x, Loader())


def test_missing_module_names_it(executor):
    def needs():
        import a_module_that_nobody_has

        return a_module_that_nobody_has

    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        call(executor, needs)


def test_a_functions_state_stays_warm(executor):
    """The same function object is called again: its cache lives from call to call, in each slot."""

    @functools.lru_cache
    def remember(x):
        import os

        return os.getpid(), os.urandom(8)

    seen = {call(executor, remember, 1) for _ in range(30)}
    assert len({pid for pid, _ in seen}) == len(seen)


def test_ten_thousand_mixed_calls(executor):
    def work(kind, x):
        if kind == 0:
            return x
        if kind == 1:
            raise ValueError(x)
        if kind == 2:
            return b"\0" * (x % 3000)
        if kind == 3:
            import time

            time.sleep(0.0005)
            return -x
        return {"x": [x] * 5}

    def other(x):
        return x + 1

    rng = random.Random(1)
    kinds = [rng.choices(range(6), [5, 1, 2, 1, 2, 5])[0] for _ in range(10_000)]
    futures = [
        executor.submit(other, {}, i) if kind == 5 else executor.submit(work, {}, kind, i)
        for i, kind in enumerate(kinds)
    ]
    for i, (kind, future) in enumerate(zip(kinds, futures, strict=True)):
        if kind == 1:
            with pytest.raises(ValueError, match=f"^{i}$"):
                future.result(60)
        else:
            expected = {0: i, 2: b"\0" * (i % 3000), 3: -i, 4: {"x": [i] * 5}, 5: i + 1}[kind]
            assert future.result(60) == expected
    assert wait_until(lambda: executor.outstanding() == 0)


def test_many_threads_submit(executor):
    results = {}

    def submit_some(number):
        futures = [executor.submit(operator.mul, {}, number, i) for i in range(500)]
        results[number] = [f.result(60) for f in futures]

    threads = [threading.Thread(target=submit_some, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [n * i for i in range(500)] for n in range(8)}


def test_crash_costs_one_call_and_names_the_signal(executor):
    def maybe_crash(i):
        if i == 20:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGSEGV)
        return i

    futures = [executor.submit(maybe_crash, {}, i) for i in range(50)]
    with pytest.raises(CallDied, match="SIGSEGV") as caught:
        futures[20].result(30)
    assert caught.value.signal_number == 11
    assert [f.result(30) for i, f in enumerate(futures) if i != 20] == [i for i in range(50) if i != 20]


def test_exit_of_the_process_is_an_error(executor):
    with pytest.raises(CallDied) as caught:
        call(executor, os._exit, 7)
    assert caught.value.exit_code == 7


def test_each_call_of_a_crashed_bundle_runs_once(executor, tmp_path):
    def leave_a_line(path, i):
        import os

        with open(path, "a") as file:
            file.write(f"{i}\n")
        if i % 40 == 39:
            os._exit(1)
        return i

    path = str(tmp_path / "lines")
    futures = [executor.submit(leave_a_line, {}, path, i) for i in range(400)]
    wait(futures, 60)
    assert sum(isinstance(f.exception(), CallDied) for f in futures) == 10
    assert sorted(int(line) for line in open(path)) == list(range(400))


def test_a_call_beside_long_ones_is_not_kept_waiting(executor):
    """With one slot busy, the other serves; TaskVine alone would notice a submit after up to a second."""
    if executor.stats()["slots"] < 2:
        pytest.skip("needs a machine with two cores")
    call(executor, abs, -1)
    long = executor.submit(time.sleep, {}, 2)
    time.sleep(0.2)
    start = time.monotonic()
    for i in range(5):
        assert call(executor, abs, -i) == i
    assert not long.done()
    assert time.monotonic() - start < 1.5
    assert long.result(10) is None


def test_no_call_waits_long_behind_a_slow_one(executor):
    """After its time slice a bundle hands back what it has not run."""

    def nap(seconds):
        import time

        time.sleep(seconds)

    wait([executor.submit(nap, {}, 0.0001) for _ in range(1000)])
    for _ in range(10):
        before = executor.stats()["calls_handed_back"]
        futures = [executor.submit(nap, {}, 1.0 if i == 500 else 0.0001) for i in range(1000)]
        done_early = sum(1 for f in as_completed(futures, timeout=60) if not futures[500].done())
        assert done_early > 800
        if executor.stats()["calls_handed_back"] > before:
            return
    pytest.fail("the slow call was the last of its bundle each time")


def test_future_behaves_like_a_future(executor):
    def nap():
        import time

        time.sleep(0.3)
        return 5

    future = executor.submit(nap, {})
    assert not future.done()
    seen = []
    future.add_done_callback(seen.append)
    with pytest.raises(FutureTimeoutError):
        future.result(timeout=0.01)
    assert future.result(30) == 5
    assert future.done() and not future.cancelled() and future.exception() is None
    future.add_done_callback(seen.append)
    assert seen == [future, future]
    assert not future.cancel()
    assert isinstance(future.parsl_executor_task_id, int)


def test_waiting_calls_can_be_cancelled(executor, tmp_path):
    blockers = [executor.submit(time.sleep, {}, 0.5) for _ in range(executor.stats()["slots"] * 3)]
    future = executor.submit(os.mkdir, {}, str(tmp_path / "ran"))
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result(10)
    wait(blockers)
    assert call(executor, abs, -2) == 2
    assert wait_until(lambda: executor.outstanding() == 0)
    assert not (tmp_path / "ran").exists()


def test_the_standard_librarys_functions_return_for_a_cancelled_call(executor):
    blockers = [executor.submit(time.sleep, {}, 0.5) for _ in range(executor.stats()["slots"] * 3)]
    early, late = (executor.submit(abs, {}, -1) for _ in range(2))
    waiting = threading.Event()
    waited = []

    def wait_for(futures):
        waited.append(wait(futures, 20).done)

    thread = threading.Thread(target=wait_for, args=([late],))
    thread.start()
    while not late._waiters:
        waiting.wait(0.001)
    assert early.cancel() and late.cancel() and late.cancel()
    assert not blockers[-1].done()
    thread.join(20)
    assert waited == [{late}]
    assert wait([early, late], 0).done == {early, late}
    assert set(as_completed([early, late], 0)) == {early, late}
    wait(blockers)
    assert early.cancelled() and late.cancelled()


def test_callback_that_raises_harms_nothing(executor, caplog):
    def complain(future):
        raise RuntimeError("from a callback")

    future = executor.submit(time.sleep, {}, 0.05)
    future.add_done_callback(complain)
    assert future.result(30) is None
    assert call(executor, abs, -3) == 3


def test_callback_may_submit(executor):
    done = threading.Event()
    results = []

    def follow(future):
        results.append(future.result())
        if len(results) < 20:
            executor.submit(operator.add, {}, future.result(), 1).add_done_callback(follow)
        else:
            done.set()

    executor.submit(operator.add, {}, 0, 1).add_done_callback(follow)
    assert done.wait(30)
    assert results == list(range(1, 21))


def test_prints_of_a_call_do_not_harm_its_result(executor):
    def chatty(x):
        import os
        import sys

        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"raw\n")
        return x

    assert [call(executor, chatty, i) for i in range(5)] == list(range(5))


def test_a_specification_may_be_left_out(executor):
    assert executor.submit(list).result(timeout=30) == []
    assert executor.submit(dict, a=1).result(timeout=30) == {"a": 1}


def test_a_future_as_argument_is_refused_with_what_to_do(executor):
    future = executor.submit(abs, None, -1)
    with pytest.raises(SerializationError) as caught:
        executor.submit(abs, None, future)
    assert "give the call its result()" in str(caught.value.__cause__) and "its result()" in str(caught.value)
    assert executor.submit(abs, None, future.result()).result(timeout=30) == 1
