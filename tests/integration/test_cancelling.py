"""Calls that run are cancelled, and end; nothing else does."""

from __future__ import annotations

import ctypes
import gc
import http.server
import os
import signal
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager

import pytest
from parsl import File, bash_app, python_app
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

import vinefast
from tests.helpers.processes import is_alive
from tests.helpers.waiting import wait_until

ONE_SLOT = {"factory_config": TaskVineFactoryConfig(cores=1)}


def sleep(path, seconds=60):
    path_of_pid(path)
    time.sleep(seconds)


def sleep_to_keep(path):
    sleep(path)


def sleep_in_c(path, seconds=60):
    """No signal ends it, and no exception: as C code that does not return to the interpreter."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    path_of_pid(path)
    ctypes.CDLL(None).usleep(int(seconds * 1e6))


def path_of_pid(path):
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)


def leave_trace(path, value=None):
    with open(path, "a") as file:
        file.write("x")
    return value


def run(executor, function, path, **spec):
    """Submit a call that writes down its process, and wait until it has."""
    future = executor.submit(function, spec, str(path))
    assert wait_until(path.exists, 30)
    return future


def ended_within(seconds, path):
    return wait_until(lambda: not is_alive(int(path.read_text())), seconds)


@pytest.mark.parametrize("function", [sleep, sleep_in_c])
def test_its_slot_is_free_within_a_second(make_executor, tmp_path, function):
    executor = make_executor(**ONE_SLOT)
    future = run(executor, function, tmp_path / "pid")
    assert not future.cancel() and not future.done()
    began = time.monotonic()
    assert executor.cancel(future)
    assert future.cancelled() and future.done()
    with pytest.raises(CancelledError):
        future.result()
    assert executor.submit(abs, {}, -3).result(20) == 3
    assert time.monotonic() - began < 3  # a second, and what a busy machine takes
    assert executor.cancel(future)  # once more: it is
    assert executor.outstanding() == 0


def test_its_companions_run_once(make_executor, tmp_path):
    executor = make_executor(**ONE_SLOT)
    for i in range(300):  # so that calls of this function travel together
        executor.submit(leave_trace, {}, os.devnull, i).result()
    gate = run(executor, sleep, tmp_path / "gate")
    traces = [tmp_path / f"trace-{i}" for i in range(20)]
    futures = [executor.submit(leave_trace, {}, str(trace), i) for i, trace in enumerate(traces)]
    assert executor.cancel(gate)
    wait(futures, 30)
    assert [future.result() for future in futures] == list(range(20))
    assert [trace.read_text() for trace in traces] == ["x"] * 20


def sleep_if_told(path, told):
    (sleep if told else leave_trace)(path)


def test_others_of_its_bundle(make_executor, tmp_path):
    tune = {"bundle-ms": 1000, "slice-ms": 0}
    executor = make_executor(manager_config=TaskVineManagerConfig(port=0, tune_parameters=tune), **ONE_SLOT)
    for _ in range(500):  # so that many of this function travel together
        executor.submit(sleep_if_told, {}, os.devnull, False).result()
    gate = run(executor, sleep, tmp_path / "gate")
    before = executor.stats()["bundles_sent"]
    paths = [tmp_path / f"path-{i}" for i in range(30)]
    futures = [executor.submit(sleep_if_told, {}, str(path), i == 10) for i, path in enumerate(paths)]
    assert executor.cancel(gate)
    assert wait_until(paths[10].exists, 30)
    assert executor.cancel(futures[10])
    wait(futures, 30)
    assert [future.cancelled() for future in futures] == [i == 10 for i in range(30)]
    assert [path.read_text() for path in paths[:10] + paths[11:]] == ["x"] * 29
    assert executor.stats()["bundles_sent"] < before + 20


def test_while_its_input_is_fetched(make_executor, tmp_path):
    """The worker has it, and waits; the message that it is not wanted any more comes first."""
    executor = make_executor(**ONE_SLOT)
    assert executor.submit(abs, {}, -3).result(30) == 3
    with slow_server(tmp_path) as url:
        future = executor.submit(read_and_leave_trace, {}, vinefast.CachedFile(url), str(tmp_path / "trace"))
        assert wait_until((tmp_path / "asked").exists, 20)
        assert executor.cancel(future)
    assert executor.submit(abs, {}, -3).result(30) == 3
    assert not (tmp_path / "trace").exists()


def read_and_leave_trace(file, path):
    leave_trace(path)


@contextmanager
def slow_server(directory):
    """A web server that answers to GET half a second after it has written down that it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            (directory / "asked").touch()
            time.sleep(0.5)
            self.send_response(200)
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"x")

        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", "1")
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        time.sleep(1.5)
        server.shutdown()


def test_after_its_executor_is_gone(tmp_path):
    executor = vinefast.VineFastExecutor(cancel_running=True, **ONE_SLOT)
    executor.run_dir = str(tmp_path)
    executor.start()
    future = run(executor, sleep, tmp_path / "pid")
    other = executor.submit(sleep, {}, str(tmp_path / "other"))
    executor.shutdown()
    del executor
    gc.collect()
    for each in (future, other):
        assert not each.cancel() and each.exception() is not None


def test_a_done_call_stays_done(make_executor):
    executor = make_executor(**ONE_SLOT)
    future = executor.submit(abs, {}, -3)
    assert future.result(30) == 3
    assert not executor.cancel(future) and future.result() == 3
    with pytest.raises(TypeError, match="no future of a call"):
        executor.cancel(Future())


def test_callbacks_run_once(make_executor, tmp_path):
    executor = make_executor(**ONE_SLOT)
    future = run(executor, sleep, tmp_path / "pid")
    called = []
    future.add_done_callback(called.append)
    executor.cancel(future)
    assert called == [future]
    assert executor.submit(abs, {}, -3).result(20) == 3
    assert called == [future]


def test_a_call_is_running_while_it_cannot_be_cancelled_by_its_future(make_executor, tmp_path):
    executor = make_executor(**ONE_SLOT)
    future = run(executor, sleep, tmp_path / "pid")
    assert future.running() and not future.cancel() and future.running()
    # One may be sent ahead, to wait at the worker.
    waiting = [executor.submit(abs, {"priority": -i}, -1) for i in range(1, 5)][-1]
    assert not waiting.running() and waiting.cancel() and not waiting.running()
    assert executor.cancel(future) and not future.running()
    done = executor.submit(abs, {}, -3)
    assert done.result(20) == 3 and not done.running()


def test_an_option_makes_cancel_end_what_runs(make_executor, tmp_path):
    executor = make_executor(cancel_running=True, **ONE_SLOT)
    future = run(executor, sleep, tmp_path / "pid")
    assert future.cancel() and future.cancelled()
    assert executor.submit(abs, {}, -3).result(20) == 3


def test_all_of_an_app_and_of_a_category(make_executor, tmp_path):
    executor = make_executor(factory_config=TaskVineFactoryConfig(cores=2))
    first = run(executor, sleep, tmp_path / "a")
    second = run(executor, sleep, tmp_path / "b", category="mine")
    waiting = [executor.submit(leave_trace, {}, str(tmp_path / "trace"), i) for i in range(5)]
    assert executor.cancel_all(leave_trace, category="mine") == 0
    assert executor.cancel_all(leave_trace) == 5
    assert executor.cancel_all(category="mine") == 1
    assert second.cancelled() and not first.done() and all(future.cancelled() for future in waiting)
    assert executor.cancel_all("sleep") == 1
    assert executor.cancel_all() == 0
    with pytest.raises(
        vinefast.InvalidConfiguration, match="app is 3; accepted: an app, its function, or its name, or None"
    ):
        executor.cancel_all(3)
    assert executor.submit(abs, {}, -3).result(20) == 3
    assert not (tmp_path / "trace").exists()


def test_thousands_at_once(make_executor, tmp_path):
    executor = make_executor(factory_config=TaskVineFactoryConfig(cores=2))
    run(executor, sleep, tmp_path / "a")
    futures = [executor.submit(sleep, {}, str(tmp_path / "b")) for _ in range(5000)]
    assert executor.cancel_all() == 5001
    assert all(future.cancelled() for future in futures)
    assert wait_until(lambda: executor.outstanding() == 0, 30)
    assert executor.submit(abs, {}, -3).result(20) == 3


def test_a_chunk_of_map(make_executor, tmp_path):
    executor = make_executor(**ONE_SLOT)
    results = executor.map(sleep, [str(tmp_path / "a"), str(tmp_path / "b")], chunksize=2)
    assert wait_until((tmp_path / "a").exists, 30)
    assert executor.cancel_all("sleep") == 1
    with pytest.raises(CancelledError):
        next(results)
    assert executor.submit(abs, {}, -3).result(20) == 3


def test_regular_mode(make_executor, tmp_path):
    executor = make_executor(function_exec_mode="regular", **ONE_SLOT)
    future = run(executor, sleep_in_c, tmp_path / "pid")
    assert executor.cancel(future)
    assert ended_within(5, tmp_path / "pid")
    assert executor.submit(abs, {}, -3).result(60) == 3


def test_regular_mode_keeps_the_worker_that_fetches_for_it(make_executor, tmp_path):
    """A worker that is told to delete what it fetches aborts (7.14.5), with all that it runs."""
    executor = make_executor(function_exec_mode="regular", factory_config=TaskVineFactoryConfig(cores=2))
    other = run(executor, sleep, tmp_path / "pid")
    with slow_server(tmp_path) as url:
        future = executor.submit(str, {}, vinefast.CachedFile(url, cache="call"))
        assert wait_until((tmp_path / "asked").exists, 30)
        assert executor.cancel(future)
    assert executor.submit(abs, {}, -3).result(60) == 3
    assert is_alive(int((tmp_path / "pid").read_text())) and not other.done()
    assert executor.stats()["workers_joined"] == 1
    assert executor.cancel(other)


@pytest.mark.parametrize("app_retries", [0, 3])
def test_an_app_is_not_tried_again(load, tmp_path, app_retries):
    executor = load({"retries": app_retries}, **ONE_SLOT)
    app = python_app(sleep)
    future = app(str(tmp_path / "pid"))
    assert wait_until((tmp_path / "pid").exists, 30)
    (tmp_path / "pid").unlink()
    dependent = python_app(abs)(future)
    assert not executor.cancel(dependent)
    assert executor.cancel(future)
    assert isinstance(future.exception(20), CancelledError)
    assert dependent.exception(20) is not None
    assert python_app(abs)(-3).result(20) == 3
    assert not (tmp_path / "pid").exists()
    assert executor.cancel(future)  # it is


def test_an_app_that_parsl_has_just_submitted_is_not_tried_again(load, tmp_path):
    """Its call may be cancelled before Parsl waits for it."""
    executor = load({"retries": 3}, **ONE_SLOT)
    submit = executor.submit

    def submit_and_cancel(*args, **kwargs):
        future = submit(*args, **kwargs)
        assert executor.cancel(future)
        return future

    executor.submit = submit_and_cancel
    future = python_app(sleep)(str(tmp_path / "pid"))
    assert isinstance(future.exception(20), CancelledError)
    assert future.task_record["try_id"] == 0


@bash_app
def wait_in_shell(path, outputs=()):
    return f"echo $$ > {path}; sleep 60; touch {outputs[0] if outputs else '/dev/null'}"


def test_a_bash_app_and_its_processes(load, tmp_path):
    executor = load(**ONE_SLOT)
    future = wait_in_shell(str(tmp_path / "pid"), outputs=[File(str(tmp_path / "output"))])
    assert wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 30)
    assert executor.cancel(future)
    assert ended_within(5, tmp_path / "pid")
    assert python_app(abs)(-3).result(20) == 3
    assert not (tmp_path / "output").exists()


def test_what_it_was_to_keep_is_no_ones(load, tmp_path):
    executor = load(**ONE_SLOT)
    kept = vinefast.python_app(keep=True)(sleep_to_keep)(str(tmp_path / "pid"))
    assert wait_until((tmp_path / "pid").exists, 30)
    assert executor.cancel(kept)
    assert isinstance(kept.exception(20), CancelledError)
    assert python_app(abs)(-3).result(20) == 3


def test_on_a_suspended_worker(by_hand, make_executor, tmp_path):
    """The future does not wait for it; once it goes on, the call ends."""
    executor = make_executor(worker_launch_method="manual")
    worker = by_hand(executor, "--cores=1")
    future = run(executor, sleep, tmp_path / "pid")
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert executor.cancel(future) and future.cancelled()
        assert time.monotonic() - began < 1
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    assert executor.submit(abs, {}, -3).result(20) == 3


def test_its_worker_dies_and_it_does_not_run_again(make_executor, by_hand, tmp_path):
    executor = make_executor(worker_launch_method="manual")
    worker = by_hand(executor, "--cores=1")
    future = run(executor, sleep, tmp_path / "pid")
    os.kill(worker.pid, signal.SIGSTOP)  # so that it is not told
    assert executor.cancel(future)
    (tmp_path / "pid").unlink()
    os.kill(worker.pid, signal.SIGKILL)
    by_hand(executor, "--cores=1")
    assert executor.submit(abs, {}, -3).result(30) == 3
    assert not (tmp_path / "pid").exists()
    assert wait_until(lambda: executor.outstanding() == 0)


def test_in_a_callback_and_at_the_end(make_executor, tmp_path):
    executor = make_executor(factory_config=TaskVineFactoryConfig(cores=2))
    future = run(executor, sleep, tmp_path / "pid")
    first = executor.submit(abs, {}, -3)
    first.add_done_callback(lambda _: executor.cancel(future))
    assert wait_until(future.cancelled, 20)
    other = run(executor, sleep, tmp_path / "other")
    executor.shutdown()
    assert other.done() and not executor.cancel(other)
    assert executor.cancel_all() == 0


def test_what_is_cancelled_behind_a_call_that_waits_does_not_wait(make_executor):
    """Parsl starts blocks for outstanding calls; a cancelled one may lie in the queue until its turn comes."""
    executor = make_executor(worker_launch_method="manual")
    first, *others = [executor.submit(abs, {"cores": 2} if i % 2 else {}, -i) for i in range(40)]
    assert wait_until(lambda: executor.stats()["calls_taken"] == 40, 20) and executor.outstanding() == 60
    assert all(executor.cancel(future) for future in others)
    assert wait_until(lambda: executor.outstanding() == 1, 5)
    stats = executor.stats()
    assert (stats["calls_outstanding"], stats["calls_waiting"], stats["calls_cancelled"]) == (1, 1, 39)
    assert "1 waiting, 0 running" in repr(executor), repr(executor)
    assert executor.cancel(first) and wait_until(lambda: executor.outstanding() == 0, 20)
    # Those that have left the queue by now were counted once.
    assert wait_until(lambda: executor.stats()["calls_waiting"] == 0, 20) and executor.outstanding() == 0
    assert executor.cancel(executor.submit(abs, {}, -1)) and wait_until(lambda: executor.outstanding() == 0, 20)


def test_calls_that_are_cancelled_while_they_come_back_are_counted_once(make_executor):
    executor = make_executor(cancel_running=True)
    for _ in range(20):
        futures = [executor.submit(abs, {"cores": 2} if i % 3 == 0 else {}, -i) for i in range(200)]
        for future in futures[::2]:
            future.cancel()
        wait(futures, 60)
    assert wait_until(lambda: executor.outstanding() == 0, 20) and executor.stats()["calls_outstanding"] == 0
