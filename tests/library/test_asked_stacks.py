"""A command asks where a call is: the supervisor answers, and the call goes on."""

from __future__ import annotations

import os
import signal
import time

import calls
import pytest

from tests.helpers.waiting import wait_until
from vinefast.library import stack

from .encode import Call
from .worker import USER_MODULES


def ask(worker, task_id, index):
    """Send what the manager does; give the answer's task id."""
    return worker.send_raw(b"T %d:%d" % (task_id, index))


def answer(worker, task_id):
    done, result = worker.collect(resend=False)
    assert done == task_id
    (record,) = result.records
    return record.value


def lines(path):
    return path.read_text().split() if path.exists() else []


def test_the_call_that_a_slot_is_at(worker, tmp_path):
    trace = tmp_path / "trace"
    task = worker.send([Call(os.getpid), Call(calls.say_and_tick, (str(trace), 20, 0.1)), Call(os.getpid)])
    assert wait_until(lambda: lines(trace))
    for _ in range(3):
        assert answer(worker, ask(worker, task, 1)).endswith(" in say_and_tick")
    assert answer(worker, ask(worker, task, 0)) is None
    assert answer(worker, ask(worker, task, 2)) is None
    done, result = worker.collect()
    assert done == task and [record.value for record in result.records[1:2]] == [20]
    assert answer(worker, ask(worker, task, 1)) is None


def test_a_python_that_was_built_for_older_systems(start_worker, tmp_path):
    """As that of conda is, which lacks what its C library lacks."""
    older = tmp_path / "older"
    older.mkdir()
    (older / "sitecustomize.py").write_text("import os\ndel os.memfd_create, os.pidfd_open\n")
    worker = start_worker(slots=2, env={"PYTHONPATH": os.pathsep.join((str(older), str(USER_MODULES)))})
    traces = [tmp_path / "trace-0", tmp_path / "trace-1"]
    tasks = [worker.send([Call(calls.say_and_tick, (str(trace), 50, 0.1))]) for trace in traces]
    assert wait_until(lambda: all(map(lines, traces)))
    for task in tasks:
        assert answer(worker, ask(worker, task, 0)).endswith(" in say_and_tick")
    assert not [*worker.library_directory.glob("vinefast-stack*")]


def test_many_at_once(worker, tmp_path):
    trace = tmp_path / "trace"
    task = worker.send([Call(calls.say_and_tick, (str(trace), 20, 0.1))])
    assert wait_until(lambda: lines(trace))
    answers = [ask(worker, task, index) for index in (0, 1, 0, 0)]
    found = dict(worker.collect(resend=False) for _ in answers)
    stacks = [found[number].records[0].value for number in answers]
    assert stacks[1] is None and all(stack.endswith(" in say_and_tick") for stack in (stacks[0], *stacks[2:]))
    assert worker.collect()[0] == task


def test_one_call_is_not_taken_for_the_next(worker, tmp_path):
    """The child writes where it is at once, and another call may have begun when that is read."""
    trace, seconds, n = tmp_path / "trace", 0.06, 30
    functions = [calls.say_and_sleep_evenly, calls.say_and_sleep_oddly]
    task = worker.send([Call(functions[index % 2], (str(trace), seconds)) for index in range(n)])
    asked, said = {}, []
    while True:
        begun = len(lines(trace))
        if begun == n:
            break
        if begun > len(said):
            said.append(begun)
            asked[ask(worker, task, begun - 1)] = begun - 1
            time.sleep(seconds - 0.01)
            asked[ask(worker, task, begun)] = begun  # it begins in a moment
        time.sleep(0.001)
    found = dict(worker.collect(resend=False) for _ in range(len(asked) + 1))
    assert len(found.pop(task).records) == n
    stacks = [(asked[number], result.records[0].value) for number, result in found.items()]
    # One of the two may be within write_line().
    wrong = [functions[(index + 1) % 2].__name__ for index, _ in stacks]
    assert [stack for name, (_, stack) in zip(wrong, stacks, strict=True) if stack and name in stack] == []
    assert any(stack for _, stack in stacks)


def test_its_child_dies_meanwhile(worker, tmp_path):
    trace = tmp_path / "trace"
    task = worker.send([Call(calls.say_and_tick, (str(trace), 100, 0.1))])
    assert wait_until(lambda: lines(trace))
    pid = int(lines(trace)[0])
    os.kill(pid, signal.SIGSTOP)  # or it would have answered by then
    question = ask(worker, task, 0)
    os.kill(pid, signal.SIGKILL)
    found = dict(worker.collect(resend=False) for _ in range(2))
    assert found.keys() == {task, question} and found[question].records[0].value in (None, "")


@pytest.mark.parametrize("command", [b"T", b"T 1", b"T 1:", b"T 1:a", b"T1:0"])
def test_what_is_no_question(worker, command):
    task = worker.send_raw(command)
    done, result = worker.collect(resend=False)
    assert done == task and not result.records
    assert "is no command" in worker.log()


def test_frames_of_vinefast_are_left_out_of_a_fatal_error_and_of_nothing_else():
    own = os.path.dirname(stack.__file__)
    theirs = 'Fatal Python error: Aborted\n\nStack (most recent call first):\n  File "user.py", line 3 in boom\n'
    ours = f'  File "{own}/run.py", line 1 in run_bundle\n  File "<frozen runpy>", line 88 in _run_code\n'
    modules = "\nExtension modules: numpy (total: 1)\n"
    traceback = f'Traceback (most recent call last):\n  File "{own}/run.py", line 1, in run_bundle\n    call()\n'
    said = stack.without_own_frames(f"a\n{theirs}{ours}{modules}{traceback}")
    assert said == f"a\n{theirs}{modules}{traceback}"
