"""The regular mode."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback

import calls
import pytest

from tests.helpers.processes import is_alive
from tests.helpers.waiting import wait_until

from .encode import Call, decode_result, encode_frame
from .worker import USER_MODULES, install_library, library_command


@pytest.fixture
def run_once(tmp_path):
    def run(call, limit_ms=0, limit_mb=0, modules=(), **pipes):
        install_library(tmp_path)
        (tmp_path / "frame").write_bytes(encode_frame([call], limit_ms=limit_ms))
        output = tmp_path / "output"
        with open(output, "wb") as file:
            # As the worker does: one file for both.
            options = {"stdout": file, "stderr": file, **pipes}
            done = subprocess.run(
                library_command(tmp_path, "vinefast_library.once"),
                cwd=tmp_path,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(str, (*modules, USER_MODULES))),
                    "VINEFAST_MEMORY_LIMIT_MB": str(limit_mb),
                },
                start_new_session=True,
                **options,
            )
        assert done.returncode == 0
        (record,) = decode_result(done.stdout or output.read_bytes()).records
        return record

    return run


def test_result(run_once):
    assert run_once(Call(calls.add, (1,), {"b": 5})).value == 6


def test_none(run_once):
    assert run_once(Call(calls.nothing)).status == 0


def test_a_limit_in_a_python_that_was_built_for_older_systems(run_once, tmp_path):
    """As that of conda is, which lacks what its C library lacks."""
    older = tmp_path / "older"
    older.mkdir()
    (older / "sitecustomize.py").write_text("import os\ndel os.memfd_create, os.pidfd_open\n")
    assert run_once(Call(calls.add, (1,), {"b": 5}), limit_ms=60_000, modules=(older,)).value == 6
    assert not [*tmp_path.glob("vinefast-stack*")]


def test_output_does_not_mix_in(run_once, tmp_path):
    assert run_once(Call(calls.log_and_print)).value == "done"
    log = (tmp_path / "vinefast.log").read_text()
    assert "printed" in log and "warned" in log


def test_big_result_into_a_pipe(run_once):
    value = calls.make_bytes(3 << 20)
    assert run_once(Call(calls.same, (value,)), stdout=subprocess.PIPE, stderr=subprocess.PIPE).value == value


def test_exception(run_once):
    record = run_once(Call(calls.fail, ("no",)))
    assert repr(record.exception) == "ValueError('no')"
    assert "in fail" in record.value[2] and "in run_bundle" not in record.value[2]
    assert [frame.name for frame in traceback.extract_tb(record.exception.__traceback__)] == ["fail"]


@pytest.mark.parametrize(
    ("call", "expected"), [(Call(calls.crash, ("ouch",)), (None, 11)), (Call(calls.exit_at_once, (0,)), (0, None))]
)
def test_death(run_once, call, expected):
    record = run_once(call)
    assert record.status == 4
    assert record.value[:2] == expected
    assert ("ouch" in record.value[2]) == (expected[1] is not None)


@pytest.mark.parametrize("own_session", [False, True])
def test_what_has_lost_its_parent_counts_for_a_memory_limit(run_once, own_session):
    """Before anybody could see whose it is: `sh -c 'program &'` is enough."""
    began = time.monotonic()
    record = run_once(Call(calls.fork_with_memory, (8, 50, 20, own_session, True)), limit_mb=250)
    assert record.status == 4 and record.value[:2] == (None, signal.SIGKILL)
    limit, peak = record.value[3]
    assert limit == 250 << 20 < peak < 700 << 20
    assert time.monotonic() - began < 15


WORKER = """
import socket, subprocess, sys
connection = socket.socket()
# TaskVine's resource_monitor starts the task's command in the task's sandbox, and waits for it there.
monitor = ["sh", "-c", '"$@"; exit $?', "sh"]
with open("t.1/output", "wb") as output:
    sys.exit(subprocess.run([*monitor, *sys.argv[1:]], cwd="t.1", stdout=output, stderr=output).returncode)
"""


@pytest.fixture
def monitored(tmp_path):
    """Start a worker that runs a call below another process."""
    started = []

    def start(call):
        sandbox = tmp_path / "t.1"
        sandbox.mkdir()
        install_library(sandbox)
        (sandbox / "frame").write_bytes(encode_frame([call]))
        command = [sys.executable, "-c", WORKER, *library_command(sandbox, "vinefast_library.once")]
        environment = {**os.environ, "PYTHONPATH": str(USER_MODULES)}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True))
        return started[-1], sandbox / "output"

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def test_a_monitor_between_worker_and_call(monitored):
    worker, output = monitored(Call(calls.add, (1,), {"b": 5}))
    assert worker.wait(60) == 0
    assert decode_result(output.read_bytes()).records[0].value == 6


def test_a_call_below_a_monitor_ends_with_its_worker(monitored, tmp_path):
    pid_file = tmp_path / "pid"
    worker, _ = monitored(Call(calls.write_pid_and_sleep, (str(pid_file), 60)))
    assert wait_until(lambda: pid_file.exists() and pid_file.read_text(), 60)
    worker.kill()
    worker.wait()
    assert wait_until(lambda: not is_alive(int(pid_file.read_text())), 20)
