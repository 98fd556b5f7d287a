"""A call that takes more memory than it may ends alone; and what the kernel kills is told from what others kill."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import calls
import dill
import psutil
import pytest

from tests.helpers.processes import descendants, is_alive
from tests.helpers.waiting import wait_until
from vinefast.calls.context import pack
from vinefast.library import memory_usage
from vinefast.library.context import FILE
from vinefast.library.memory_limit import Gauge, split_limit
from vinefast.library.memory_usage import Tree
from vinefast.library.out_of_memory import OomKills

from .encode import Call, encode_command, encode_frame

VALUE, DIED = 1, 4
MB = 1 << 20

pytestmark = pytest.mark.skipif(psutil.virtual_memory().available < 2 << 30, reason="needs 2 GB of free memory")


def send(worker, limit_mb, *bundle):
    return worker.send_raw(b"M%d " % limit_mb + encode_command(encode_frame([*bundle], 0, True)))


def run(worker, limit_mb, *bundle):
    task = send(worker, limit_mb, *bundle)
    done, result = worker.collect(60)
    assert done == task
    return result.records


def statuses(records):
    return [record.status for record in records]


def death_of(record):
    """Check that a call has died of its limit; give limit and peak in MB."""
    exit_code, signal_number, _, (limit, peak) = record.value
    assert (exit_code, signal_number) == (None, signal.SIGKILL)
    return limit // MB, peak // MB


def lines(path):
    return path.read_text().split() if path.exists() else []


def writes(path, *numbers):
    return [Call(calls.write_line, (str(path), i)) for i in numbers]


@pytest.mark.parametrize("function", [calls.take_memory, calls.take_memory_in_c], ids=lambda each: each.__name__)
def test_it_ends_alone_and_at_once(worker, tmp_path, function):
    trace = tmp_path / "trace"
    arguments = (700, 60) if function is calls.take_memory else (700,)
    began = time.monotonic()
    records = run(worker, 200, *writes(trace, 0, 1), Call(function, arguments), *writes(trace, 2, 3))
    assert time.monotonic() - began < 15
    assert statuses(records) == [VALUE, VALUE, DIED, VALUE, VALUE]
    limit, peak = death_of(records[2])
    assert limit == 200 < peak < 900
    assert lines(trace) == ["0", "1", "2", "3"]


def test_what_takes_less_goes_on(worker):
    first = worker.run([Call(os.getpid, ())]).records[0].value
    records = run(worker, 1000, *[Call(calls.take_memory, (300, 0.3))] * 3, Call(os.getpid, ()))
    assert statuses(records) == [VALUE] * 4 and records[3].value == first


def test_without_a_limit_nothing_is_looked_at(worker):
    pid = worker.process.pid
    worker.run([Call(calls.take_memory, (300, 0.1))])

    def n_looks():
        with open(f"/proc/{pid}/io") as file:
            return int(next(line for line in file if line.startswith("syscr")).split()[1])

    before = n_looks()
    task = worker.send([Call(calls.take_memory, (300, 1.0))])
    assert worker.collect()[0] == task
    assert n_looks() - before < 10
    before = n_looks()
    assert statuses(run(worker, 2000, Call(calls.take_memory, (300, 1.0)))) == [VALUE]
    assert n_looks() - before > 10


@pytest.mark.parametrize("way", ["children", "own sessions", "orphans"])
def test_what_it_has_started_counts(worker, way):
    call = Call(calls.fork_with_memory, (20, 25, 60, way == "own sessions", way == "orphans"))
    before = {*descendants(worker.process.pid)}
    records = run(worker, 250, call, Call(os.getpid, ()))
    assert statuses(records) == [DIED, VALUE]
    limit, peak = death_of(records[0])
    assert limit == 250 < peak < 700
    left = {*descendants(worker.process.pid)} - before - {records[1].value}
    assert wait_until(lambda: not any(map(is_alive, left)))


def test_what_it_had_in_shared_memory_goes(worker, tmp_path):
    trace = tmp_path / "trace"
    records = run(worker, 200, Call(calls.share_memory_and, (str(trace), calls.take_memory, 700, 60)))
    assert statuses(records) == [DIED] and death_of(records[0])[0] == 200
    assert wait_until(lambda: not Path("/dev/shm", *lines(trace)).exists())


def test_what_its_processes_share_counts_once(worker):
    records = run(worker, 700, Call(calls.share_with_forks, (300, 4, 1.0)))
    assert statuses(records) == [VALUE] and records[0].value == 300


def test_files_that_are_mapped_do_not_count(worker, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(500 * MB))
    assert statuses(run(worker, 200, Call(calls.map_file, (str(path), 0.5)))) == [VALUE]


def test_a_context_that_slots_share_counts_in_part(start_worker):
    context = pickle.dumps(pack(calls.take_lasting_memory), 5)
    worker = start_worker(slots=4, files={FILE: context})
    assert worker.run([Call(os.getpid, ())]).records
    assert statuses(run(worker, 330, Call(calls.take_memory, (100, 0.5)))) == [VALUE]
    records = run(worker, 330, Call(calls.take_memory, (400, 60)))
    assert death_of(records[0])[0] == 330


def test_neighbours_go_on(start_worker, tmp_path):
    worker = start_worker(slots=2)
    trace = tmp_path / "trace"
    other = send(worker, 600, Call(calls.take_memory, (300, 1.5, str(trace))), Call(os.getpid, ()))
    assert wait_until(lambda: lines(trace))
    task = send(worker, 100, Call(calls.take_memory, (400, 60)))
    results = dict(worker.collect(60) for _ in range(2))
    assert statuses(results[task].records) == [DIED]
    assert statuses(results[other].records) == [VALUE, VALUE]


def test_each_call_of_a_bundle_may_fail(worker):
    hungry = Call(calls.take_memory, (400, 60))
    records = run(worker, 100, hungry, Call(os.getpid, ()), hungry, Call(calls.take_memory, (10,)), hungry)
    assert statuses(records) == [DIED, VALUE, DIED, VALUE, DIED]


def test_one_that_waited_in_the_queue(worker):
    for _ in range(20):  # on a busy machine, it waits too long and is handed back
        first = worker.send([Call(calls.sleep, (0.05,))])
        second = send(worker, 100, Call(calls.take_memory, (400, 60)))
        results = dict(worker.collect(60, resend=False) for _ in range(2))
        assert len(results[first].records) == 1
        if results[second].records:
            break
    assert statuses(results[second].records) == [DIED]


def test_a_suspended_one_goes_on(worker):
    """As a batch system suspends processes: that it takes too much is no reason to resume it."""
    pid = worker.run([Call(os.getpid, ())]).records[0].value
    task = send(worker, 600, Call(calls.take_memory, (300, 0.5)))
    time.sleep(0.2)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1)
    os.kill(pid, signal.SIGCONT)
    done, result = worker.collect(60)
    assert done == task and statuses(result.records) == [VALUE]


def test_a_function_that_takes_too_much_while_it_is_loaded(worker):
    greedy = b"C2\n" + dill.dumps(calls.TakesMemoryWhenLoaded())
    records = run(worker, 200, Call(greedy, ()), Call(os.getpid, ()))
    assert statuses(records) == [DIED, VALUE]
    assert death_of(records[0])[0] == 200


def test_kills_of_the_kernel_are_told_from_others(start_worker, tmp_path):
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 0\noom_kill 3\n")
    worker = start_worker(env={"VINEFAST_OOM_EVENTS": str(events)})
    kill = Call(calls.die_by, (signal.SIGKILL,))
    assert worker.run([kill]).records[0].value[3] is None
    record = worker.run([Call(calls.take_and_die, (200, str(events), "oom_kill 4\n"))]).records[0]
    assert record.value[:2] == (None, signal.SIGKILL)
    limit, peak = record.value[3]
    assert limit == 0 and 200 * MB < peak < 600 * MB
    # That has been told: what others kill later is theirs.
    assert worker.run([kill]).records[0].value[3] is None
    # As is what ends otherwise.
    record = worker.run([Call(calls.take_and_die, (1, str(events), "oom_kill 9\n", signal.SIGTERM))]).records[0]
    assert record.value[1] == signal.SIGTERM and record.value[3] is None


def test_a_count_from_before_is_forgotten(tmp_path):
    path = tmp_path / "memory.events"
    path.write_text("oom_kill 1\n")
    kills = OomKills([str(tmp_path / "absent"), str(path), "/proc/vmstat"])
    assert not kills.have_risen()
    path.write_text("oom_kill 2\noom_group_kill 7\n")
    assert kills.have_risen() and not kills.have_risen()
    path.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    kills.refresh(100.0)
    kills.refresh(105.0)
    kills.refresh(111.0)
    assert not kills.have_risen()
    path.write_text("oom_kill 6\n")
    kills.refresh(200.0)
    assert kills.have_risen()  # it may be that of a death of which we have not heard
    path.unlink()
    assert not kills.have_risen()
    assert not OomKills([str(tmp_path / "absent")]).have_risen()


def test_a_count_that_cannot_be_read_for_a_while(tmp_path):
    """For lack of a descriptor, say: when it can be read again, it has not risen thereby."""
    path = tmp_path / "memory.events"
    path.write_text("oom_kill 3\n")
    kills = OomKills([str(path)])
    path.rename(tmp_path / "out of reach")
    assert not kills.have_risen()
    kills.refresh(100.0)
    kills.refresh(200.0)
    (tmp_path / "out of reach").rename(path)
    assert not kills.have_risen()
    path.write_text("oom_kill 4\n")
    assert kills.have_risen()


def test_this_machine_counts():
    assert OomKills()._path is not None


GROWS = "import time\nall = []\nfor i in range(30):\n  all.append(b'x' * 10_000_000); time.sleep(0.02)\ntime.sleep(9)"
STARTS = "import subprocess, sys\nall = [subprocess.Popen([sys.executable, '-c', sys.argv[1]]) for _ in range({})]\n"


@pytest.mark.parametrize("n_children", [0, 1, 2], ids=["alone", "below another", "two of them"])
def test_one_that_grows_is_found_however_long_it_takes_to_measure(monkeypatch, n_children):
    def slowly(pid):
        time.sleep(0.05)  # as if the kernel had to wait for a process that gets pages
        return measure(pid)

    measure = memory_usage._proportional
    monkeypatch.setattr(memory_usage, "_proportional", slowly)
    code = STARTS.format(n_children) + "[one.wait() for one in all]" if n_children else GROWS
    with subprocess.Popen([sys.executable, "-c", code, GROWS], start_new_session=True) as child:
        try:
            gauge = Gauge(memory_usage.Tree(child.pid), 100 * MB)
            exceeds, ends_at = False, time.monotonic() + 5
            while not exceeds and time.monotonic() < ends_at:
                exceeds, pause = gauge.look()
                time.sleep(0 if exceeds else min(pause, 5))
            assert exceeds and gauge.tree.resident() < 250 * MB
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def pauses_of(gauge, n_gauges, seconds):
    """Look at what takes no more than it may, and give the longest pause between two looks that is wanted."""
    longest, ends_at = 0.0, time.monotonic() + seconds
    while time.monotonic() < ends_at:
        exceeds, pause = gauge.look(n_gauges)
        assert not exceeds
        longest = max(longest, pause)
        time.sleep(min(pause, 0.1))
    return longest


def fork_to(function, *args):
    """Run a function in a child that leads its group, and give its number."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            function(*args)
        finally:
            os._exit(0)
    return pid


def test_what_shares_memory_is_looked_at_while_its_measurement_has_to_wait(monkeypatch):
    """What it has grown by since is seen without."""

    def at_length(pid):
        ends_at = time.thread_time() + 0.05
        while time.thread_time() < ends_at:
            pass
        return measure(pid)

    measure = memory_usage._proportional
    pid = fork_to(calls.share_with_forks, 100, 4, 60)
    tree = Tree(pid)
    try:
        assert wait_until(lambda: tree.look() > 500 * MB and len(tree.processes) == 5)
        monkeypatch.setattr(memory_usage, "_proportional", at_length)
        assert pauses_of(Gauge(tree, tree.measure() + 100 * MB), 1, 3) <= 1
    finally:
        for each in [*tree.processes]:
            os.kill(each, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_one_of_many_slots_is_looked_at_as_often():
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        try:
            assert pauses_of(Gauge(Tree(child.pid, 0), 200 * MB), 128, 1) <= 1
        finally:
            child.kill()


def test_split_limit():
    assert split_limit(b"I\3abc M1 M1/out") == (0, b"I\3abc M1 M1/out")
    assert split_limit(b"M100 I\3a b M1 M1/out") == (100 * MB, b"I\3a b M1 M1/out")


def test_a_tree_is_what_comes_from_a_process():
    pid = fork_to(calls.fork_with_memory, 3, 50, 60)
    try:
        tree = Tree(pid)

        def is_measured():
            # The first one alone may be as large: it is a copy of this process. What is known of them stays known.
            return tree.look() and len(tree.processes) == 4 and 150 * MB < tree.measure() > tree.look() - 10 * MB

        assert wait_until(is_measured)
        assert tree.bound() < tree.resident()
    finally:
        for each in [*tree.processes]:
            os.kill(each, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert wait_until(lambda: tree.look() == 0)
    assert tree.measure() == 0
