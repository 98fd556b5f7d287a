"""The command ``vinefast`` where its streams, or its directory, are not what they should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.events.logs import LogWriter

pytestmark = pytest.mark.processes

PROGRAM = [sys.executable, "-c", "from vinefast.cli import main; main()"]


@pytest.fixture
def run_dir(tmp_path):
    LogWriter(tmp_path / "executor").run(1)
    return str(tmp_path)


def run(shell, *arguments, **options):
    """Run the command by a shell, in which "$@" is the command."""
    program = ["/bin/sh", "-c", shell, "sh", *PROGRAM, *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("command", ["info", "status", "why"])
def test_without_standard_output(run_dir, command):
    ended = run('exec "$@" >&-', command, run_dir)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", ["info", "status", "why"])
def test_where_nothing_can_be_written(run_dir, command):
    ended = run('exec "$@" > /dev/full', command, run_dir)
    assert ended.returncode and "Error: [Errno 28] No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["report", "trace --format chrome"])
def test_a_file_that_cannot_be_written_is_named_and_not_left_half_written(run_dir, tmp_path, command):
    ended = run(f'ulimit -f 1; "$@" {command} "{run_dir}" -o "{tmp_path}/out"')
    assert ended.returncode == 1 and ended.stderr == f"Error: [Errno 27] File too large: '{tmp_path}/out'\n"
    assert not (tmp_path / "out").exists()
    ended = run(f'"$@" {command} "{run_dir}" -o /dev/full')
    assert ended.returncode == 1 and ended.stderr == "Error: [Errno 28] No space left on device: '/dev/full'\n"
    assert Path("/dev/full").exists()


@pytest.mark.parametrize("command", ["info", "status", "why"])
def test_whose_reader_has_gone(run_dir, command):
    ended = run('("$@"; echo $? >&2) | true', command, run_dir)
    assert "Traceback" not in ended.stderr and ended.stderr.strip() in ("0", "1")


@pytest.mark.parametrize("command", ["info", "status", "why"])
def test_in_a_directory_that_is_gone(run_dir, tmp_path, command):
    gone = tmp_path / "gone"
    gone.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    python = 'rmdir "$PWD" && exec "$1" -c "import socket"'
    if subprocess.run(["/bin/sh", "-c", python, "sh", sys.executable], cwd=gone, capture_output=True).returncode:
        pytest.skip("this Python imports no module of its own there, as 3.13.0")
    gone.mkdir()
    ended = run('rmdir "$PWD" && exec "$@"', command, run_dir, cwd=gone, env=environment)
    assert ended.returncode == 0 and not ended.stderr


def test_info_says_what_tells_more_of_a_run(run_dir):
    # A long path is folded.
    assert f"vinefaststatus{run_dir}" in "".join(run('exec "$@"', "info", run_dir).stdout.split())
