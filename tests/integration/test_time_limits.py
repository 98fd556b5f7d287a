"""Calls that run for longer than they may are ended, whatever code they are in."""

from __future__ import annotations

import functools
import itertools
import subprocess
import time

import parsl
import pytest
from parsl.app.errors import AppTimeout
from parsl.executors.errors import InvalidResourceSpecification

from tests.helpers.processes import is_alive
from tests.helpers.waiting import wait_until
from vinefast.errors import CallTimedOut


def compute():
    """C code that never returns to the interpreter."""
    return sum(itertools.repeat(1, 10**13))


def nap(seconds):
    time.sleep(seconds)
    return "slept"


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_running_time_max(make_executor, mode):
    executor = make_executor(function_exec_mode=mode)
    endless = executor.submit(compute, {"running_time_max": 0.5})
    asked = executor.submit(nap, {"running_time_max": 0.5}, 60)
    short = executor.submit(nap, {"running_time_max": 30}, 0.01)
    assert short.result(60) == "slept"
    for future, function in ((endless, "compute"), (asked, "nap")):
        with pytest.raises(CallTimedOut, match=rf"^{function} ran for longer than its limit of 0\.5 s") as caught:
            future.result(60)
        assert caught.value.app == function and caught.value.limit_s == 0.5
        assert f"in {function}" in caught.value.stack and "vinefast" not in caught.value.stack.replace("vinefast/", "")
    assert executor.submit(nap, {}, 0.6).result(60) == "slept"


def nap_but(seconds, item):
    time.sleep(seconds if item == 5 else 0)
    return item


def test_map(make_executor):
    executor = make_executor()
    with pytest.raises(CallTimedOut, match=r"limit of 0\.5 s"):
        list(executor.map(functools.partial(nap_but, 60), range(8), resource_specification={"running_time_max": 0.5}))
    # Of each item, not of what travels together.
    spec = {"running_time_max": 1}
    assert list(executor.map(nap, [0.3] * 8, chunksize=8, resource_specification=spec)) == ["slept"] * 8


def start_and_compute(path):
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    path.write_text(str(process.pid))
    return compute()


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_what_it_has_started_ends_with_it(make_executor, tmp_path, mode):
    executor = make_executor(function_exec_mode=mode)
    future = executor.submit(start_and_compute, {"running_time_max": 1}, tmp_path / "pid")
    assert isinstance(future.exception(60), CallTimedOut)
    pid = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not is_alive(pid), 10)


def test_they_share_bundles_with_their_like_alone(make_executor):
    executor = make_executor()
    futures = [executor.submit(nap, {"running_time_max": [1, 30][i % 2]}, 0.001) for i in range(200)]
    futures += [executor.submit(nap, {}, 0.001) for _ in range(100)]
    last = executor.submit(nap, {"running_time_max": 1}, 60)
    assert [future.result(60) for future in futures] == ["slept"] * 300
    assert isinstance(last.exception(60), CallTimedOut)


@pytest.mark.parametrize("value", [0, -1, "1", float("inf"), True])
def test_bad_limits(make_executor, value):
    executor = make_executor()
    with pytest.raises(InvalidResourceSpecification, match="running_time_max is .*; accepted: a number above 0"):
        executor.submit(nap, {"running_time_max": value}, 0)


def test_it_has_no_say_where_it_cannot_be_reached(make_executor):
    """More than fits what travels to workers: 49 days."""
    executor = make_executor()
    assert executor.submit(nap, {"running_time_max": 1e12}, 0.01).result(30) == "slept"


def test_a_cancelled_call_with_a_limit(make_executor):
    executor = make_executor()
    future = executor.submit(nap, {"running_time_max": 60}, 60)
    while not future.cancelled():
        executor.cancel(future)
    assert executor.submit(nap, {"running_time_max": 60}, 0.01).result(30) == "slept"


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_an_app_may_tidy_up_when_its_walltime_is_over(load, tmp_path, mode):
    load(function_exec_mode=mode)

    @parsl.python_app
    def tidy(path, walltime=0.5):
        import time

        try:
            time.sleep(60)
        except KeyboardInterrupt:
            open(path, "w").close()
            raise

    paths = [tmp_path / str(i) for i in range(2 if mode == "regular" else 12)]
    for future in [tidy(str(path)) for path in paths]:
        error = future.exception(50)
        assert isinstance(error, CallTimedOut)
        assert "in tidy" in error.stack.splitlines()[-2] or "in tidy" in error.stack.splitlines()[-1], error.stack
    assert all(path.exists() for path in paths)


def test_the_walltime_of_an_app(load):
    load()

    @parsl.python_app
    def endless(walltime=None):
        import itertools

        return sum(itertools.repeat(1, 10**13))

    @parsl.python_app
    def sleepy(seconds, walltime=1):
        import time

        time.sleep(seconds)
        return "slept"

    began = time.monotonic()
    futures = [endless(walltime=1), sleepy(60)]
    for future in futures:
        assert isinstance(future.exception(50), AppTimeout)
    assert time.monotonic() - began < 40
    assert sleepy(0.01).result() == "slept" and sleepy(1.5, walltime=None).result() == "slept"
    text = str(futures[0].exception())
    assert text.startswith("endless ran for longer than its limit of 1 s and was ended. It was at:\n")
    assert sleepy(1.5, walltime=30).result() == "slept"


def test_the_walltime_of_python_code_says_as_much(load):
    """Parsl's own limit strikes at the same moment, and says nothing."""
    load()

    @parsl.python_app
    def spin(walltime=0.5):
        while True:
            pass

    for error in [future.exception(50) for future in [spin() for _ in range(8)]]:
        assert type(error) is CallTimedOut and error.app == "spin" and error.limit_s == 0.5
        assert " in spin" in error.stack


def test_the_shorter_one_holds(load):
    load()

    @parsl.python_app
    def endless(parsl_resource_specification=None, walltime=None):
        import itertools

        return sum(itertools.repeat(1, 10**13))

    future = endless(walltime=40, parsl_resource_specification={"running_time_max": 0.5})
    assert "limit of 0.5 s" in str(future.exception(30))
