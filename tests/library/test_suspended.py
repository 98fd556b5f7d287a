"""A worker that is suspended for a while runs each call once, and its library goes on."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import calls
import pytest

from tests.helpers.processes import descendants, is_alive

from .encode import Call


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def write(trace, name):
    return [Call(calls.write_line, (str(trace), name))]


def collect(worker, n):
    return dict(worker.collect() for _ in range(n))


def take_and(worker, trace, number, has_happened):
    """Send bundles until the child has been sent a signal between taking one and telling so; give their task ids."""
    pid = worker.run([Call(calls.signal_in_answer, (number,))]).records[0].value
    sent = {}
    for i in range(50):
        for name in (f"{i}-first", f"{i}-second"):
            sent[worker.send(write(trace, name))] = name
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            if has_happened(pid):
                return pid, sent
            time.sleep(0.005)
    raise AssertionError("the child has never taken a bundle from the queue")


def check(worker, trace, sent):
    done = collect(worker, len(sent))
    ran = Counter(trace.read_text().split())
    assert set(ran.values()) == {1}
    for task_id, name in sent.items():
        # Run once, or handed back because it waited too long.
        assert [record.value for record in done[task_id].records] == [name] * ran[name]
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2
    assert worker.process.poll() is None


def test_child_suspended_with_a_bundle_that_it_has_taken(start_worker, tmp_path):
    worker = start_worker()
    trace = tmp_path / "trace"
    pid, sent = take_and(worker, trace, signal.SIGSTOP, lambda pid: state_of(pid) == "T")
    for i in range(3):
        time.sleep(0.5)
        sent[worker.send(write(trace, f"late-{i}"))] = f"late-{i}"
    os.kill(pid, signal.SIGCONT)
    check(worker, trace, sent)


def test_child_that_dies_with_a_bundle_that_it_has_taken(start_worker, tmp_path):
    worker = start_worker()
    trace = tmp_path / "trace"
    _, sent = take_and(worker, trace, signal.SIGKILL, lambda pid: not is_alive(pid))
    check(worker, trace, sent)


@pytest.mark.parametrize("seconds", [1.5])
def test_suspended_worker(start_worker, tmp_path, seconds):
    worker = start_worker(slots=2)
    trace = tmp_path / "trace"
    sent = {}
    for round_ in range(4):
        for i in range(20):
            names = [f"{round_}-{i}-{k}" for k in range(5)]
            bundle = [call for name in names for call in [*write(trace, name), Call(calls.sleep, (0.001,))]]
            sent[worker.send(bundle)] = names
        pids = [worker.process.pid, *descendants(worker.process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds if round_ == 1 else 0.2)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    done = collect(worker, len(sent))
    ran = Counter(trace.read_text().split())
    assert set(ran.values()) == {1}
    for task_id, names in sent.items():
        values = [record.value for record in done[task_id].records[::2]]
        assert values == names[: len(values)]
        assert all(ran[name] == (name in values) for name in names)
    assert worker.process.poll() is None
