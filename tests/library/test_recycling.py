"""A slot gets a new process after so many calls, or so much growth, between two bundles."""

from __future__ import annotations

import os
import pickle
import signal
import time

import calls
import pytest

from tests.helpers.processes import descendants, is_alive
from tests.helpers.waiting import wait_until
from vinefast.calls.context import pack
from vinefast.library.context import FILE
from vinefast.library.recycling import Recycling

from .encode import Call

VALUE, DIED = 1, 4
MB = 1 << 20
GET_PID = Call(os.getpid, ())


def pids(worker, *sizes):
    """Send bundles of so many calls one after the other; give the processes that have run them."""
    found = []
    for size in sizes:
        records = worker.run([GET_PID] * size).records
        assert len({record.value for record in records}) == 1 and len(records) == size
        found.append(records[0].value)
    return found


def test_after_so_many_calls(start_worker):
    worker = start_worker(env={"VINEFAST_SLOT_MAX_CALLS": "5"})
    first, second, third, fourth, fifth = pids(worker, 2, 2, 2, 7, 1)
    assert first == second == third != fourth != fifth != third
    assert wait_until(lambda: not is_alive(first) and not is_alive(fourth))
    assert wait_until(lambda: {*descendants(worker.process.pid)} >= {fifth})
    assert "idle child" not in worker.log()


def test_by_default_never(worker):
    assert len({*pids(worker, *[50] * 20)}) == 1


@pytest.mark.parametrize("slots", [1, 2])
def test_each_call_a_process(start_worker, tmp_path, slots):
    """While bundles wait, too, which is when children help themselves."""
    worker = start_worker(slots=slots, env={"VINEFAST_SLOT_MAX_CALLS": "1"})
    trace = tmp_path / "trace"
    sent = {worker.send([Call(calls.write_line, (str(trace), i)), GET_PID]): i for i in range(60)}
    seen = []
    while sent:
        task, result = worker.collect()
        assert result.records[0].value == sent.pop(task)
        seen.append(result.records[1].value)
    assert len({*seen}) == 60
    assert sorted(map(int, trace.read_text().split())) == [*range(60)]
    assert wait_until(lambda: len({*descendants(worker.process.pid)} & {*seen}) == 0)


def test_nobody_waits_for_one_that_does_not_end(start_worker):
    worker = start_worker(env={"VINEFAST_SLOT_MAX_CALLS": "2"})
    began = time.monotonic()
    stuck = worker.run([Call(calls.hang_at_the_end, (60,)), GET_PID]).records[1].value
    assert pids(worker, 1) != [stuck]
    assert time.monotonic() - began < 30
    assert is_alive(stuck)
    assert wait_until(lambda: not is_alive(stuck), 30)


def test_what_its_calls_have_started_ends_with_it(start_worker, tmp_path):
    worker = start_worker(env={"VINEFAST_SLOT_MAX_CALLS": "1"})
    file = tmp_path / "pid"
    worker.run([Call(calls.start_and_sleep, (str(file), 0, ["sleep", "60"]))])
    assert wait_until(lambda: not is_alive(int(file.read_text())))
    assert worker.run([GET_PID]).records[0].status == VALUE


def test_deaths_are_told_as_ever(start_worker):
    worker = start_worker(env={"VINEFAST_SLOT_MAX_CALLS": "2"})
    for _ in range(5):
        records = worker.run([GET_PID, Call(calls.die_by, (signal.SIGKILL,)), GET_PID]).records
        assert [record.status for record in records] == [VALUE, DIED, VALUE]


def test_from_a_fork_server(start_worker):
    worker = start_worker(slots=2, files={FILE: pickle.dumps(pack(dict), 5)}, env={"VINEFAST_SLOT_MAX_CALLS": "3"})
    assert len({*pids(worker, *[3] * 10)}) == 10


def test_for_growth(start_worker):
    worker = start_worker(env={"VINEFAST_SLOT_MAX_GROWTH_NBYTES": str(30 * MB)})
    first = pids(worker, 1)
    worker.run([Call(calls.keep_memory, (1,))])  # what is loaded is not counted
    for total in (6, 11, 16):
        assert worker.run([Call(calls.keep_memory, (5,))]).records[0].value == total
    assert pids(worker, 1) == first
    worker.run([Call(calls.keep_memory, (25,))])
    assert pids(worker, 1) != first
    assert worker.run([Call(calls.keep_memory, (1,))]).records[0].value == 1


def test_what_functions_load_is_no_growth(monkeypatch):
    class Functions:
        n_loaded = 1

    sizes = iter([100, 140, 900, 950, 1001, 990])
    monkeypatch.setattr("vinefast.library.recycling.not_of_files", lambda pid: next(sizes))
    recycling = Recycling(0, 100, Functions)
    assert not recycling.is_due(1) and not recycling.is_due(1)  # by 40
    Functions.n_loaded = 2
    assert not recycling.is_due(1) and not recycling.is_due(1)  # by 90
    assert recycling.is_due(1)  # by 141, and by 130 once what is garbage has gone
