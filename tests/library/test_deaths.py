"""A call that kills its process costs itself and nothing else."""

from __future__ import annotations

import functools
import os
import pickle
import random
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import calls
import dill
import pytest

from tests.helpers.processes import is_alive
from tests.helpers.waiting import wait_until
from vinefast.calls.context import pack
from vinefast.library.context import FILE
from vinefast.library.process import sockets_of

from .chaos import faults
from .encode import Call
from .worker import USER_MODULES

# What Python does on its own account where its C library has no close_range().
CLOSES_ONE_BY_ONE = """
import os
known = os.sysconf
os.sysconf = lambda name: 1 << 30 if name == "SC_OPEN_MAX" else known(name)
def closerange(low, high):
    for fd in range(low, high):
        try:
            os.close(fd)
        except OSError:
            pass
os.closerange = closerange
"""


def lines(path):
    return path.read_text().split()


def pids_and_names(path):
    words = lines(path) if path.exists() else []
    return words[::2], words[1::2]


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (calls.die_by, (signal.SIGKILL,), (None, signal.SIGKILL)),
        (calls.die_by, (signal.SIGTERM,), (None, signal.SIGTERM)),
        (calls.crash, ("last words",), (None, signal.SIGSEGV)),
        (calls.exit_at_once, (0,), (0, None)),
        (calls.exit_at_once, (17,), (17, None)),
    ],
)
def test_the_rest_runs_exactly_once(worker, tmp_path, function, args, expected):
    trace = tmp_path / "trace"
    write = [Call(calls.write_line, (str(trace), f"call-{i}")) for i in range(6)]
    result = worker.run([*write[:3], Call(function, args), *write[3:]])
    assert [record.status for record in result.records] == [1, 1, 1, 4, 1, 1, 1]
    assert result.records[3].value[:2] == expected
    assert [record.value for record in result.records if record.status == 1] == [f"call-{i}" for i in range(6)]
    assert lines(trace) == [f"call-{i}" for i in range(6)]


def test_last_words(worker):
    worker.run([Call(calls.print_much, (10_000,))])
    tail = worker.run([Call(calls.crash, ("last words",))]).records[0].value[2]
    assert tail.startswith("last words\n")
    assert "Segmentation fault" in tail and "in crash" in tail


def test_every_call_dies(worker):
    result = worker.run([Call(calls.exit_at_once, (i,)) for i in range(5)])
    assert [record.value[0] for record in result.records] == list(range(5))


def test_death_after_flushed_results(worker, tmp_path):
    trace = tmp_path / "trace"
    sizes = [1024] * 300 + [400_128] + [1024] * 10
    many = [Call(calls.write_line, (str(trace), i, calls.make_bytes(size))) for i, size in enumerate(sizes)]
    result = worker.run([*many, Call(calls.die_by, (9,)), *many])
    assert [record.status for record in result.records] == [1] * len(many) + [4] + [1] * len(many)
    for record, size in zip(result.records, [*sizes, 0, *sizes], strict=True):
        assert record.status == 4 or record.value == calls.make_bytes(size)
    assert lines(trace) == [str(i) for i in range(len(many))] * 2


def test_death_while_a_function_is_loaded(worker):
    deadly = b"C2\n" + dill.dumps(calls.DiesWhenLoaded())
    result = worker.run([Call(calls.add, (1,)), Call(deadly), Call(calls.add, (2,)), Call(deadly), Call(deadly)])
    assert [record.status for record in result.records] == [1, 4, 1, 4, 4]
    assert result.records[1].value[0] == 9


def test_death_while_idle(worker):
    worker.run([Call(calls.exit_when_idle, (0.01,))])
    assert wait_until(lambda: "idle child of slot 0 ended with 3" in worker.log())
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2


def test_what_a_dead_call_started_dies_too(worker, tmp_path):
    path = tmp_path / "pid"
    assert worker.run([Call(calls.start_sleeper_and, (str(path), "crash"))]).records[0].status == 4
    assert wait_until(lambda: not is_alive(int(path.read_text())))


def test_what_a_dead_call_started_dies_with_room_for_a_billion_descriptors(start_worker, tmp_path):
    """In a container, say, and with a Python that was built for older systems, as that of conda is."""
    older = tmp_path / "older"
    older.mkdir()
    (older / "sitecustomize.py").write_text(CLOSES_ONE_BY_ONE)
    worker = start_worker(env={"PYTHONPATH": os.pathsep.join((str(older), str(USER_MODULES)))})
    path = tmp_path / "pid"
    assert worker.run([Call(calls.start_sleeper_and, (str(path), "crash"))]).records[0].status == 4
    assert wait_until(lambda: not is_alive(int(path.read_text())))


def test_what_a_dead_call_had_in_shared_memory_goes(worker):
    names = [worker.run([Call(calls.make_shared_memory)]).records[0].value for _ in range(2)]
    assert worker.run([Call(calls.die_by, (9,)), Call(calls.add, (1,))]).records[1].value == 2
    assert wait_until(lambda: not any(Path("/dev/shm", name).exists() for name in names))


def test_slice_counts_from_the_first_child(worker):
    result = worker.run(
        [
            Call(calls.sleep, (0.06,)),
            Call(calls.exit_at_once, (1,)),
            Call(calls.sleep, (0.06,)),
            *[Call(calls.nothing)] * 5,
        ],
        slice_ms=100,
    )
    # On a busy machine the second child may come when the slice is over.
    assert [record.status for record in result.records] in ([0, 4, 0], [0, 4])


def test_slice_over_at_death(worker):
    result = worker.run([Call(calls.nothing), Call(calls.sleep_and_die, (0.6,)), Call(calls.nothing)], slice_ms=500)
    assert [record.status for record in result.records] == [0, 4]


def test_descriptors_closed_by_a_call(worker, tmp_path):
    trace = tmp_path / "trace"
    result = worker.run([Call(calls.write_line, (str(trace), "a")), Call(calls.close_everything)])
    assert [record.value for record in result.records] == ["a", "closed"]
    assert lines(trace) == ["a"]
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2


def test_descriptors_taken_by_a_call(start_worker, tmp_path):
    worker = start_worker()
    trace = tmp_path / "trace"
    write = [Call(calls.write_line, (str(trace), i, calls.make_bytes(200_192))) for i in range(3)]
    result = worker.run([write[0], Call(calls.take_descriptors), *write[1:], Call(calls.read_taken)])
    assert [record.status for record in result.records] == [1] * 5
    assert result.records[1].value > 64
    assert result.records[4].value == []
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2
    assert lines(trace) == ["0", "1", "2"]


@pytest.mark.parametrize("function", [calls.write_to_sockets, calls.read_from_sockets])
def test_sockets_of_the_library_misused_by_a_call(start_worker, tmp_path, function):
    worker = start_worker(slots=2)
    trace = tmp_path / "trace"
    slow = worker.send([Call(calls.write_line, (str(trace), "begun")), Call(calls.sleep, (1.0, "slept"))])
    assert wait_until(lambda: trace.exists())
    bundles = [[Call(calls.sleep, (0.09,)), Call(function), Call(calls.same, ("after",))]]
    bundles += [[Call(calls.same, (i,))] for i in range(3)]
    sent = [slow, *(worker.send(bundle) for bundle in bundles)]
    finished = dict(worker.collect() for _ in sent)
    assert [[record.value for record in finished[task_id].records][-1] for task_id in sent] == [
        "slept",
        "after",
        *range(3),
    ]
    # Others wait for a slot once more.
    sent = [worker.send([Call(calls.sleep, (0.2, i))]) for i in range(4)]
    finished = dict(worker.collect() for _ in sent)
    assert [finished[task_id].records[0].value for task_id in sent] == [*range(4)]


def test_child_that_stays_when_its_channel_has_ended(start_worker):
    worker = start_worker()
    pid = worker.run([Call(calls.close_and_stay)]).records[0].value
    assert wait_until(lambda: not is_alive(pid))
    assert "is killed: its channel has ended" in worker.log()
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2


def test_long_call_without_a_channel_goes_on(start_worker):
    worker = start_worker()
    result = worker.run([Call(calls.close_everything), Call(calls.sleep, (4, "slept")), Call(calls.add, (1,))])
    assert [record.value for record in result.records] == ["closed", "slept", 2]


@pytest.mark.parametrize("function", [calls.fork_and_return, calls.fork_and_raise])
def test_forked_child_that_comes_back(worker, tmp_path, function):
    trace = tmp_path / "trace"
    result = worker.run([Call(function, (str(trace),)), Call(calls.write_line, (str(trace), "next"))])
    assert [record.value for record in result.records] == [0 if function is calls.fork_and_return else 1, "next"]
    assert sorted(lines(trace)) == ["child", "next", "parent"]


def test_processes_in_a_call(worker):
    squares, output = worker.run([Call(calls.use_processes)]).records[0].value
    assert (squares, output) == ([0, 1, 4, 9, 16], "hello\n")


def test_child_killed_from_outside(worker):
    pid = worker.run([Call(calls.identify)]).records[0].value[0]
    task_id = worker.send([Call(calls.sleep, (30,)), Call(calls.add, (1,))])
    assert wait_until(lambda: (worker.directory / f"func.{task_id}").exists())
    calls.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    records = worker.collect()[1].records
    assert records[0].value[:2] == (None, signal.SIGKILL)
    assert records[1].value == 2


def test_last_words_are_the_calls_own_if_an_earlier_child_never_began(start_worker):
    worker = start_worker()
    records = worker.run([Call(calls.identify), Call(print, ("words of another call",))]).records
    pid = records[0].value[0]
    os.kill(pid, signal.SIGSTOP)
    worker.send([Call(calls.crash, ("last words",))])
    # The library is through with that message once it has begun to wait for a slot for the next.
    worker.send([Call(calls.nothing)])
    assert not worker.collect(resend=False)[1].records
    os.kill(pid, signal.SIGKILL)
    tail = worker.collect()[1].records[0].value[2]
    assert tail.startswith("last words\n")


@pytest.mark.parametrize("context", [None, functools.partial(calls.sleep, 0.05)], ids=["slots", "fork server"])
def test_children_killed_at_random(start_worker, tmp_path, context):
    worker = start_worker(slots=3, files={} if context is None else {FILE: pickle.dumps(pack(context))})
    trace = tmp_path / "trace"
    worker.run([Call(calls.nothing)])
    chance = random.Random(5)
    over = threading.Event()

    killed = Counter()
    barren = Counter()  # deaths in a row before a call has run, of each slot: after the third, a bundle is given back

    def kill():
        while not over.wait(0.01 * chance.random()):
            children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children").read_text().split()
            try:
                pid = chance.choice(children)
                # Neither the janitor nor a child that is not one yet.
                log = re.search("slot-.*|fork-server", os.readlink(f"/proc/{pid}/fd/1"))
                if log and (log[0] == "fork-server" or pid in pids_and_names(trace)[0] or not barren[log[0]]):
                    os.kill(int(pid), signal.SIGKILL)
                    killed[log[0]] += 1
                    barren[log[0]] = pid not in pids_and_names(trace)[0]
            except (OSError, IndexError):
                pass

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        sent = {}
        for bundle in range(100):
            sizes = chance.choices([1, 100, 20_000], k=30)
            names = [f"{bundle}-{i}" for i in range(30)]
            task_id = worker.send(
                [Call(calls.write_pid_and_line, (str(trace), n, bytes(k))) for n, k in zip(names, sizes, strict=True)]
            )
            sent[task_id] = names
        results = dict(worker.collect() for _ in sent)
    finally:
        over.set()
        killer.join()
    assert sum(killed.values()) >= 10, killed
    ran = Counter(pids_and_names(trace)[1])
    assert set(ran.values()) == {1}
    for task_id, names in sent.items():
        for name, record in zip(names, results[task_id].records, strict=True):
            assert record.status in (1, 4)
            assert record.status == 4 or ran[name] == 1


def test_what_ends_while_a_slot_waits_for_its_process_is_waited_for(start_worker):
    """Nobody knows then whether it is that process."""
    worker = start_worker(files={FILE: pickle.dumps(pack(dict))})
    library_pid = worker.process.pid
    left, pid = (record.value for record in worker.run([Call(calls.start_nameless_daemon), Call(os.getpid)]).records)
    [fork_server] = faults.slots(library_pid, "fork-server")
    sockets = set(sockets_of(library_pid).values())
    os.kill(fork_server, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    # It has asked for another one.
    assert wait_until(lambda: set(sockets_of(library_pid).values()) - sockets)
    os.kill(left, signal.SIGKILL)
    assert wait_until(lambda: faults.zombies(library_pid) == [left])
    os.kill(fork_server, signal.SIGCONT)
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2
    assert wait_until(lambda: not faults.zombies(library_pid))
