"""Calls end because the program says so, and no other call does."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

import calls
import pytest

from tests.helpers.processes import is_alive
from tests.helpers.waiting import wait_until
from vinefast.library import stopping
from vinefast.library.stops import Stops, grace_s

from .encode import Call, encode_command, encode_frame

VALUE, RAISED, DIED = 1, 3, 4


@pytest.fixture
def patient(start_worker):
    """A worker that gives calls all the time they need to end by themselves."""
    return start_worker(env={"VINEFAST_STOP_GRACE_S": "30"})


def stop(worker, task_id, *indices):
    """Send what the manager does; give the answer's task id."""
    return worker.send_raw(b"S %d:%s" % (task_id, b",".join(b"%d" % index for index in indices)))


def collect(worker, *task_ids):
    """Give the results of some bundles, by task id, in whatever order they come."""
    results = dict(worker.collect(resend=False) for _ in task_ids)
    assert results.keys() == {*task_ids}
    return results


def lines(path):
    return path.read_text().split() if path.exists() else []


def statuses(result):
    return [record.status for record in result.records]


def test_a_running_call_is_interrupted(patient, tmp_path):
    worker = patient
    trace, before, after = tmp_path / "trace", tmp_path / "before", tmp_path / "after"
    task = worker.send(
        [
            Call(calls.write_line, (str(before), "before")),
            Call(calls.say_and_sleep, (str(trace), 60)),
            Call(calls.write_line, (str(after), "after")),
            Call(os.getpid, ()),
        ]
    )
    assert wait_until(lambda: lines(trace) == ["begun"])
    answer = stop(worker, task, 1)
    results = collect(worker, answer, task)
    assert statuses(results[task]) == [VALUE, RAISED, VALUE, VALUE]
    assert results[task].records[1].value[0].endswith("CallStopped")
    assert lines(trace) == ["begun", "interrupted"]
    assert lines(before) == ["before"] and lines(after) == ["after"]
    assert worker.run([Call(os.getpid, ())]).records[0].value == results[task].records[3].value


@pytest.mark.parametrize("call", ["C code", "deaf"])
def test_what_does_not_end_is_killed_alone(worker, tmp_path, call):
    trace, other = tmp_path / "trace", tmp_path / "other"
    endless = {
        "C code": Call(calls.sleep_in_c, (60, str(trace))),
        "deaf": Call(calls.say_and_sleep, (str(trace), 60, "go on")),
    }[call]
    writes = [Call(calls.write_line, (str(other), i)) for i in range(4)]
    task = worker.send([*writes[:2], endless, *writes[2:]])
    assert wait_until(lambda: lines(trace) == ["begun"])
    results = collect(worker, stop(worker, task, 2), task)
    assert statuses(results[task]) == [VALUE, VALUE, DIED, VALUE, VALUE]
    assert results[task].records[2].value[1] == signal.SIGKILL
    assert lines(other) == ["0", "1", "2", "3"]


def test_one_that_has_not_begun_is_left_out(worker, tmp_path):
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    task = worker.send(
        [
            Call(calls.say_and_sleep, (str(trace), 1.2)),
            Call(calls.write_line, (str(tmp_path / "left-out"), "ran")),
            Call(calls.write_line, (str(gate), "ran")),
        ]
    )
    assert wait_until(lambda: lines(trace) == ["begun"])
    results = collect(worker, stop(worker, task, 1), task)
    # The one that runs meanwhile outlives the time of grace of the other.
    assert statuses(results[task]) == [VALUE, RAISED, VALUE]
    assert results[task].records[0].value == "slept"
    assert not (tmp_path / "left-out").exists() and gate.exists()


def test_one_in_the_queue(worker, tmp_path):
    trace = tmp_path / "trace"
    for _ in range(20):  # on a busy machine, it waits too long and is handed back
        trace.unlink(missing_ok=True)
        first = worker.send([Call(calls.say_and_sleep, (str(trace), 0.05))])
        assert wait_until(lambda: lines(trace) == ["begun"])
        second = worker.send([Call(calls.write_line, (str(tmp_path / "a"), "a")), Call(calls.sleep, (60,))])
        answer = stop(worker, second, 1)
        results = collect(worker, answer, first, second)
        assert statuses(results[first]) == [VALUE]
        if results[second].records:
            break
    assert statuses(results[second])[:1] == [VALUE] and statuses(results[second])[1] in (RAISED, DIED)


def test_one_whose_bundle_comes_later(worker, tmp_path):
    """Its worker may still wait for a file, for which the message does not."""
    task = 5000
    collect(worker, stop(worker, task, 0))
    command = encode_command(encode_frame([Call(calls.sleep, (60,)), Call(os.getpid, ())], 0, True))
    worker.send_raw(command, task)
    assert statuses(collect(worker, task)[task]) == [RAISED, VALUE]


def test_a_steady_stream_does_not_put_it_off(worker, tmp_path):
    trace = tmp_path / "trace"
    task = worker.send([Call(calls.say_and_sleep, (str(trace), 60, "go on")), *[Call(os.getpid, ())] * 200])
    assert wait_until(lambda: lines(trace) == ["begun"])
    answers, done = [], []
    for index in range(200):
        answers.append(stop(worker, task, index))
        done += [worker.collect(resend=False)[0]]
        if task in done:
            break
        time.sleep(0.1)
    assert task in done and len(answers) < 150
    while len(done) <= len(answers):
        done.append(worker.collect(resend=False)[0])
    assert sorted(done) == sorted([task, *answers])


def test_the_calls_of_later_bundles_that_die(worker, tmp_path):
    """A look at how far one had come is forgotten."""
    trace, other = tmp_path / "trace", tmp_path / "other"
    task = worker.send([*[Call(os.getpid, ())] * 30, Call(calls.say_and_sleep, (str(trace), 60, "go on"))])
    assert wait_until(lambda: lines(trace) == ["begun"])
    assert statuses(collect(worker, stop(worker, task, 30), task)[task]) == [VALUE] * 30 + [DIED]
    writes = [Call(calls.write_line, (str(other), i)) for i in range(60)]
    result = worker.run([*writes[:30], Call(calls.exit_at_once, (3,)), *writes[30:]])
    assert statuses(result) == [VALUE] * 30 + [DIED] + [VALUE] * 30
    assert [record.value for record in result.records if record.status == VALUE] == [*range(60)]
    assert lines(other) == [str(i) for i in range(60)]


def test_all_of_a_bundle_and_of_two_slots(start_worker, tmp_path):
    worker = start_worker(slots=2)
    traces = [tmp_path / f"trace-{i}" for i in range(2)]
    tasks = [worker.send([Call(calls.say_and_sleep, (str(trace), 60))] * 5) for trace in traces]
    assert wait_until(lambda: all(lines(trace) == ["begun"] for trace in traces))
    answer = worker.send_raw(b"S " + b" ".join(b"%d:0,1,2,3,4" % task for task in tasks))
    results = collect(worker, answer, *tasks)
    for task, trace in zip(tasks, traces, strict=True):
        assert statuses(results[task]) == [RAISED] * 5
        assert lines(trace) == ["begun", "interrupted"]


@pytest.mark.parametrize("ignore", [False, True])
def test_what_it_has_started_ends_too(patient, tmp_path, ignore):
    worker = patient
    file, kept = tmp_path / "pid", tmp_path / "kept"
    command = ["sh", "-c", f"trap '' INT{' TERM' if ignore else ''}; sleep 60 & wait; wait; sleep 60"]
    task = worker.send(
        [
            Call(calls.start_and_sleep, (str(kept), 0.1, ["sleep", "30"])),
            Call(calls.start_and_sleep, (str(file), 60, command)),
        ]
    )
    assert wait_until(lambda: file.exists() and file.read_text())
    time.sleep(0.2)
    results = collect(worker, stop(worker, task, 1), task)
    assert statuses(results[task]) == [0, RAISED]
    assert wait_until(lambda: not is_alive(int(file.read_text())))
    assert is_alive(int(kept.read_text()))
    os.kill(int(kept.read_text()), signal.SIGKILL)


def test_what_one_that_is_killed_has_started_ends_too(worker, tmp_path):
    """In a session of its own, and though the call did not come to pass anything on."""
    file, kept = tmp_path / "pid", tmp_path / "kept"
    task = worker.send(
        [
            Call(calls.start_and_leave_in_session, (str(kept),)),
            Call(calls.sleep, (0.1,)),
            Call(calls.start_in_session_and_sleep_in_c, (str(file), 60)),
        ]
    )
    assert wait_until(lambda: file.exists() and file.read_text())
    time.sleep(0.2)
    assert statuses(collect(worker, stop(worker, task, 2), task)[task]) == [0, 0, DIED]
    assert wait_until(lambda: not is_alive(int(file.read_text())))
    assert is_alive(int(kept.read_text()))
    os.kill(int(kept.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("command", ["", "setsid"], ids=["group", "session"])
@pytest.mark.parametrize("way", ["interrupted", "answers", "killed"])
def test_what_it_has_started_in_the_background_ends_too(worker, tmp_path, command, way):
    """By a shell that has ended, so that nobody comes from the call any more. What earlier calls have left goes on."""
    file, kept = tmp_path / "pid", tmp_path / "kept"
    ways = {
        "interrupted": (Call(calls.start_in_background_and_sleep, (str(file), command, 60)), RAISED),
        "answers": (Call(calls.start_in_background_and_sleep, (str(file), command, 60, "stopped")), VALUE),
        "killed": (Call(calls.start_in_background_and_sleep_in_c, (str(file), command, 60)), DIED),
    }
    call, status = ways[way]
    # In a session of its own: what is in the group of a process ends with it.
    before = Call(calls.start_in_background_and_sleep, (str(kept), "setsid", 0.1))
    task = worker.send([before, call])
    assert wait_until(lambda: lines(file) and lines(kept))
    time.sleep(0.2)
    assert statuses(collect(worker, stop(worker, task, 1), task)[task])[1:] == [status]
    assert wait_until(lambda: not is_alive(int(file.read_text())), 2)
    assert is_alive(int(kept.read_text()))
    os.kill(int(kept.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("way", ["interrupted", "killed"])
def test_what_it_had_in_shared_memory_goes(worker, tmp_path, way):
    trace = tmp_path / "trace"
    sleep = calls.sleep if way == "interrupted" else calls.sleep_in_c
    task = worker.send([Call(calls.share_memory_and, (str(trace), sleep, 60)), Call(os.getpid, ())])
    assert wait_until(lambda: lines(trace))
    shared = Path("/dev/shm", *lines(trace))
    results = collect(worker, stop(worker, task, 0), task)
    assert statuses(results[task]) == [RAISED if way == "interrupted" else DIED, VALUE]
    if way == "interrupted":
        time.sleep(0.5)
        assert shared.exists()  # its process goes on, and may use it
        assert statuses(worker.run([Call(calls.die_by, (signal.SIGKILL,))])) == [DIED]
    assert wait_until(lambda: not shared.exists())


def test_a_function_that_hangs_while_it_is_loaded(worker, tmp_path):
    """Its process is killed once no call needs it that is not to end; those of other functions go on."""
    trace = tmp_path / "trace"
    hangs = Call(calls.LoadsForEver(str(trace)))
    task = worker.send([Call(os.getpid, ()), hangs, Call(calls.add, (1,)), hangs])
    assert wait_until(lambda: lines(trace))
    collect(worker, stop(worker, task, 1, 2))
    with pytest.raises(TimeoutError):
        worker.read_message(2)
    assert lines(trace) == ["loads"]
    results = collect(worker, stop(worker, task, 3), task)
    assert statuses(results[task]) == [VALUE, RAISED, RAISED, RAISED]
    assert lines(trace) == ["loads"]
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2


def test_those_that_need_it_are_stopped_one_after_the_other(worker, tmp_path):
    """The time of grace of one ends while that of another runs, each time."""
    trace = tmp_path / "trace"
    hangs = Call(calls.LoadsForEver(str(trace)))
    task = worker.send([hangs, Call(os.getpid, ()), hangs])
    assert wait_until(lambda: lines(trace))
    collect(worker, stop(worker, task, 0))
    time.sleep(1.4 * grace_s())
    results = collect(worker, stop(worker, task, 2), task)
    assert statuses(results[task]) == [RAISED, VALUE, RAISED]


@contextlib.contextmanager
def without_descriptors(pid):
    """A process gets no further ones meanwhile."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("records", ["in memory", "in the file"])
def test_the_supervisor_cannot_look_for_a_while(start_worker, tmp_path, records):
    """It has no descriptor left, so that it cannot tell which call its child is at: it asks again."""
    worker = start_worker(env={"VINEFAST_STOP_GRACE_S": "2"})
    trace = tmp_path / "trace"
    first = Call(calls.make_bytes, (1 << 20,)) if records == "in the file" else Call(os.getpid, ())
    task = worker.send([first, Call(calls.say_and_sleep, (str(trace), 60, "go on")), Call(os.getpid, ())])
    assert wait_until(lambda: lines(trace) == ["begun"])
    collect(worker, stop(worker, task, 1))
    assert wait_until(lambda: lines(trace) == ["begun", "interrupted"])
    with without_descriptors(worker.process.pid):
        time.sleep(3.5)
        with pytest.raises(TimeoutError):
            worker.read_message(0)
    result = collect(worker, task)[task]
    assert statuses(result)[1:] == [DIED, VALUE]


def test_one_that_is_debugged(worker, tmp_path):
    trace = tmp_path / "trace"
    task = worker.send([Call(calls.be_debugged, (str(trace), 60)), Call(os.getpid, ())])
    assert wait_until(lambda: lines(trace) == ["begun"])
    assert statuses(collect(worker, stop(worker, task, 0), task)[task]) == [DIED, VALUE]


def test_what_is_unknown_or_over_is_nothing(worker):
    task = worker.send([Call(os.getpid, ())])
    result = collect(worker, task)[task]
    for command in (b"S 99999:0", b"S %d:0" % task, b"S", b"S x", b"S 1:x", b"S 1:"):
        answer = worker.send_raw(command)
        assert not collect(worker, answer)[answer].records
    assert worker.run([Call(os.getpid, ())]).records[0].value == result.records[0].value


def test_a_hail_of_stops_harms_no_other_call(worker, tmp_path):
    """Short calls, of which every third is stopped at any moment."""
    n_stopped = 0
    for number in range(5):
        trace = tmp_path / f"trace-{number}"
        first = Call(calls.sleep, (0.05,)) if number % 2 else Call(os.getpid, ())
        task = worker.send([first, *(Call(calls.write_line, (str(trace), i)) for i in range(1, 300))])
        answers = []
        for index in range(3, 300, 3):
            answers.append(stop(worker, task, index))
        result = collect(worker, task, *answers)[task]
        n_stopped += statuses(result).count(RAISED)
        ran = {int(line) for line in lines(trace)}
        for index, record in enumerate(result.records):
            if index % 3:
                assert record.status == VALUE and record.value == index and index in ran
        assert len(lines(trace)) == len(ran)
    assert n_stopped


def test_parse():
    assert stopping.parse(b"S 17:3,5 18:0 17:9") == {b"17": {3, 5, 9}, b"18": {0}}
    for wrong in (b"S 1", b"S 1:", b"S 1:a"):
        with pytest.raises(ValueError):
            stopping.parse(wrong)


def test_stops_are_of_one_bundle():
    stops = Stops()
    assert stops.read(1) == set() and stops.is_read()
    stops.ask(1, {2, 3})
    assert not stops.is_read()
    assert stops.read(2) == set() and stops.read(1) == {2, 3} and stops.is_read()
    stops.ask(1, {2, 5})
    assert not stops.is_read() and stops.read(1) == {2, 3, 5}
    stops.ask(4, {1})
    assert stops.read(1) == set() and stops.read(4) == {1}
