"""A worker that is suspended for a while runs each call once, and its library goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import calls
import pytest

from tests.helpers.processes import descendants, is_alive
from tests.helpers.waiting import wait_until

from .chaos import faults
from .encode import Call

NONE, VALUE, RAISED = 0, 1, 3


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


@contextlib.contextmanager
def suspended(pids, seconds):
    """These processes are suspended while the body runs, and for so long afterwards."""
    faults.send_signal(pids, signal.SIGSTOP)
    try:
        yield
        time.sleep(seconds)
    finally:
        faults.send_signal(pids, signal.SIGCONT)


def test_what_has_time_to_tidy_up_has_it_after_a_suspension(start_worker):
    """A resource tracker, when the process of its slot has died."""
    worker = start_worker()
    records = worker.run([Call(calls.make_shared_memory), Call(calls.tracker_pid), Call(os.getpid, ())]).records
    shared, tracker, pid = Path("/dev/shm", records[0].value), records[1].value, records[2].value
    with suspended([tracker], 0.2):
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(pid))
        time.sleep(0.2)
        with suspended([each for each in faults.all_of(worker.process.pid) if each != tracker], 2.5):
            pass
    assert wait_until(lambda: not shared.exists())


def test_a_call_has_its_time_to_end_after_a_suspension(start_worker, tmp_path):
    worker = start_worker(env={"VINEFAST_STOP_GRACE_S": "2"})
    trace = tmp_path / "trace"
    task = worker.send([Call(calls.say_and_sleep, (str(trace), 60))])
    assert wait_until(lambda: trace.exists() and trace.read_text())
    with suspended(faults.slots(worker.process.pid), 0.2):
        answer = worker.send_raw(b"S %d:0" % task)
        assert worker.collect(resend=False)[0] == answer
        with suspended([worker.process.pid], 3.5):
            pass
    done, result = worker.collect()
    assert done == task and [record.status for record in result.records] == [RAISED]
    assert trace.read_text().split() == ["begun", "interrupted"]


def test_calls_that_tidy_up_have_their_time_after_a_suspension(start_worker, tmp_path):
    """They have heard that they are to end, so that nobody asks them again."""
    worker = start_worker(slots=2, env={"VINEFAST_STOP_GRACE_S": "3"})
    traces = [tmp_path / "stopped", tmp_path / "overdue"]
    stopped, overdue = ([Call(calls.sleep_and_tidy_up, (str(trace), 10)), Call(os.getpid)] for trace in traces)
    tasks = [worker.send(stopped), worker.send(overdue, limit_ms=300)]
    assert wait_until(lambda: all(trace.exists() for trace in traces))
    answers = [worker.send_raw(b"S %d:0" % tasks[0])]
    assert wait_until(lambda: all(trace.read_text().split()[1:] == ["interrupted"] for trace in traces))
    time.sleep(0.2)
    with suspended(faults.all_of(worker.process.pid), 4.5):
        # What is asked for meanwhile changes nothing.
        answers.append(worker.send_raw(b"S %d:1" % tasks[0]))
    results = dict(worker.collect(resend=False) for _ in range(4))
    assert results.keys() == {*tasks, *answers}
    assert [trace.read_text().split()[2:] for trace in traces] == [["tidied"]] * 2
    assert [record.status for record in results[tasks[0]].records] == [NONE, RAISED]
    assert [record.status for record in results[tasks[1]].records] == [NONE, VALUE]


def test_a_stack_is_waited_for_after_a_suspension(start_worker, tmp_path):
    worker = start_worker()
    trace = tmp_path / "trace"
    task = worker.send([Call(calls.say_and_tick, (str(trace), 40, 0.1))])
    assert wait_until(trace.exists)
    with suspended(faults.slots(worker.process.pid), 0.2):
        question = worker.send_raw(b"T %d:0" % task)
        time.sleep(0.2)
        with suspended([worker.process.pid], 1.5):
            pass
    done, result = worker.collect()
    assert done == question and result.records[0].value.endswith(" in say_and_tick")
    assert worker.collect()[0] == task
