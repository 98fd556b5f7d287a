"""Directories that go with the program: what is removed, by whom, and what never is."""

import os
import signal
import subprocess
import sys

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig

from tests.helpers.waiting import wait_until
from vinefast.workers import scratch
from vinefast.workers.scratch import Scratch, sweep

pytestmark = pytest.mark.processes

PROGRAM = """
import sys, time
from vinefast.workers.scratch import Scratch
scratch = Scratch(sys.argv[1], janitor=sys.argv[2] == "janitor")
open(scratch.path + "/file", "w").close()
print(scratch.path, flush=True)
time.sleep(60)
"""


@pytest.fixture
def program(tmp_path):
    """Start a program that has a scratch directory; gives the program and the directory."""
    programs = []

    def start(*how):
        programs.append(
            subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), *how], stdout=subprocess.PIPE, text=True)
        )
        return programs[-1], programs[-1].stdout.readline().strip()

    yield start
    for each in programs:
        each.kill()
        each.communicate()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_it_goes_with_a_killed_program(program, end):
    ended, path = program("janitor")
    assert os.listdir(path) == ["file"]
    ended.send_signal(end)
    ended.wait(10)
    assert wait_until(lambda: not os.path.exists(path))


def test_what_is_left_is_swept_and_what_is_in_use_is_not(program, tmp_path):
    living, kept = program("")
    dead, left = program("")
    own = Scratch(str(tmp_path))
    dead.kill()
    dead.wait()
    sweep(str(tmp_path))
    assert os.path.exists(kept) and os.path.exists(own.path) and not os.path.exists(left)
    assert living.poll() is None
    own.close()
    assert os.listdir(tmp_path) == [os.path.basename(kept)]


def test_only_what_is_ours_is_swept(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    place = tmp_path / "place"
    for directory in (elsewhere, place):
        directory.mkdir()
    (elsewhere / "precious").touch()
    name = scratch._PREFIX + "abcdefgh"
    (place / name).symlink_to(elsewhere)
    (place / (scratch._PREFIX + "abcdefg1")).touch()
    for other in (name + "x", "x" + name, "vinefast-scratch-otherhost-abcdefgh", "vinefast-worker-abcdefgh"):
        (place / other).mkdir()
    before = sorted(os.listdir(place))
    sweep(str(place))
    assert sorted(os.listdir(place)) == before and (elsewhere / "precious").exists()
    (place / name).unlink()
    (place / name).mkdir()
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    sweep(str(place))
    assert (place / name).exists()
    monkeypatch.undo()
    sweep(str(place))
    assert not (place / name).exists()
    sweep(str(tmp_path / "nowhere"))


def test_one_that_is_swept_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    flock = scratch.fcntl.flock
    swept = []

    def sweep_first(fd, operation):
        if not swept:
            swept.append(True)
            sweep(str(tmp_path))
            assert os.listdir(tmp_path) == []
        flock(fd, operation)

    monkeypatch.setattr("fcntl.flock", sweep_first)
    made = Scratch(str(tmp_path))
    assert os.listdir(tmp_path) == [os.path.basename(made.path)]
    made.close()
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_locked_nothing_is_swept(tmp_path, monkeypatch):
    def fail(fd, operation):
        raise OSError("not here")

    monkeypatch.setattr("fcntl.flock", fail)
    made = Scratch(str(tmp_path))
    sweep(str(tmp_path))
    assert os.path.exists(made.path)
    made.close()
    assert os.listdir(tmp_path) == []


def test_local_workers_keep_their_files_in_memory_if_there_is_room(monkeypatch, tmp_path):
    config = TaskVineFactoryConfig()
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(scratch, "_MEMORY_DIR", str(tmp_path))
    monkeypatch.setattr(scratch, "_MEMORY_MIN_NBYTES", 1)
    if not os.statvfs(tmp_path).f_flag & os.ST_NOEXEC:
        assert scratch.local_scratch_dir(config) == str(tmp_path)
    assert scratch.local_scratch_dir(TaskVineFactoryConfig(scratch_dir="/else")) == "/else"
    monkeypatch.setattr(scratch, "_MEMORY_MIN_NBYTES", 1 << 60)
    assert scratch.local_scratch_dir(config) is None
    monkeypatch.setattr(scratch, "_MEMORY_DIR", str(tmp_path / "absent"))
    assert scratch.local_scratch_dir(config) is None
    monkeypatch.setattr(scratch, "_MEMORY_DIR", str(tmp_path))
    monkeypatch.setattr(scratch, "_MEMORY_MIN_NBYTES", 1)
    monkeypatch.setenv("TMPDIR", "/users/choice")
    assert scratch.local_scratch_dir(config) is None
