"""Executors that audit themselves, and audits of real runs from outside."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from tests.helpers.processes import left_of, processes_marked
from tests.helpers.waiting import wait_until
from vinefast import CallTimedOut, Tuning
from vinefast.errors import AuditFailed
from vinefast.events import audit_wanted, own_audit
from vinefast.events.audit_log import audit_log
from vinefast.events.findings import RULES

COMMAND = [sys.executable, "-c", "from vinefast.cli import main; main()", "audit"]

PROGRAM = """
import sys, time
from vinefast import VineFastExecutor

executor = VineFastExecutor()
executor.run_dir = sys.argv[1]
executor.start()
for future in [executor.submit(abs, None, i) for i in range(100)]:
    future.result()
calls = [executor.submit(time.sleep, None, 60) for _ in range(10)]
print("begun", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def wanted(monkeypatch, caplog):
    monkeypatch.setenv(audit_wanted.VARIABLE, "1")
    caplog.set_level("INFO", own_audit.logger.name)


def half(n):
    return n / 2


def nap(seconds, path=None):
    if path is not None:
        Path(path).touch()
    time.sleep(seconds)
    return seconds


def refuse():
    raise ValueError("no")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def log_of(executor):
    return f"{executor.run_dir}/{executor.label}/events"


def passes(executor, caplog, n_ended=None, n_cut_off=0):
    """Shut an executor down, and see that both audits have looked at something."""
    caplog.clear()
    executor.shutdown()
    (message,) = (record.getMessage() for record in caplog.records if record.name == own_audit.logger.name)
    assert "has found nothing" in message and f", {n_cut_off} were cut off" in message
    findings = audit_log(log_of(executor))
    assert findings.verdict == "passed" and findings.state == "ended" and findings.unfinished == n_cut_off
    assert n_ended is None or findings.ended == n_ended
    return findings


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_calls_of_each_kind(make_executor, caplog, mode):
    executor = make_executor(function_exec_mode=mode)
    n = 2000 if mode == "serverless" else 2  # a fresh process for each takes seconds on a busy machine
    futures = [executor.submit(half, {}, i) for i in range(n)]
    failing, dying = executor.submit(refuse), executor.submit(die)
    assert [future.result(60) for future in futures] == [i / 2 for i in range(n)]
    assert isinstance(failing.exception(60), ValueError) and dying.exception(60) is not None
    assert list(executor.map(half, range(n))) == [i / 2 for i in range(n)]
    passes(executor, caplog)
    executor.shutdown()  # which says nothing more


def test_cancelled_calls(make_executor, caplog, tmp_path):
    executor = make_executor()
    gate = tmp_path / "gate"
    futures = [executor.submit(nap, {}, 60, str(gate)) for _ in range(20)]
    assert wait_until(gate.exists, 30)
    assert executor.cancel_all() == 20
    assert executor.submit(half, {}, 1).result(60) == 0.5
    assert wait_until(lambda: executor.stats()["calls_outstanding"] == 0)
    assert all(future.cancelled() for future in futures)
    passes(executor, caplog, 21)


def test_a_lost_worker(make_executor, mark, caplog, tmp_path):
    executor = make_executor()
    gate = tmp_path / "gate"
    futures = [executor.submit(nap, {}, 1, str(gate)) for _ in range(5)]
    assert wait_until(gate.exists, 30)
    (worker,) = (process for process in processes_marked(mark) if "--workspace" in process.cmdline())
    psutil.Process(worker.pid).kill()
    assert [future.result(60) for future in futures] == [1] * 5
    passes(executor, caplog, 5)


def test_calls_that_are_over_their_time(make_executor, caplog):
    executor = make_executor()
    futures = [executor.submit(nap, {"running_time_max": 1}, n) for n in (0, 30, 0, 30)]
    assert [type(future.exception(60)) for future in futures] == [type(None), CallTimedOut] * 2
    passes(executor, caplog, 4)


def test_a_shutdown_in_the_midst(make_executor, caplog, tmp_path):
    executor = make_executor()
    gate = tmp_path / "gate"
    assert executor.submit(half, {}, 1).result(60) == 0.5
    for _ in range(50):
        executor.submit(nap, {}, 30, str(gate))
    assert wait_until(gate.exists, 30)
    passes(executor, caplog, 1, 50)


def test_a_start_that_fails(make_executor, tmp_path):
    executor = make_executor(start=False, manager_config=TaskVineManagerConfig(port=0, address="256.1.1.1"))
    with pytest.raises(Exception, match="256.1.1.1"):
        executor.start()


@pytest.mark.breaks_rules
def test_a_breach_raises_when_all_is_shut_down(make_executor, caplog, mark, tmp_path):
    executor = make_executor()
    assert executor.submit(half, {}, 1).result(60) == 0.5
    left = tmp_path / executor.label / "password-abcdefgh"
    left.touch()
    with pytest.raises(AuditFailed, match="nothing-left: .*password-abcdefgh is still there") as raised:
        executor.shutdown()
    assert not left_of(mark)
    assert pickle.loads(pickle.dumps(raised.value)).breaches == raised.value.breaches
    assert any("has failed" in record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    executor.shutdown()
    done = subprocess.run([*COMMAND, executor.run_dir], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and RULES["nothing-left"] in done.stdout and str(left) in done.stdout


@pytest.mark.breaks_rules
def test_a_callback_that_runs_twice(make_executor):
    executor = make_executor()
    future = executor.submit(half, {}, 1)
    callbacks = list(future._done_callbacks)
    assert future.result(60) == 0.5 and len(callbacks) == 1
    callbacks[0](future)
    with pytest.raises(AuditFailed, match="callbacks-once: call 0 had its callbacks run more than once"):
        executor.shutdown()


def test_it_says_what_it_cannot_tell(make_executor, caplog):
    executor = make_executor(manager_config=TaskVineManagerConfig(port=0, tune_parameters=Tuning(events_nbytes=0)))
    assert executor.submit(half, {}, 1).result(60) == 0.5
    executor.shutdown()
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("cannot tell all: There is no event log" in message for message in messages)
    executor = make_executor(
        manager_config=TaskVineManagerConfig(port=0, tune_parameters=Tuning(events_nbytes=200_000))
    )
    for _ in range(10):
        assert [future.result(60) for future in [executor.submit(half, {}, i) for i in range(4000)]]
        time.sleep(0.1)
    caplog.clear()
    executor.shutdown()
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("has made room for later records" in message for message in messages)
    done = subprocess.run([*COMMAND, "--json", os.path.dirname(log_of(executor))], capture_output=True, timeout=60)
    (findings,) = json.loads(done.stdout).values()
    assert done.returncode == 3 and findings["verdict"] == "unknown" and not findings["breaches"]


def test_a_program_that_is_killed(tmp_path, mark):
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "begun\n"
        (log,) = tmp_path.glob("*/events")

        def is_written():  # what is in memory is lost with the program
            findings = audit_log(str(log))
            return (findings.ended, findings.unfinished) == (100, 10)

        assert wait_until(is_written, 60)
        (running,) = json.loads(
            subprocess.run([*COMMAND, "--json", str(tmp_path)], capture_output=True).stdout
        ).values()
        program.kill()
    assert running["state"] == "running" and running["verdict"] == "unknown" and running["ended"] == 100
    done = subprocess.run([*COMMAND, "--json", str(tmp_path)], capture_output=True, timeout=60)
    (findings,) = json.loads(done.stdout).values()
    assert done.returncode == 0 and findings["verdict"] == "passed" and findings["state"] == "killed"
    assert (findings["ended"], findings["unfinished"]) == (100, 10)
    said = subprocess.run([*COMMAND, str(tmp_path)], capture_output=True, text=True, timeout=60).stdout
    assert "no rule is broken\nkilled; 100 calls ended, 10 had not ended\n" in said
