"""Workers that are started by ``vinefast worker``, as a user does."""

import logging
import shutil
import subprocess

import pytest

from tests.helpers.processes import WORKER_COMMAND, end_by_hand, start_by_hand
from tests.helpers.waiting import wait_until


def password_of(executor, tmp_path):
    (path,) = (tmp_path / executor.label).glob("password-*")
    return path


@pytest.fixture
def worker_of(make_executor, tmp_path):
    """Start a worker by ``vinefast worker``; it has to be ended by the test."""
    started = []

    def start(*arguments):
        started.append(start_by_hand([*WORKER_COMMAND, *map(str, arguments)], tmp_path))
        return started[-1]

    yield start
    for worker in started:
        if worker.poll() is None:
            worker.kill()
            worker.wait()


def test_a_worker_by_run_directory(make_executor, worker_of, tmp_path):
    executor = make_executor(worker_launch_method="manual")
    worker = worker_of(tmp_path, "--cores", "1")
    assert executor.submit(abs, {}, -1).result(60) == 1
    assert executor.stats()["slots"] == 1
    executor.shutdown()
    assert worker.wait(30) == 0
    ended = subprocess.run([*WORKER_COMMAND, tmp_path], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "the run is over" in ended.stderr


def test_the_log_says_at_once_how_to_start_one(make_executor, caplog, tmp_path):
    with caplog.at_level(logging.INFO, "vinefast"):
        executor = make_executor(worker_launch_method="manual")
    (said,) = [record.getMessage() for record in caplog.records if "by hand" in record.getMessage()]
    assert f"vinefast worker {tmp_path / executor.label}\n" in said and executor.worker_command in said


@pytest.mark.parametrize("has_tls", [True, False], ids=["TLS", "plain"])
def test_a_worker_by_address_without_a_password(make_executor, worker_of, has_tls):
    """Whether the manager speaks TLS is asked there, at once, and no worker of the wrong kind is counted."""
    executor = make_executor(worker_launch_method="manual", require_password=False, ssl=has_tls)
    worker = worker_of(f"127.0.0.1:{executor.port}", "--no-password", "--cores", "1", "--single-shot")
    assert executor.submit(abs, {}, -1).result(60) == 1
    stats = executor.stats()
    assert stats["joins_with_ssl"] == stats["joins_without_ssl"] == 0
    executor.shutdown()
    assert worker.wait(30) == 0


def test_a_worker_by_address(make_executor, worker_of, tmp_path):
    executor = make_executor(worker_launch_method="manual")
    password = shutil.copy(password_of(executor, tmp_path), tmp_path / "copy")
    worker = worker_of(f"localhost:{executor.port}", "--password", password, "--cores", "1", "--single-shot")
    assert executor.submit(abs, {}, -1).result(60) == 1
    executor.shutdown()
    assert worker.wait(30) == 0


def test_signals_and_exit_codes_are_the_workers(make_executor, worker_of, tmp_path):
    executor = make_executor(worker_launch_method="manual")
    worker = worker_of(tmp_path)
    assert wait_until(lambda: executor.stats()["workers_joined"] == 1, 30)

    assert end_by_hand(worker)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 0)
    assert worker_of(tmp_path, "--no-such-option").wait(60) == 1
