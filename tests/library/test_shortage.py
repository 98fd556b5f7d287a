"""The supervisor has no descriptor left for a while, or its disk no room: it goes on, and makes up for it then."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import time
from pathlib import Path

import calls
import pytest

from tests.helpers.processes import descendants, is_alive
from tests.helpers.waiting import wait_until
from vinefast.calls.context import pack
from vinefast.library.context import FILE

from .chaos import faults
from .encode import Call
from .worker import Worker

GET_PID = Call(os.getpid, ())


@contextlib.contextmanager
def without_descriptors(pid):
    faults.allow_descriptors(pid, 3)
    try:
        yield
    finally:
        faults.allow_descriptors(pid, None)


@pytest.fixture(params=[False, True], ids=["", "fork server"])
def worker(request, start_worker):
    return start_worker(files={FILE: pickle.dumps(pack(dict), 5)} if request.param else {})


def test_a_slot_dies_while_there_is_no_descriptor(worker):
    first = worker.run([GET_PID]).records[0].value
    with without_descriptors(worker.process.pid):
        os.kill(first, signal.SIGKILL)
        time.sleep(0.5)
        assert worker.process.poll() is None
    assert worker.run([GET_PID]).records[0].value != first


def test_what_a_call_has_left_ends_though_nobody_could_look_for_it(worker, tmp_path):
    """As it does else when the process of its slot has ended."""
    path = tmp_path / "pid"
    task = worker.send([Call(calls.start_sleeper_and, (str(path), "wait")), GET_PID])
    assert wait_until(lambda: path.exists() and path.read_text())
    left = int(path.read_text())
    with without_descriptors(worker.process.pid):
        os.kill(os.getpgid(left), signal.SIGKILL)
        time.sleep(0.5)
    assert worker.collect()[0] == task
    assert wait_until(lambda: not is_alive(left))


def test_trackers_tidy_up_though_nobody_could_tell_them_from_others(worker):
    records = worker.run([Call(calls.make_shared_memory), GET_PID]).records
    shared, pid = Path("/dev/shm", records[0].value), records[1].value
    with without_descriptors(worker.process.pid):
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(pid))
        assert wait_until(lambda: not shared.exists())


def test_what_hides_well_ends_with_a_library_that_has_no_descriptor(worker):
    """Nothing but its parent tells whose it is, and that is the library."""
    left = worker.run([Call(calls.start_nameless_daemon)]).records[0].value
    with without_descriptors(worker.process.pid):
        worker.disconnect()
        assert worker.process.wait(10) == 0
    assert wait_until(lambda: not is_alive(left))


def test_a_bundle_waits_on_that_cannot_be_handed_back(worker, tmp_path):
    """None of its calls has run, and none is to fail."""
    trace = tmp_path / "trace"
    first = worker.send([Call(calls.say_and_sleep, (str(trace), 1.0))])
    assert wait_until(trace.exists)
    with without_descriptors(worker.process.pid):
        second = worker.send([GET_PID])
        results = [worker.collect(resend=False) for _ in range(2)]
    assert [(task, len(result.records)) for task, result in results] == [(first, 1), (second, 1)]


@pytest.fixture
def full_disk(tmp_path):
    """A disk, the library on which may be told to find no room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with faults.own_mounts() as may_mount:
        if not may_mount:
            pytest.skip("no disk can be mounted here, which takes root and mount namespaces")
        with faults.small_disk(disk, 16 << 20):
            yield disk


def test_slots_die_while_the_disk_is_full(full_disk):
    worker = Worker(full_disk, env={"PYTHONUNBUFFERED": ""})
    try:
        pid = worker.run([GET_PID]).records[0].value
        ballast = faults.fill_disk(full_disk)
        for _ in range(3):
            os.kill(pid, signal.SIGKILL)
            # The library has something to say of that, for which there is no room either.
            assert wait_until(lambda pid=pid: faults.slots(worker.process.pid) not in ([], [pid]))
            [pid] = faults.slots(worker.process.pid)
        assert worker.process.poll() is None
        ballast.unlink()
        assert worker.run([GET_PID]).records[0].value == pid
        faults.fill_disk(full_disk)
        os.kill(pid, signal.SIGKILL)
        worker.disconnect()
        assert worker.process.wait(10) == 0
        assert wait_until(lambda: not descendants(worker.process.pid))
    finally:
        worker.close()
