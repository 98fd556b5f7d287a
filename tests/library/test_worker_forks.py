"""What is taken for a fork of a worker that was killed, and what is not."""

import resource
import shutil
import socket
import subprocess

import pytest

from tests.helpers.waiting import wait_until
from vinefast.library import process
from vinefast.library.process import descendants_of, kill_processes, living, started_at
from vinefast.library.worker_forks import WorkerForks

FORK = "( sleep 100; : ) >/dev/null & echo $!; read -r _"


@pytest.fixture
def start(tmp_path):
    """Start what has a fork, as a worker has, in a directory of its own; gives it, and its fork."""
    started, forks = [], []

    def start(name, sock, program="/bin/sh"):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        held = subprocess.Popen([program, "-c", FORK], cwd=directory, pass_fds=[sock.fileno()], **pipes)
        started.append(held)
        forks.append(started_at(int(held.stdout.readline())))
        return held, forks[-1]

    yield start
    for held in started:
        held.kill()
        held.communicate()
    for fork in map(living, forks):
        for pid in fork:
            kill_processes(fork | descendants_of(pid))


def kill(process):
    process.kill()
    process.wait()


@pytest.fixture
def sock():
    with socket.socket() as sock:
        yield sock


def test_two_workers_that_have_a_socket_of_their_starter(start, sock):
    """It is no connection of theirs, and the end of one is not the end of the other."""
    (killed, its_fork), (other, anothers_fork) = start("killed", sock), start("other", sock)
    forks = WorkerForks(killed.pid)
    assert forks.are_there and not forks.end_without_worker() and living(its_fork)
    kill(killed)
    assert forks.end_without_worker()
    assert wait_until(lambda: not living(its_fork))
    assert other.poll() is None and living(anothers_fork)


def test_a_program_and_a_directory_that_have_been_removed(start, sock, tmp_path):
    """Those of a batch job, say, go with it."""
    place = tmp_path / "place"
    place.mkdir()
    worker, fork = start("place", sock, shutil.copy("/bin/sh", place))
    forks = WorkerForks(worker.pid)
    shutil.rmtree(place)
    kill(worker)
    assert forks.end_without_worker()
    assert wait_until(lambda: not living(fork))


def test_a_worker_is_not_taken_for_gone_where_nothing_can_be_read():
    """With no descriptor left, /proc looks empty."""
    sleeper = subprocess.Popen(["sleep", "60"])
    (started,) = process.started_at(sleeper.pid).values()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            seen = process.stat_of(sleeper.pid)[0], process.is_gone(sleeper.pid, started)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert seen == (b"", False)
        assert not process.is_gone(sleeper.pid, started) and process.is_gone(sleeper.pid, started + b"0")
    finally:
        sleeper.kill()
    assert wait_until(lambda: process.is_gone(sleeper.pid, started))  # nobody has waited for it yet
    sleeper.wait()
    assert process.is_gone(sleeper.pid, started)
