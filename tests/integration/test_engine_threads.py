"""The engine's threads go on whatever users' code raises there; if one cannot, all calls are told why."""

import sys
import threading
from concurrent.futures import CancelledError
from types import SimpleNamespace

import parsl
import pytest

from tests.helpers.waiting import wait_until
from tests.integration.test_exits import Ending, Silent, answers, returns_refusing
from vinefast import EngineFailure, EngineStopped, RemoteError, TempFile, _core


@parsl.python_app
def leave(status):
    sys.exit(status)


@parsl.python_app
def interrupt():
    raise KeyboardInterrupt


@parsl.python_app
def fail(exception):
    raise exception


@parsl.python_app
def add(a, b):
    return a + b


def test_apps_that_end_programs(load):
    executor = load(options={"retries": 1})
    for future, words in (
        (leave(3), "SystemExit: 3"),
        (interrupt(), "KeyboardInterrupt"),
        (fail(Silent("my text")), "Silent: my text"),
    ):
        with pytest.raises(RemoteError, match=words):
            future.result(30)
    with pytest.raises(parsl.dataflow.errors.DependencyError):
        add(leave(3), 1).result(30)
    assert add(1, 2).result(30) == 3
    assert not executor.bad_state_is_set


@pytest.mark.parametrize("error", [OSError, Ending])
def test_monitoring_that_cannot_be_told_of_nodes(make_executor, monkeypatch, caplog, error):
    class Radio:
        def send(self, message):
            if message[1]["active"] or error is OSError:
                raise error("No space left on device")

    executor = make_executor(start=False)
    executor.run_id = "run"
    monkeypatch.setattr("parsl.executors.status_handling.MultiprocessingQueueRadioSender", lambda queue: Radio())
    executor.monitoring_messages = object()
    executor.start()
    assert answers(executor)
    assert wait_until(lambda: "No space left on device" in caplog.text)
    assert answers(executor)
    assert not executor.bad_state_is_set
    executor.shutdown()  # which tells of the nodes that leave


class Unresolved:
    """A proxy of what only workers can reach."""

    reachable = True

    @property
    def __class__(self):
        if not self.reachable:
            raise LookupError("what this stands for cannot be reached")
        return Unresolved


def write_and_give_unresolved(outputs=()):
    open(outputs[0], "x").close()
    return Unresolved()


def test_results_that_do_not_tell_their_class(make_executor, monkeypatch):
    monkeypatch.setattr(Unresolved, "reachable", False)
    executor = make_executor()
    assert type(executor.submit(write_and_give_unresolved, {}, outputs=[TempFile("a")]).result(30)) is Unresolved
    assert answers(executor)


def test_an_engine_whose_thread_fails_fails_everything_by_name(make_executor, monkeypatch):
    """What cannot be foreseen: the handler of a broken result is broken itself."""
    executor = make_executor()
    assert answers(executor)

    def broken(*args):
        raise MemoryError("no room for an error")

    monkeypatch.setattr(_core, "DeserializationError", broken)
    futures = [executor.submit(returns_refusing, {}) for _ in range(10)]
    for future in futures:
        with pytest.raises(EngineFailure, match="no room for an error"):
            future.result(30)
    assert len({id(future.exception()) for future in futures}) == 10
    assert wait_until(lambda: executor.bad_state_is_set)
    with pytest.raises(EngineFailure, match="no room for an error"):
        executor.submit(abs, {}, -1)


def test_an_engine_that_was_stopped_does_not_start():
    engine = _core.Engine(SimpleNamespace(context=None), None)
    raised = []

    def start():
        with pytest.raises(EngineStopped) as error:
            engine.start()
        raised.append(error.value)

    engine.stop()
    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join(30)
    assert raised
    engine.stop()


@pytest.fixture
def waiting_for_a_larger_worker(make_executor):
    """An executor without workers, which is told of no call but those that no worker has room for."""
    executor = make_executor(worker_launch_method="manual")
    return executor, executor.submit(abs, {"cores": 1}, -1)


def test_a_call_that_is_cancelled_is_cancelled_also_if_it_comes_back_at_once(waiting_for_a_larger_worker, monkeypatch):
    executor, future = waiting_for_a_larger_worker
    let_go = _core.CallCondition.__exit__
    seen = []

    def let_go_and_wait(self, *args):
        let_go(self, *args)
        if threading.current_thread() is threading.main_thread() and not seen:
            seen.append(wait_until(lambda: executor.outstanding() == 0))

    future.add_done_callback(seen.append)
    monkeypatch.setattr(_core.CallCondition, "__exit__", let_go_and_wait)
    assert future.cancel()
    assert seen == [True, future]
    assert future.cancelled() and future.cancel()
    with pytest.raises(CancelledError):
        future.result(10)


def test_a_call_that_is_refused_tells_why_also_if_it_comes_back_at_once(waiting_for_a_larger_worker):
    executor, future = waiting_for_a_larger_worker
    engine = executor._parts.engine

    def why(specification):
        wait_until(lambda: executor.outstanding() == 0, 1)  # as it was, the call would have gone by now
        return ValueError(f"{specification.cores:g} cores")

    engine.refuse(engine.specifications(), why)
    with pytest.raises(ValueError, match="1 cores"):
        future.result(10)
    assert wait_until(lambda: executor.outstanding() == 0)
