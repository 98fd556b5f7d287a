"""Contexts: loaded once, given to calls, and what happens if they cannot be loaded."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import time
from pathlib import Path

import calls
import pytest

from tests.helpers.processes import descendants, is_alive
from tests.helpers.waiting import wait_until
from vinefast.calls.context import pack, serialize_with_context
from vinefast.errors import ContextError, RemoteError
from vinefast.library.context import FILE

from .encode import Call


def bound(function, context):
    """The body of a function that gets a context."""
    return serialize_with_context(function, context, None)[0]


def lines(path):
    return path.read_text().split()


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "trace"


@pytest.fixture
def context(trace):
    return functools.partial(calls.load, str(trace))


def test_loaded_once_for_all_functions_and_bundles(worker, trace, context):
    first, second = bound(calls.loaded_by, context), bound(calls.loaded_for, context)
    result = worker.run([Call(first), Call(second, (1,)), Call(first)])
    pid = int(lines(trace)[0])
    assert [record.value for record in result.records] == [(pid, pid), (1, pid), (pid, pid)]
    result = worker.run([Call(second, (2,)), Call(first)], carry=False)
    assert [record.value for record in result.records] == [(2, pid), (pid, pid)]
    assert lines(trace) == [str(pid)]


def test_loading_is_not_part_of_a_calls_duration(worker, trace):
    slow = functools.partial(calls.load, str(trace), 0.5)
    record = worker.run([Call(bound(calls.loaded_by, slow))]).records[0]
    assert record.value and record.duration_ns < 0.5e9


def test_what_the_caller_gives_wins(worker, trace, context):
    own = {"pid": -1}
    function, by_name = bound(calls.loaded_for, context), bound(calls.loaded_by_name, context)
    result = worker.run(
        [
            Call(function, (1, own)),
            Call(function, (2,), {"context": own}),
            Call(function, (3,), {"context": None}),
            Call(by_name, (), {"context": own}),
            Call(by_name),
        ]
    )
    assert [record.value for record in result.records] == [(1, -1), (2, -1), (3, None), -1, int(lines(trace)[0])]


def test_a_context_that_raises_is_tried_again(worker, trace, tmp_path):
    ready = tmp_path / "ready"
    function = bound(calls.loaded_by, functools.partial(calls.load_or_fail, str(trace), str(ready)))
    records = worker.run([Call(function), Call(calls.add, (1,)), Call(function)]).records
    assert [record.status for record in records] == [3, 1, 3]
    assert records[0].value[0] == "vinefast.errors.ContextError"
    error = records[2].exception
    assert isinstance(error, ContextError)
    assert (error.context, error.reason) == ("load_or_fail", f"OSError: {ready} is missing")
    assert isinstance(error.__cause__, OSError)
    assert error.__cause__.__traceback__.tb_frame.f_code.co_name == "load_or_fail"
    assert len(lines(trace)) == 1
    ready.touch()
    assert worker.run([Call(function)]).records[0].value[0] == int(lines(trace)[1])


def test_a_context_that_raises_what_cannot_travel(worker):
    error = worker.run([Call(bound(calls.loaded_by, calls.fail_to_load))]).records[0].exception
    assert isinstance(error, ContextError) and "HoldsLock" in error.reason
    assert isinstance(error.__cause__, RemoteError)
    assert "in fail_to_load" in error.__cause__.traceback_text


def test_a_context_that_kills_its_process(worker):
    deadly = bound(calls.loaded_by, functools.partial(calls.exit_at_once, 5))
    result = worker.run([Call(calls.add, (1,)), Call(deadly), Call(calls.add, (2,)), Call(deadly)])
    assert [record.status for record in result.records] == [1, 4, 1, 4]
    assert result.records[1].value[0] == 5


def test_contexts_are_bounded_and_the_least_recently_used_leave(start_worker):
    worker = start_worker(env={"VINEFAST_KEPT_CONTEXTS": "3"})
    functions = [bound(calls.number_of, functools.partial(calls.load_counted, i)) for i in range(20)]
    for i, function in enumerate(functions):
        assert worker.run([Call(function)]).records[0].value == i
        assert worker.run([Call(functions[0])], carry=False).records[0].value == 0
    assert worker.run([Call(calls.count_alive)]).records[0].value == 3
    # More in one bundle than are kept.
    result = worker.run([Call(function) for function in functions], carry=False)
    assert [record.value for record in result.records] == list(range(20))


# Once per worker


@pytest.fixture
def start_fork_server(start_worker):
    def start(context, slots=2):
        return start_worker(slots=slots, files={FILE: pickle.dumps(pack(context))})

    return start


@pytest.mark.parametrize("once_per_worker", [False, True])
def test_a_context_that_hangs_is_named_with_where_it_was(start_worker, trace, once_per_worker):
    context = functools.partial(calls.load, str(trace), 60)
    files = {FILE: pickle.dumps(pack(context))} if once_per_worker else {}
    worker = start_worker(files=files, env={"VINEFAST_CONTEXT_TIMEOUT_S": "1"})
    worker.send([Call(bound(calls.loaded_by, context)), Call(calls.add, (1,))])
    error = worker.collect()[1].records[0].exception
    assert isinstance(error, ContextError) and error.context == "load"
    assert error.reason.startswith("TimeoutError: it ")
    # It is tried again, but not where all have waited for it already.
    assert worker.run([Call(calls.add, (2,))]).records[0].value == 3
    assert len(lines(trace)) == 1
    log = worker.library_directory / ("fork-server.log" if once_per_worker else "slot-0.log")
    assert "the context load has been loading for 1 s" in log.read_text() and "in load" in log.read_text()


def test_a_context_that_hangs_beyond_the_interpreter_ends_its_process(start_worker):
    worker = start_worker(env={"VINEFAST_CONTEXT_TIMEOUT_S": "1"})
    worker.send([Call(bound(calls.loaded_by, calls.hang_deaf)), Call(calls.add, (1,))])
    records = worker.collect(30)[1].records
    assert records[0].status == 4 and "in hang_deaf" in records[0].value[2]
    assert records[1].value == 2


def test_a_context_may_use_the_timer_itself(start_worker):
    worker = start_worker(env={"VINEFAST_CONTEXT_TIMEOUT_S": "30"})
    assert worker.run([Call(bound(calls.number_of, calls.load_with_alarm))]).records[0].value == "alarm"


def fork_server_of(worker):
    """Its pid, found by where it writes."""
    for pid in descendants(worker.process.pid):
        try:
            if os.readlink(f"/proc/{pid}/fd/1").endswith("fork-server.log"):
                return pid
        except OSError:
            pass
    return None


def in_all_slots(worker, function, slots=2):
    for _ in range(slots):
        worker.send([Call(function), Call(calls.sleep, (0.2,))])
    return [worker.collect()[1].records[0].value for _ in range(slots)]


def test_one_context_for_all_slots(start_fork_server, trace, context):
    worker = start_fork_server(context)
    values = in_all_slots(worker, bound(calls.loaded_by, context))
    assert {loaded_by for loaded_by, _ in values} == {int(lines(trace)[0])}
    assert len({pid for _, pid in values}) == 2
    assert len(lines(trace)) == 1
    # Children of the library all the same, each in its own group and with its own log.
    pid, group, parent, slot = worker.run([Call(calls.identify)]).records[0].value
    assert (group, parent) == (pid, worker.process.pid) and slot in "01"


def test_a_context_whose_own_connection_is_lost(start_fork_server):
    """That is the user's matter, and no sign that the library has ended."""
    worker = start_fork_server(calls.load_from_a_lost_peer)
    error = worker.run([Call(bound(calls.loaded_by, calls.load_from_a_lost_peer))]).records[0].exception
    assert isinstance(error, ContextError) and error.reason == "ConnectionResetError: the database has gone"
    log = (worker.library_directory / "fork-server.log").read_text()
    assert "in load_from_a_lost_peer" in log and "the database has gone" in log


def test_a_dead_child_is_replaced_without_loading_again(start_fork_server, trace, context):
    worker = start_fork_server(context, slots=1)
    function = bound(calls.loaded_by, context)
    records = worker.run([Call(function), Call(calls.crash, ("last words",)), Call(function)]).records
    assert [record.status for record in records] == [1, 4, 1]
    assert records[1].value[1] == signal.SIGSEGV and "last words" in records[1].value[2]
    (loader, before), (same_loader, after) = records[0].value, records[2].value
    assert loader == same_loader and before != after
    assert lines(trace) == [str(loader)]


def test_a_dead_child_with_a_large_bundle(start_fork_server, context):
    worker = start_fork_server(context, slots=1)
    blob = os.urandom(3_000_000)
    records = worker.run([Call(calls.exit_at_once, (1,)), Call(calls.same, (blob,))]).records
    assert records[0].status == 4 and records[1].value == blob


def test_bundles_wait_while_it_loads(start_fork_server, trace):
    slow = functools.partial(calls.load, str(trace), 0.5)
    worker = start_fork_server(slow)
    start = time.monotonic()
    records = worker.run([Call(bound(calls.loaded_by, slow))]).records
    assert records[0].value[0] == int(lines(trace)[0])  # not handed back
    assert time.monotonic() - start < 5


def test_where_the_fork_server_fails_slots_load(start_fork_server, trace, tmp_path):
    ready = tmp_path / "ready"
    context = functools.partial(calls.load_or_fail, str(trace), str(ready))
    worker = start_fork_server(context, slots=1)
    function = bound(calls.loaded_by, context)
    error = worker.run([Call(function)]).records[0].exception
    assert isinstance(error, ContextError) and "is missing" in error.reason
    assert "the fork server cannot load the context" in worker.log()
    ready.touch()
    loader, pid = worker.run([Call(function)]).records[0].value
    assert loader == pid and len(lines(trace)) == 3


def test_a_context_that_has_its_children_ignored(start_fork_server):
    worker = start_fork_server(calls.ignore_children, slots=1)
    records = worker.run([Call(calls.exit_at_once, (1,)), Call(calls.add, (1,))]).records
    assert records[0].status == 4 and records[1].value == 2
    assert fork_server_of(worker) is not None


def test_where_no_fork_server_can_fork_slots_load(start_fork_server):
    worker = start_fork_server(calls.take_all_descriptors, slots=1)
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2
    assert "the fork server cannot fork once it has loaded the context" in worker.log()
    assert fork_server_of(worker) is None


def test_where_the_fork_server_dies_calls_die(start_fork_server):
    deadly = functools.partial(calls.exit_at_once, 5)
    worker = start_fork_server(deadly)
    result = worker.run([Call(calls.add, (1,)), Call(bound(calls.loaded_by, deadly))])
    assert [record.status for record in result.records] == [1, 4]


def test_a_new_fork_server_when_one_is_needed(start_fork_server, trace, context):
    worker = start_fork_server(context, slots=1)
    function = bound(calls.loaded_by, context)
    first, pid = worker.run([Call(function)]).records[0].value
    os.kill(fork_server_of(worker), signal.SIGKILL)
    assert wait_until(lambda: "the fork server has ended" in worker.log())
    assert worker.run([Call(function)]).records[0].value == (first, pid)  # the children of the old one live on
    records = worker.run([Call(calls.die_by, (9,)), Call(function)]).records
    assert records[0].status == 4
    second = fork_server_of(worker)
    assert records[1].value[0] == second != first
    assert lines(trace) == [str(first), str(second)]


def test_orphans_are_reaped(start_fork_server, context):
    worker = start_fork_server(context)
    orphan = worker.run([Call(calls.leave_orphan)]).records[0].value
    assert wait_until(lambda: not Path(f"/proc/{orphan}").exists())


@pytest.mark.parametrize("end", ["disconnect", "terminate", "kill"])
def test_nothing_is_left(start_fork_server, tmp_path, end):
    path = tmp_path / "pid"
    worker = start_fork_server(functools.partial(calls.load_with_sleeper, str(path)))
    worker.run([Call(calls.nothing)])
    left = []

    def all_are_there():
        # A process that forks twice is seen for a moment, too.
        left[:] = [*descendants(worker.process.pid), int(path.read_text())]
        return len(left) >= 5 and all(map(is_alive, left))

    assert wait_until(all_are_there)
    worker.disconnect() if end == "disconnect" else getattr(worker.process, end)()
    worker.process.wait(5)
    assert wait_until(lambda: not any(map(is_alive, left)))


@pytest.mark.parametrize("end", ["disconnect", "kill"])
def test_nothing_is_left_of_a_fork_server_that_loads(start_fork_server, trace, end):
    worker = start_fork_server(functools.partial(calls.load, str(trace), 60))
    assert wait_until(trace.exists)
    left = descendants(worker.process.pid)
    assert left
    worker.disconnect() if end == "disconnect" else worker.process.kill()
    worker.process.wait(5)
    assert wait_until(lambda: not any(map(is_alive, left)))
