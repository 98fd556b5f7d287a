"""Tune parameters reach the engine, and do there what they say."""

import os
import signal
import time

import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from tests.helpers.processes import command_by_hand, start_by_hand
from tests.helpers.waiting import wait_until
from tests.settings.test_tuning import ALL, another
from vinefast import Tuning


@pytest.fixture
def make_tuned(make_executor):
    """Start an executor with tune parameters, whose workers are started by hand."""

    def make(tuning):
        config = TaskVineManagerConfig(port=0, tune_parameters=tuning)
        return make_executor(worker_launch_method="manual", manager_config=config)

    return make


@pytest.fixture
def start_worker(tmp_path):
    """Start workers, each with a name that its calls see; all are ended."""
    workers = []

    def start(executor, *options):
        command = command_by_hand(executor, *options)
        workers.append(start_by_hand(command, tmp_path, WORKER_ID=f"worker{len(workers)}"))
        return workers[-1]

    yield start
    for worker in workers:
        # With its transfer server, which would outlive it.
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def where():
    import os

    return os.environ["WORKER_ID"]


def nap(seconds):
    import time

    time.sleep(seconds)


def test_all_at_once(make_tuned):
    tuning = Tuning.of({p.name: another(p) for p in ALL if p.available})
    assert make_tuned(tuning).port


def test_wait_for_workers(make_tuned, start_worker):
    executor = make_tuned({"wait-for-workers": 2})
    future = executor.submit(where, {})
    start_worker(executor)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1)
    time.sleep(1.0)
    assert not future.done()
    start_worker(executor)
    assert future.result(30).startswith("worker")


def test_bandwidth_limit(make_tuned, start_worker):
    executor = make_tuned(Tuning(bandwidth_limit="2MB"))
    start_worker(executor)
    executor.submit(where, {}).result(30)
    began = time.monotonic()
    assert len(executor.submit(bytes, {}, 4 << 20).result(30)) == 4 << 20
    assert time.monotonic() - began >= 1.5


def test_keepalives(make_tuned, start_worker):
    executor = make_tuned(Tuning(keepalive_interval=1, keepalive_timeout=2))
    worker = start_worker(executor)
    executor.submit(where, {}).result(30)
    os.killpg(worker.pid, signal.SIGSTOP)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 0, 20)


def test_scheduler(make_tuned, start_worker):
    executor = make_tuned(Tuning(scheduler="random"))
    for _ in range(2):
        start_worker(executor, "--cores", "1")
    assert wait_until(lambda: executor.stats()["slots"] == 2, 30)
    for future in [executor.submit(nap, {}, 0.5) for _ in range(2)]:
        future.result(30)
    # One at a time, so that there is a choice. What vinefast chooses itself is always the same one.
    assert {executor.submit(where, {}).result(30) for _ in range(30)} == {"worker0", "worker1"}


def test_slow_workers_are_let_go_and_libraries_are_not_slow(make_tuned, start_worker):
    executor = make_tuned({"disconnect-slow-worker-factor": 50})
    start_worker(executor, "--cores", "2")
    for _ in range(20):
        executor.submit(nap, {}, 0.02).result(30)
    time.sleep(2.0)
    assert executor.submit(where, {}).result(30) == "worker0"
    assert executor.stats()["workers_joined"] == 1
    for _ in range(2):
        executor.submit(nap, {}, 60)
    # Fifty times what a call takes on average, from its worker's point of view: much, on a busy machine.
    assert wait_until(lambda: executor.stats()["workers_joined"] == 2, 60)


def test_what_is_vinefasts_own(make_executor):
    config = TaskVineManagerConfig(port=0, tune_parameters={"bundle-ms": 0, "inline-nbytes": 0})
    executor = make_executor(manager_config=config)
    for future in [executor.submit(abs, {}, -1) for _ in range(200)]:
        future.result(30)
    stats = executor.stats()
    # Besides these there is the empty bundle that starts the library.
    assert stats["bundles_sent"] - 1 == 200 <= stats["bundles_spilled"]
