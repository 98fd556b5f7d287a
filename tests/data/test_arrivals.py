"""What killed programs have left of files on their way is removed, and nothing else."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from vinefast.data import arrivals

# Makes a file and a directory on their way, says which, and is killed or waits.
PROGRAM = """
import os, sys
from vinefast.data import arrivals
for make in (lambda path: open(path, "w").close(), os.mkdir):
    path = arrivals.path_in(sys.argv[1])
    make(path)
    print(path)
open(f"{path}-unpacked", "w").close()
print(f"{path}-unpacked", flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def forgotten():
    arrivals._sweep.cache_clear()


@pytest.fixture
def other(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield program, [program.stdout.readline().strip() for _ in range(3)]
    program.communicate()


def test_what_a_killed_program_has_left_is_removed(other, tmp_path):
    program, paths = other
    assert all(map(os.path.lexists, paths))
    program.communicate()
    assert program.returncode == -signal.SIGKILL
    arrivals.path_in(str(tmp_path))
    assert not any(map(os.path.lexists, paths))


def test_what_a_living_program_has_stays(other, tmp_path):
    _, paths = other
    arrivals.path_in(str(tmp_path))
    assert all(map(os.path.lexists, paths))


def test_what_other_machines_have_stays_and_so_does_what_is_not_ours(other, tmp_path):
    program, (path, *_) = other
    program.communicate()
    machine = arrivals._machine()
    names = [
        os.path.basename(path).replace(machine, machine[::-1] if machine != machine[::-1] else 16 * "0"),
        os.path.basename(path) + "x",
        "a" + os.path.basename(path),
        ".vinefast-notes",
    ]
    for name in names:
        shutil.copy(path, tmp_path / name)
    arrivals.path_in(str(tmp_path))
    assert {*names} == {*os.listdir(tmp_path)}


def test_paths_are_new_each_time_and_in_each_process(other, tmp_path):
    _, paths = other
    found = [arrivals.path_in(str(tmp_path)) for _ in range(3)] + paths
    assert len({*found}) == len(found)
    assert arrivals.path_in(str(tmp_path / "none")) and not (tmp_path / "none").exists()
