"""Transfers of which nothing comes any more are ended, and nothing else is."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest

from vinefast.library import process
from vinefast.library.transfers import TransferWatch

from .worker import REPOSITORY


@pytest.mark.processes
def test_only_the_silent_transfer_is_ended(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.library.fetching"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    ended = [line for line in ran.stdout.splitlines() if line.startswith("ended:")]
    assert ended == ["ended: silent", "ended: suspended"], ran.stdout + ran.stderr
    left = sorted(path.name for path in (tmp_path / "transfer").iterdir())
    assert left == ["reading", "silent.error", "suspended.error"]


def test_without_a_timeout_nothing_is_looked_at():
    assert TransferWatch(os.getpid(), "/nowhere", 0).look_at is None


def test_one_descriptor_that_is_closed_meanwhile_hides_no_other(monkeypatch):
    """A worker opens and closes files at any time."""
    with open(os.devnull) as closed, socket.socket() as behind:
        read = os.readlink

        def readlink(path):
            if path.endswith(f"/{closed.fileno()}"):
                raise FileNotFoundError
            return read(path)

        monkeypatch.setattr(os, "readlink", readlink)
        found = process.open_files(os.getpid())
        assert behind.fileno() in found and closed.fileno() not in found


@pytest.mark.processes
def test_no_connection_is_shut_that_may_be_the_workers(monkeypatch):
    """A transfer has those of its worker as well, and there is no descriptor to look at what the worker has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as to_manager, listener.accept()[0] as manager:
            scandir = os.scandir

            def scan(path):
                if path == f"/proc/{os.getpid()}/fd":
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return scandir(path)

            with subprocess.Popen(["sleep", "60"], pass_fds=[to_manager.fileno()]) as transfer:
                monkeypatch.setattr(os, "scandir", scan)
                assert not TransferWatch(os.getpid(), "/nowhere", 1)._disconnect(transfer.pid)
                transfer.kill()
            to_manager.send(b"alive")
            assert manager.recv(5) == b"alive"
