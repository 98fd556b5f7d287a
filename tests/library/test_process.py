"""What the library finds out about processes."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.helpers.waiting import wait_until
from vinefast.library import process


@pytest.fixture
def child():
    """A process of ours that sleeps."""
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


def test_what_was_frozen_goes_on_however_that_ends(child):
    with process.frozen(child.pid) as is_frozen:
        assert is_frozen and process.is_suspended(child.pid)
    assert wait_until(lambda: not process.is_suspended(child.pid))
    with pytest.raises(KeyError), process.frozen(child.pid) as is_frozen:
        assert is_frozen and process.is_suspended(child.pid)
        raise KeyError
    assert wait_until(lambda: not process.is_suspended(child.pid))


def test_what_could_not_be_looked_at_goes_on(child, monkeypatch):
    def fail(*args):
        raise OSError

    monkeypatch.setattr(os, "waitid", fail)
    with pytest.raises(OSError), process.frozen(child.pid):
        pass
    monkeypatch.undo()
    assert wait_until(lambda: not process.is_suspended(child.pid))


def test_what_somebody_has_suspended_stays_so(child):
    child.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: process.is_suspended(child.pid))
    with process.frozen(child.pid) as is_frozen:
        assert is_frozen
    assert process.is_suspended(child.pid)


def test_what_somebody_is_about_to_suspend_stays_so(child, monkeypatch):
    """Its SIGSTOP is on the way: the process has not run since."""
    read = process._read
    pending = b"ShdPnd:\t%016x\n" % (1 << signal.SIGSTOP - 1)
    monkeypatch.setattr(process, "_read", lambda pid, name: pending if name == "status" else read(pid, name))
    with process.frozen(child.pid) as is_frozen:
        assert is_frozen
    assert process.is_suspended(child.pid)


def test_what_is_killed_while_it_is_frozen_is_dead(child):
    with process.frozen(child.pid):
        child.kill()
    assert child.wait(10) == -signal.SIGKILL


def test_descendants_may_be_any_number_of_generations(monkeypatch):
    monkeypatch.setattr(process, "children_of", lambda pid: {pid + 1: b"1"} if pid < 5000 else {})
    assert process.descendants_of(1) == dict.fromkeys(range(2, 5001), b"1")


def test_descendants_end_where_numbers_come_again(monkeypatch):
    monkeypatch.setattr(process, "children_of", lambda pid: {3 - pid: b"1"})
    assert process.descendants_of(1) == {2: b"1", 1: b"1"}


def test_a_tracker_outlives_what_has_to_be_killed(tmp_path):
    """It tidies up when the other end of its pipe is closed, by one that hears no SIGTERM."""
    tidied = tmp_path / "tidied"
    read_end, write_end = os.pipe()
    deaf = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], pass_fds=[write_end], stdout=subprocess.PIPE
    )
    tracker = subprocess.Popen(
        ["sh", "-c", f"trap '' TERM; echo; cat; > {tidied}", "resource_tracker"],
        stdin=read_end,
        stdout=subprocess.PIPE,
    )
    os.close(read_end)
    os.close(write_end)
    for each in (deaf, tracker):
        assert each.stdout.read(1) == b"\n"  # it hears no SIGTERM by now
    processes = {**process.started_at(deaf.pid), **process.started_at(tracker.pid)}
    process.end_processes(lambda: process.living(processes), 1.0)
    assert deaf.wait(10) == -signal.SIGKILL and tracker.wait(10) == 0
    assert tidied.exists()
