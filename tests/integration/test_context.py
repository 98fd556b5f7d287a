"""Contexts on real workers: how often they are loaded, who gets them, and what goes wrong."""

import functools
import os
import signal
import time

import parsl
import psutil
import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.monitoring import MonitoringHub

import vinefast
from tests.helpers.waiting import wait_until

SCOPES = ["slot", "worker"]


def load_model(path):
    """Leave a trace of each load; workers find this module."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return {"pid": os.getpid(), "factor": 7}


def load_other():
    return {"pid": os.getpid(), "factor": 100}


def load_nothing():
    raise FileNotFoundError("no model here")


def exit_at_once():
    os._exit(3)


@vinefast.python_app
def multiply(x, context):
    return x * context["factor"]


@vinefast.python_app(context=load_other)
def multiply_by_own(x, context=None, walltime=60):
    return x * context["factor"]


@vinefast.python_app
def without(x):
    return x


@vinefast.python_app
def pids(seconds, context, walltime=60):
    import os
    import time

    time.sleep(seconds)
    return context["pid"], os.getpid()


@vinefast.python_app
def crash(context):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@parsl.bash_app
def say(x, context, stdout=None):
    return f"echo {x * context['factor']}"


@parsl.bash_app
def say_plainly(x, stdout=None):
    return f"echo {x}"


def results(futures):
    return [future.result(60) for future in list(futures)]


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "trace"


@pytest.fixture
def context(trace):
    return functools.partial(load_model, str(trace))


def lines(path):
    return path.read_text().split()


def slots(n):
    return TaskVineManagerConfig(port=0, library_config={"num_slots": n})


@pytest.mark.parametrize("scope", SCOPES)
def test_how_often_it_is_loaded(load, context, trace, scope):
    executor = load(context=context, context_scope=scope, manager_config=slots(3))
    assert results(multiply(i) for i in range(200)) == [7 * i for i in range(200)]
    loaders, children = zip(*results(pids(0.05) for _ in range(60)), strict=True)
    assert len(set(children)) == 3
    assert sorted(map(int, lines(trace))) == sorted(set(loaders))
    assert len(set(loaders)) == (3 if scope == "slot" else 1)
    assert set(loaders) == set(children) or scope == "worker"
    assert list(executor.map(multiply.func, range(50))) == [7 * i for i in range(50)]
    assert len(lines(trace)) == len(set(loaders))


def test_a_crash_of_a_slot_loads_nothing_again_where_the_worker_has(load, context, trace):
    load(context=context, context_scope="worker", manager_config=slots(1))
    before = pids(0).result(60)
    with pytest.raises(vinefast.CallDied, match="SIGKILL"):
        crash().result(60)
    after = pids(0).result(60)
    assert before[0] == after[0] == int(lines(trace)[0])
    assert before[1] != after[1]
    assert len(lines(trace)) == 1


def test_each_worker_loads_its_own(load, context, trace):
    two = TaskVineFactoryConfig(min_workers=2, max_workers=2, cores=2, memory=500, disk=500)
    executor = load(context=context, context_scope="worker", factory_config=two)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 2, 40)
    loaders = {loader for loader, _ in results(pids(0.1) for _ in range(40))}
    assert loaders == set(map(int, lines(trace))) and len(loaders) == 2


@pytest.mark.parametrize("scope", SCOPES)
def test_who_gets_what(load, context, tmp_path, scope):
    load(context=context, context_scope=scope)
    own = {"factor": -1}
    assert results([multiply(2), multiply(2, context=own), multiply(2, own)]) == [14, -2, -2]
    assert results([multiply_by_own(2), multiply_by_own(2, own)]) == [200, -2]
    assert without(2).result(60) == 2
    out, plainly = str(tmp_path / "out"), str(tmp_path / "plainly")
    assert results([say(2, stdout=out), say_plainly(2, stdout=plainly)]) == [0, 0]
    assert [open(path).read() for path in (out, plainly)] == ["14\n", "2\n"]


def test_an_apps_own_context_needs_none_of_the_executor(load):
    executor = load()
    assert results(multiply_by_own(i) for i in range(3)) == [0, 100, 200]
    with pytest.raises(TypeError, match="context"):
        multiply(1).result(60)
    marked = vinefast.mark(lambda x, *, context: x + context["factor"], context=load_other)
    assert executor.submit(marked, None, 1).result(60) == 101
    assert list(executor.map(marked, range(3))) == [100, 101, 102]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_context_that_raises(load, scope):
    load(context=load_nothing, context_scope=scope)
    with pytest.raises(vinefast.ContextError, match="load_nothing .*FileNotFoundError: no model here") as caught:
        multiply(1).result(60)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert caught.value.__cause__.__traceback__ is not None
    assert without(1).result(60) == 1
    assert multiply_by_own(1).result(60) == 100


@pytest.mark.parametrize("scope", SCOPES)
def test_a_context_that_kills_its_process(load, scope):
    load(context=exit_at_once, context_scope=scope)
    with pytest.raises(vinefast.CallDied, match="status 3"):
        multiply(1).result(60)
    assert without(1).result(60) == 1


def test_a_context_that_cannot_be_sent(mark, tmp_path):
    generator = (i for i in range(3))
    executor = vinefast.VineFastExecutor(context=lambda: generator)
    executor.run_dir = str(tmp_path)
    with pytest.raises(parsl.serialize.errors.SerializationError, match="the context <lambda>"):
        executor.start()


def test_regular_mode_loads_for_each_call(load, context, trace):
    load(context=context, function_exec_mode="regular")
    assert results(multiply(i) for i in range(4)) == [0, 7, 14, 21]
    assert len(set(lines(trace))) == len(lines(trace)) == 4
    assert multiply_by_own(1).result(60) == 100


@pytest.mark.parametrize("scope", SCOPES)
def test_monitored_apps_with_a_walltime(load, context, trace, tmp_path, scope):
    hub = MonitoringHub(logging_endpoint=f"sqlite:///{tmp_path}/monitoring.db", resource_monitoring_enabled=False)
    load({"monitoring": hub}, context=context, context_scope=scope, manager_config=slots(1))
    (loader, child), *others = results(pids(0) for _ in range(20))
    assert set(others) == {(loader, child)} and lines(trace) == [str(loader)]
    assert results(multiply_by_own(i) for i in range(3)) == [0, 100, 200]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_slow_context_costs_no_call_but_time(load, scope):
    def load_slowly():
        import time

        time.sleep(1)
        return {"factor": 1}

    executor = load(context=load_slowly, context_scope=scope)
    start = time.monotonic()
    assert results(multiply(i) for i in range(1000)) == list(range(1000))
    assert time.monotonic() - start < 30
    # A load that counted as a call's duration would send calls one by one from then on.
    assert executor.stats()["bundles_sent"] < 300


def test_nothing_is_left_of_a_killed_library(load, context, trace):
    load(context=context, context_scope="worker")
    _, child = pids(0).result(60)
    library = psutil.Process(psutil.Process(child).ppid())
    family = library.children(recursive=True)
    assert int(lines(trace)[0]) in {process.pid for process in family}
    os.kill(library.pid, signal.SIGKILL)
    # One may outlive the library until its worker has another: that which removes what a library leaves.
    assert wait_until(lambda: sum(process.is_running() for process in family) <= 1)
    assert multiply(1).result(60) == 7
    assert wait_until(lambda: not any(process.is_running() for process in family))
