"""What a call changes in its slot's process harms none of those that come after it."""

from __future__ import annotations

import functools
import os
import pickle
import time

import calls
import pytest

from vinefast.calls.context import pack, serialize_with_context
from vinefast.library import surroundings
from vinefast.library.context import FILE

from .encode import Call


@pytest.fixture
def poisoned(start_worker, tmp_path):
    worker = start_worker()
    look = Call(calls.look_around, (str(tmp_path / "file"),))
    return worker, look, worker.run([look]).records[0].value


@pytest.mark.parametrize("poison", calls.POISONS, ids=lambda poison: poison.__name__)
def test_neighbours_are_not_poisoned(poisoned, poison):
    worker, look, expected = poisoned
    for _ in range(2):
        records = worker.run([look, Call(poison), look, Call(calls.spin, (0.05,)), look]).records
        assert [record.status for record in records] == [1, 0, 1, 1, 1], records
        assert [records[i].value for i in (0, 2, 4)] == [expected] * 3
        assert worker.run([look]).records[0].value == expected


@pytest.mark.parametrize("poison", calls.POISONS, ids=lambda poison: poison.__name__)
def test_one_call_of_many_poisons_nothing_after_its_bundle(poisoned, poison):
    worker, look, expected = poisoned
    many = [Call(calls.seldom, (i, poison.__name__)) for i in range(500, -1, -1)]
    worker.run(many[:-1])
    assert [record.status for record in worker.run(many).records] == [0] * len(many)
    assert worker.run([look]).records[0].value == expected


def test_a_function_that_was_harmless_for_long_poisons_for_a_moment_at_the_most(poisoned):
    worker, look, expected = poisoned
    for i in range(1200, 0, -1):
        worker.run([Call(calls.seldom, (i, "spoil_environment"))])
    worker.run([Call(calls.seldom, (0, "spoil_environment"))])
    time.sleep(0.06)  # the longest time between two looks, and some more
    assert worker.run([look]).records[0].value == expected


def test_a_result_packed_with_broken_builtins(poisoned):
    worker, look, expected = poisoned
    records = worker.run([Call(calls.tell_nonsense_of_lengths), look]).records
    assert [record.value for record in records] == [5, expected]


def test_big_results_after_a_limit_on_files(start_worker):
    worker = start_worker()
    big = Call(calls.make_bytes, (400_128,))
    records = worker.run([big, Call(calls.limit_files), big, big]).records
    assert [len(record.value or "") for record in records] == [400_128, 0, 400_128, 400_128]


def test_what_cannot_be_put_back_costs_the_process(start_worker):
    worker = start_worker()
    pids = [
        record.value
        for record in worker.run([Call(os.getpid), Call(calls.limit_files_for_good), Call(os.getpid)]).records
    ]
    assert pids[0] != pids[2]
    assert "RLIMIT_FSIZE (for good: the process is replaced)" in worker.log()


def test_what_a_context_sets_stays(start_worker):
    context = pack(functools.partial(calls.set_variable, "POISON", "wanted"))
    worker = start_worker(files={FILE: pickle.dumps(context)})
    get = Call(calls.get_variable, ("POISON",))
    for _ in range(2):
        records = worker.run([get, Call(calls.spoil_environment), get]).records
        assert [record.value for record in records] == ["wanted", None, "wanted"]


def test_what_a_context_sets_stays_when_it_is_loaded_once_more(start_worker):
    worker = start_worker(env={"VINEFAST_KEPT_CONTEXTS": "1"})
    functions = {
        value: serialize_with_context(calls.get_variable, functools.partial(calls.set_variable, "POISON", value), None)
        for value in ("a", "b")
    }
    for _ in range(2):
        for value, (body, _) in functions.items():
            records = worker.run([Call(body, ("POISON",)), Call(calls.spin, (0.02,)), Call(body, ("POISON",))]).records
            assert [record.value for record in records] == [value, "spun", value]


def test_a_look_that_takes_long_is_made_less_often(monkeypatch, tmp_path):
    now_ns = [1_000_000_000]
    monkeypatch.setattr(surroundings.time, "monotonic_ns", lambda: now_ns[0])
    looker = surroundings.Surroundings(str(tmp_path / "log"))
    standard = surroundings._standard

    def pause_after(took_ns):
        def slow_standard():
            now_ns[0] += took_ns
            return standard()

        monkeypatch.setattr(surroundings, "_standard", slow_standard)
        looker.look()
        return looker.look_at_ns - now_ns[0]

    assert pause_after(0) == pause_after(12_000) == 5_000_000
    assert pause_after(100_000) == 40_000_000
    assert pause_after(10_000_000) == 50_000_000
    monkeypatch.setattr(surroundings.os, "umask", lambda mask: mask + 1)  # as if a call had changed it
    assert pause_after(100_000) == 5_000_000
