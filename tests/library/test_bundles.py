"""Slots, slices, functions by digest, and what a call finds around it."""

from __future__ import annotations

import itertools
import os

import calls
import pytest

from vinefast.library.functions import FunctionCache
from vinefast.library.protocol import EXIT_NO_ROOM

from .encode import Call, body_of, digest_of


def test_time_slice_hands_the_rest_back(worker, tmp_path):
    trace = tmp_path / "trace"
    sleep = Call(calls.sleep, (0.02,))
    result = worker.run([sleep, sleep, sleep, sleep, Call(calls.write_line, (str(trace), "ran"))], slice_ms=30)
    assert 1 <= len(result.records) <= 2 and not any(record.status for record in result.records)
    assert not trace.exists()


def test_no_slice(worker):
    assert len(worker.run([Call(calls.sleep, (0.02,))] * 4).records) == 4


def test_state_stays_warm(worker):
    worker.run([Call(calls.count)])
    counts = [worker.run([Call(calls.count)] * 2, carry=False).records[1].value for _ in range(3)]
    assert counts == [3, 5, 7]


def test_function_unknown_here(worker):
    unknown = calls.make_lambda(1234)
    result = worker.run(
        [Call(calls.add, (1,)), Call(unknown, (1,)), Call(calls.add, (2,)), Call(unknown, (1,))], carry={0}
    )
    assert [(record.status, record.payload) for record in result.records if record.status == 5] == [(5, b"")] * 2
    assert [record.status for record in result.records] == [1, 5, 1, 5]
    assert worker.run([Call(unknown, (1,))]).records[0].value == 1235
    assert worker.run([Call(unknown, (2,))], carry=False).records[0].value == 1236


def test_body_reaches_other_slots_and_fresh_children(start_worker):
    worker = start_worker(slots=2)
    worker.run([Call(calls.identify)])
    first, second = (worker.send([Call(calls.sleep, (0.1, i)), Call(calls.identify)], carry={0}) for i in range(2))
    results = dict(worker.collect() for _ in range(2))
    pids = {results[task_id].records[1].value[0] for task_id in (first, second)}
    assert len(pids) == 2
    assert {results[task_id].slot for task_id in (first, second)} == {0, 1}
    result = worker.run([Call(calls.die_by, (9,)), Call(calls.identify)], carry={0})
    assert result.records[1].value[0] not in pids
    saved = worker.library_directory / "functions" / digest_of(body_of(calls.identify)).hex()
    assert saved.read_bytes() == body_of(calls.identify)


def test_function_cache_is_bounded(tmp_path, monkeypatch):
    # Parsl keeps its own cache of functions by body.
    monkeypatch.setattr("vinefast.library.parsl_side.deserialize", lambda body: [body])
    cache = FunctionCache(str(tmp_path / "functions"), capacity=2)
    a, b, _ = (cache.resolve(name, name) for name in (b"a", b"b", b"a"))
    assert cache.resolve(b"a", None) is a
    cache.resolve(b"c", b"c")
    assert cache.resolve(b"a", None) is a
    again = cache.resolve(b"b", None)
    assert again == b and again is not b


def bodies(directory):
    return {path.name: path.stat().st_size for path in directory.iterdir()}


def test_bodies_on_the_disk_are_bounded_and_what_has_left_comes_again(start_worker):
    worker = start_worker(slots=2, env={"VINEFAST_KEPT_FUNCTIONS_NBYTES": "1000000", "VINEFAST_FUNCTIONS": "4"})
    functions = [body_of(calls.make_counted(i, 20_000)) for i in range(200)]
    for i, function in enumerate(functions):
        assert worker.run([Call(function)]).records[0].value == i
    directory = worker.library_directory / "functions"
    assert sum(bodies(directory).values()) <= 1_000_000 * 1.25 + 20_000
    # More of them in one bundle than are kept.
    result = worker.run([Call(function) for function in functions], carry=False)
    missed = [record.status == 5 for record in result.records]
    assert 130 < sum(missed) < 180 and missed[0] and not missed[199]
    again = worker.run([Call(function) for function in functions])
    assert [record.value for record in again.records] == list(range(200))
    assert sum(bodies(directory).values()) <= 1_000_000 * 1.25 + 20_000


def test_bodies_that_were_not_used_for_longest_leave_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("vinefast.library.parsl_side.deserialize", lambda body: body)
    monkeypatch.setattr("vinefast.library.functions.monotonic", itertools.count(1000, 1000).__next__)
    cache = FunctionCache(str(tmp_path), max_nbytes=10 * 4096)
    names = [bytes([i]) for i in range(40)]
    for i, name in enumerate(names[:10]):
        cache.resolve(name, name * 4096)
        os.utime(tmp_path / name.hex(), (i, i))
    # One that this process has, one that it must read, and one that comes once more.
    cache.resolve(names[0], None)
    FunctionCache(str(tmp_path)).resolve(names[1], None)
    cache.resolve(names[2], names[2] * 4096)
    for name in names[10:12]:
        cache.resolve(name, name * 4096)
    assert sorted(bodies(tmp_path)) == [name.hex() for name in (*names[:3], *names[5:12])]
    # In memory as well, where it is another that was not used for longest.
    assert cache.resolve(names[4], None) == names[4] * 4096
    assert cache.resolve(names[3], None).status == 5


def test_a_body_larger_than_all_that_may_be_kept(start_worker):
    worker = start_worker(env={"VINEFAST_KEPT_FUNCTIONS_NBYTES": "100000"})
    large = body_of(calls.make_counted(1, 300_000))
    assert worker.run([Call(large)]).records[0].value == 1
    assert [worker.run([Call(large)], carry=False).records[0].value for _ in range(2)] == [1, 1]
    assert worker.run([Call(calls.make_counted(2, 300_000))]).records[0].value == 2
    assert worker.run([Call(large)], carry=False).records[0].status == 5
    assert len(bodies(worker.library_directory / "functions")) == 1


def test_functions_in_memory_are_bounded_by_their_size_too(start_worker):
    worker = start_worker(env={"VINEFAST_KEPT_FUNCTIONS_NBYTES": "1000000"})
    for i in range(60):
        worker.run([Call(calls.make_counted(i, 100_000))])
    n_alive = worker.run([Call(calls.count_alive)]).records[0].value
    assert 5 <= n_alive <= 10


def test_more_bundles_than_children(start_worker):
    worker = start_worker(slots=8, extra=("--children", "2", "--some-later-option", "x"))
    sent = [worker.send([Call(calls.sleep, (0.01, i)), Call(calls.identify)]) for i in range(8)]
    results = dict(worker.collect() for _ in range(8))
    assert [results[task_id].records[0].value for task_id in sent] == list(range(8))
    assert len({result.records[1].value[0] for result in results.values()}) == 2


def test_bundles_that_wait_too_long_are_handed_back(start_worker):
    worker = start_worker(slots=1)
    long = worker.send([Call(calls.sleep, (0.6,))])
    waiting = [worker.send([Call(calls.sleep, (0, i))]) for i in range(3)]
    for _ in waiting:
        task_id, result = worker.collect(resend=False)
        assert task_id in waiting and not result.records
        assert result.wait_ns >= 100e6 and result.n_slots == 1
    assert worker.collect()[0] == long
    assert worker.run([Call(calls.sleep, (0, 5))]).records[0].value == 5


def test_bundle_that_is_handed_back_to_a_full_disk(start_worker):
    worker = start_worker(slots=1)
    long = worker.send([Call(calls.sleep, (0.6,))])
    waiting = worker.send([Call(calls.nothing)], output="/dev/full")
    exit_codes = dict(tuple(map(int, worker.read_message().split())) for _ in range(2))
    assert exit_codes == {long: 0, waiting: EXIT_NO_ROOM}
    assert "cannot hand task" in worker.log()


def test_bundles_too_long_for_the_queue_wait_too(start_worker):
    worker = start_worker(slots=1)
    first = worker.send([Call(calls.sleep, (0.05,))])
    long = [worker.send([Call(len, (b"x" * 300_000 + bytes([i]),))]) for i in range(3)]
    short = worker.send([Call(calls.sleep, (0, "short"))])
    results = dict(worker.collect() for _ in range(5))
    assert set(results) == {first, *long, short}
    assert [results[task_id].records[0].value for task_id in long] == [300_001] * 3
    assert results[short].records[0].value == "short"


def test_slots_by_environment(start_worker):
    worker = start_worker(slots=1, env={"VINEFAST_SLOTS": "3"})
    for _ in range(3):
        worker.send([Call(calls.sleep, (0.2,)), Call(calls.identify)])
    found = {worker.collect()[1].records[1].value for _ in range(3)}
    assert {slot for _, _, _, slot in found} == {"0", "1", "2"}
    assert {parent for _, _, parent, _ in found} == {worker.process.pid}
    assert all(pid == group for pid, group, _, _ in found)


def test_surroundings(worker):
    result = worker.run([Call(calls.describe), Call(calls.list_directory)])
    found = result.records[0].value
    assert found["cwd"].startswith(str(worker.directory / "func."))
    assert str(worker.library_directory) not in found["path"] and "" not in found["path"]
    assert not set(found["main"]) - {"calls", "seen"}  # of the test below, which may have come first
    assert found["stdin"] == ""
    assert found["daemon"] is False
    assert found["sigint"] and found["sigchld"]
    assert found["pipes"] == []
    assert found["block"] == "42"


def test_call_that_changes_directory(worker):
    elsewhere = worker.run([Call(calls.change_directory, ("/",))]).records[0].value
    assert elsewhere == "/"
    result = worker.run([Call(calls.describe)])
    assert result.records[0].value["cwd"].startswith(str(worker.directory / "func."))


@pytest.mark.parametrize("exists", [True, False])
def test_shared_directory(start_worker, tmp_path, exists):
    shared = tmp_path / "shared"
    if exists:
        shared.mkdir()
    worker = start_worker(env={"VINEFAST_CWD": str(shared)})
    cwd = worker.run([Call(calls.describe)]).records[0].value["cwd"]
    assert cwd == str(shared) if exists else cwd.startswith(str(worker.directory / "func."))


def test_user_module_beside_the_library_is_not_shadowed(start_worker):
    worker = start_worker()
    (worker.library_directory / "csv.py").write_text("raise ImportError('the wrong one')")
    assert worker.run([Call(calls.import_by_name, ("csv",))]).records[0].value


def test_globals_of_main_are_empty(worker):
    function = calls.in_main(
        "def f():\n    global seen\n    seen = 1\n    return sorted(n for n in globals() if n[0] != '_')"
    )
    assert worker.run([Call(function)]).records[0].value == ["seen"]


def test_log_is_bounded(worker):
    log = worker.library_directory / "slot-0.log"
    for _ in range(3):
        worker.run([Call(calls.print_much, (3 << 20,))])
    worker.run([Call(calls.nothing)])
    assert log.stat().st_size <= 4 << 20


def test_only_the_slots_own_log_is_cut(start_worker, tmp_path):
    worker = start_worker()
    path = tmp_path / "users"
    worker.run([Call(calls.write_into_standard_output, (str(path), 5 << 20))])
    worker.run([Call(calls.nothing)])
    worker.run([Call(calls.nothing)])
    assert path.stat().st_size == 5 << 20


def test_parsl_is_whole_for_who_looks(worker):
    assert worker.run([Call(calls.use_parsl)]).records[0].value == ["python_app", 0, True]
