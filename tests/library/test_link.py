"""Life with the worker: hello, signals, and the end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import calls
import pytest

from tests.helpers.processes import descendants, is_alive
from tests.helpers.waiting import wait_until

from . import worker as worker_module
from .encode import Call
from .worker import LIBRARY_TASK_ID, LibraryEnded


def signals_during(seconds):
    before = worker_module.signals_seen
    time.sleep(seconds)
    return worker_module.signals_seen - before


def test_hello(worker):
    assert worker.hello == {"name": "vinefast", "taskid": LIBRARY_TASK_ID, "exec_mode": "fork"}


def test_hello_comes_before_the_long_imports(start_worker):
    start = time.monotonic()
    worker = start_worker()
    hello_s = time.monotonic() - start
    worker.run([Call(calls.nothing)])
    assert hello_s < (time.monotonic() - start) / 2


def test_lost_signal_is_healed_during_the_imports(start_worker, monkeypatch):
    monkeypatch.setattr(worker_module, "READ_HELLO", False)
    before = worker_module.signals_seen
    worker = start_worker()
    assert wait_until(lambda: worker_module.signals_seen >= before + 3, 1.0)
    worker.read_hello()
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2


def test_lost_signal_is_healed(worker):
    worker.run([Call(calls.nothing)])
    assert wait_until(lambda: signals_during(0.05) == 0)
    worker.send([Call(calls.nothing)])
    # Not reading is what a worker does that missed the signal.
    repeats = signals_during(0.1)
    assert 4 <= repeats <= 12, "1, 2, 4, 8, ... ms"
    worker.collect()
    time.sleep(0.15)
    assert signals_during(0.3) == 0, "nothing is unread, nothing to signal"


def test_idle_library_sleeps(worker):
    worker.run([Call(calls.nothing)])
    time.sleep(0.1)
    before = cpu_ticks(worker.process.pid)
    time.sleep(0.3)
    assert cpu_ticks(worker.process.pid) - before <= 1


def cpu_ticks(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_message_in_pieces_and_messages_in_one(worker):
    worker.send([Call(calls.add, (1,))])
    first = worker.collect()[1]
    assert first.records[0].value == 2
    read_end, write_end = os.pipe()
    real, worker.to_library = worker.to_library, write_end
    sent = [worker.send([Call(calls.add, (i,))]) for i in range(3)]
    worker.to_library = real
    data = os.read(read_end, 1 << 16)
    os.close(read_end)
    os.close(write_end)
    middle = len(data) // 2
    for byte in data[:40]:
        os.write(real, bytes([byte]))
    os.write(real, data[40:middle])
    time.sleep(0.02)
    os.write(real, data[middle:])
    results = dict(worker.collect() for _ in sent)
    assert [results[task_id].records[0].value for task_id in sent] == [1, 2, 3]


def test_directory_with_spaces(worker, monkeypatch):
    spacy = worker.directory / "a dir  with spaces "
    spacy.mkdir()
    monkeypatch.setattr(worker, "directory", spacy)
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2


def busy_worker(start_worker, tmp_path):
    worker = start_worker(slots=2)
    path = tmp_path / "pid"
    worker.send([Call(calls.start_sleeper_and, (str(path), "wait"))])
    assert wait_until(path.exists)
    assert wait_until(path.read_text)
    processes = [*descendants(worker.process.pid), int(path.read_text())]
    assert len(processes) >= 4
    return worker, processes


def begin_end(worker, end):
    if end == "pipe":
        worker.disconnect()
    elif end == "group":
        os.killpg(worker.process.pid, signal.SIGKILL)
    else:
        worker.process.send_signal(signal.Signals[end])


@pytest.mark.parametrize("end", ["pipe", "SIGTERM", "SIGKILL", "group"])
def test_nothing_is_left(start_worker, tmp_path, end):
    worker, processes = busy_worker(start_worker, tmp_path)
    begin_end(worker, end)
    worker.process.wait(2)
    assert wait_until(lambda: not any(map(is_alive, processes)), 2.0)
    assert wait_until(lambda: not descendants(worker.process.pid))


def end_library(worker, end):
    begin_end(worker, end)
    worker.process.wait(5)


@pytest.mark.parametrize("ignores_term", [False, True])
@pytest.mark.parametrize("end", ["pipe", "SIGTERM", "SIGKILL", "group"])
def test_daemons_of_calls_end_with_the_library(start_worker, tmp_path, end, ignores_term):
    # One that looks the same and stays: its library was started with other pipes, or at another time.
    other = start_worker()
    kept = other.run([Call(calls.start_daemons, (str(tmp_path / "kept"),))]).records[0].value
    worker = start_worker()
    path = tmp_path / "pids"
    pids = worker.run([Call(calls.start_daemons, (str(path), ignores_term))]).records[0].value
    assert len(pids) == 3 and all(map(is_alive, pids))
    if end in ("pipe", "SIGTERM"):
        calls_of_daemons = [Call(calls.start_nameless_daemon), Call(calls.start_nameless_daemon_in_thread)]
        pids += [record.value for record in worker.run(calls_of_daemons).records]
    end_library(worker, end)
    assert wait_until(lambda: not any(map(is_alive, pids)), 10)
    assert all(map(is_alive, kept))


@pytest.mark.parametrize("end", ["pipe", "group"])
def test_shared_memory_of_calls_goes_with_the_library(start_worker, end):
    worker = start_worker()
    path = Path("/dev/shm", worker.run([Call(calls.make_shared_memory)]).records[0].value)
    assert path.exists()
    end_library(worker, end)
    assert wait_until(lambda: not path.exists())


def test_worker_that_closed_only_the_results(start_worker):
    worker = start_worker()
    worker.run([Call(calls.nothing)])
    os.close(worker.from_library)
    worker.from_library = -1
    worker.send([Call(calls.nothing)])
    assert worker.process.wait(2) == 0


def test_gibberish_ends_the_library(start_worker):
    worker = start_worker()
    worker.run([Call(calls.nothing)])
    os.write(worker.to_library, b"gibberish\n")
    with pytest.raises(LibraryEnded):
        worker.read_message()
    assert worker.process.wait(2) == 1


def test_a_worker_can_send_until_it_knows_that_its_library_has_ended(start_worker):
    worker = start_worker()
    worker.run([Call(calls.nothing)])
    worker.process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)
    time.sleep(0.2)
    os.write(worker.to_library, b"1\nx")  # else a worker of TaskVine 7.14 kills itself
    worker.process.wait()

    def is_closed():
        try:
            os.write(worker.to_library, b"1\nx")
        except BrokenPipeError:
            return True
        return False

    assert wait_until(is_closed)
