"""Calls whose time is limited end when it is over, and no other call does."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path

import calls
import pytest

from tests.helpers.processes import is_alive
from tests.helpers.waiting import wait_until
from vinefast.library.slot import Slot
from vinefast.library.time_limit import TimeLimits

from .encode import Call

VALUE, RAISED, DIED, TIMED_OUT = 1, 3, 4, 12


@pytest.fixture
def patient(start_worker):
    """A worker that gives calls all the time they need to end by themselves."""
    return start_worker(env={"VINEFAST_STOP_GRACE_S": "30"})


def statuses(result):
    return [record.status for record in result.records]


def why(record):
    """Give limit and stack."""
    assert record.status == TIMED_OUT
    return pickle.loads(record.payload)


def lines(path):
    return path.read_text().split() if path.exists() else []


def test_it_is_interrupted(patient, tmp_path):
    trace = tmp_path / "trace"
    result = patient.run(
        [Call(os.getpid), Call(calls.say_and_sleep, (str(trace), 60)), Call(os.getpid), Call(calls.nothing)],
        limit_ms=300,
    )
    assert statuses(result) == [VALUE, TIMED_OUT, VALUE, 0]
    limit_s, stack = why(result.records[1])
    assert limit_s == 0.3
    assert "time.sleep(seconds)" in stack and "say_and_sleep" in stack and "vinefast_library" not in stack
    assert lines(trace) == ["begun", "interrupted"]
    assert result.records[0].value == result.records[2].value  # in the same process
    assert result.records[1].duration_ns >= 300_000_000


def test_what_it_was_given_is_freed_before_the_next_call(patient, tmp_path):
    trace = tmp_path / "trace"
    noted = calls.Noted(str(trace))
    trace.touch()
    first, second = Call(calls.sleep_with, (noted, 60)), Call(calls.read_text, (str(trace),))
    result = patient.run([first, second], limit_ms=300)
    assert statuses(result) == [TIMED_OUT, VALUE]
    assert result.records[1].value == "freed\n"


def test_its_parameters_may_have_any_name(worker):
    names = ["args", "function", "kwargs", "self"]
    call = Call(calls.keyword_names, (), dict.fromkeys(names))
    assert worker.run([call], limit_ms=60_000).records[0].value == names


@pytest.mark.parametrize("way", ["C code", "deaf", "signals blocked", "in the kernel", "no handlers"])
def test_it_is_killed_alone(worker, tmp_path, way):
    trace, other = tmp_path / "trace", tmp_path / "other"
    endless = {
        "C code": Call(calls.compute_in_c),
        "deaf": Call(calls.say_and_sleep, (str(trace), 60, "go on")),
        "signals blocked": Call(calls.sleep_in_c, (60,)),
        "in the kernel": Call(calls.wait_in_the_kernel, (str(tmp_path / "fifo"),)),
        "no handlers": Call(calls.forget_signal_handlers),
    }[way]
    writes = [Call(calls.write_line, (str(other), i)) for i in range(4)]
    result = worker.run([*writes[:2], endless, *writes[2:]], limit_ms=300)
    assert statuses(result) == [VALUE, VALUE, TIMED_OUT, VALUE, VALUE]
    limit_s, stack = why(result.records[2])
    assert limit_s == 0.3 and result.records[2].duration_ns >= 300_000_000
    if way == "C code":
        assert "in compute_in_c" in stack and "in _sum" in stack and "vinefast_library" not in stack
    assert lines(other) == ["0", "1", "2", "3"]


def test_the_other_slots_go_on(start_worker, tmp_path):
    """What cannot even be stopped holds up nobody else."""
    worker = start_worker(slots=2, env={"VINEFAST_STOP_GRACE_S": "0.1"})
    stuck = worker.send([Call(calls.wait_in_the_kernel, (str(tmp_path / "fifo"),)), Call(os.getpid)], limit_ms=3000)
    assert wait_until((tmp_path / "fifo").exists)
    quick = {worker.send([Call(os.getpid)]) for _ in range(20)}
    results = dict(worker.collect() for _ in range(21))
    assert results.keys() == {stuck, *quick} and statuses(results[stuck]) == [TIMED_OUT, VALUE]


def test_beside_a_thread(patient):
    """The signals are the main thread's, also where another one could take them."""
    result = patient.run([Call(calls.sleep_beside_a_thread, (60,))] * 8 + [Call(os.getpid)], limit_ms=200)
    assert statuses(result) == [TIMED_OUT] * 8 + [VALUE]


def test_a_bundle_that_the_child_has_left():
    """The supervisor may hear late of one whose calls have a limit."""
    slot, limits = Slot(0), TimeLimits()
    slot.memory.reset(8)
    limits.begin(slot, 7)
    assert not [*limits.moments()]
    limits.begin(slot, 8)
    assert [*limits.moments()]


def test_calls_within_their_limit(worker):
    """Together they take longer than one may."""
    assert statuses(worker.run([Call(calls.sleep, (0.05,))] * 12, limit_ms=400)) == [0] * 12


def test_one_after_the_other(patient):
    result = patient.run([Call(calls.sleep, (60,)), Call(os.getpid), Call(calls.sleep, (60,))], limit_ms=200)
    assert statuses(result) == [TIMED_OUT, VALUE, TIMED_OUT]


def test_one_that_ends_otherwise_when_asked(patient, tmp_path):
    result = patient.run([Call(calls.sleep_or_return, (60, "tidied up")), Call(os.getpid)], limit_ms=200)
    assert statuses(result) == [VALUE, VALUE] and result.records[0].value == "tidied up"


def test_no_limit_in_the_next_bundle(worker):
    assert statuses(worker.run([Call(calls.sleep, (0.01,))], limit_ms=200)) == [0]
    assert statuses(worker.run([Call(calls.sleep, (0.8,))])) == [0]


def test_bundles_from_the_queue(start_worker):
    worker = start_worker(slots=2, env={"VINEFAST_STOP_GRACE_S": "30"})
    tasks = [worker.send([Call(os.getpid), Call(calls.sleep, (60,))], limit_ms=200) for _ in range(6)]
    results = dict(worker.collect() for _ in tasks)
    assert [statuses(results[task]) for task in tasks] == [[VALUE, TIMED_OUT]] * 6


def test_it_begins_anew_with_the_next_process(worker, tmp_path):
    result = worker.run(
        [
            Call(calls.sleep, (0.3,)),
            Call(calls.exit_at_once, (3,)),
            Call(calls.sleep, (0.3,)),
            Call(calls.compute_in_c),
        ],
        limit_ms=500,
    )
    assert statuses(result) == [0, DIED, 0, TIMED_OUT]


def test_a_fork_that_returns_from_the_call(worker, tmp_path):
    """It shares the memory in which the child says when its call has begun."""
    result = worker.run([Call(calls.fork_and_return, (str(tmp_path / "trace"),))], limit_ms=20_000)
    assert statuses(result) == [VALUE] and result.records[0].value == 0
    result = worker.run([Call(calls.fork_and_compute)], limit_ms=300)
    assert statuses(result) == [TIMED_OUT]


def test_what_it_has_started_ends(worker, tmp_path):
    pid_file = tmp_path / "pid"
    result = worker.run(
        [Call(calls.start_and_sleep, (str(pid_file), 60, ["sleep", "60"])), Call(os.getpid)], limit_ms=500
    )
    assert statuses(result) == [TIMED_OUT, VALUE]
    pid = int(pid_file.read_text())
    assert wait_until(lambda: not is_alive(pid))


def test_what_it_had_in_shared_memory_goes(worker, tmp_path):
    trace = tmp_path / "trace"
    call = Call(calls.share_memory_and, (str(trace), calls.sleep_in_c, 60))
    assert statuses(worker.run([call, Call(os.getpid)], limit_ms=2000)) == [TIMED_OUT, VALUE]
    assert wait_until(lambda: not Path("/dev/shm", *lines(trace)).exists())


def test_a_library_that_was_suspended(start_worker, tmp_path):
    """As batch systems do: no call's time runs while all that belongs to a worker is stopped."""
    worker = start_worker()
    trace = tmp_path / "trace"
    task = worker.send([Call(calls.say_and_tick, (str(trace), 10, 0.1))], limit_ms=3000)
    assert wait_until(lambda: lines(trace))
    pids = [worker.process.pid, int(lines(trace)[0])]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4.5)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    done, result = worker.collect()
    assert done == task and statuses(result) == [VALUE]


def test_a_call_has_closed_all_descriptors(worker, tmp_path):
    """The stack is not to be written to a file of the call's that has got the number."""
    mine = tmp_path / "mine"
    result = worker.run([Call(calls.reopen_and_compute, (str(mine),))], limit_ms=300)
    assert statuses(result) == [TIMED_OUT] and why(result.records[0])[1] == ""
    assert mine.read_bytes() == b""
