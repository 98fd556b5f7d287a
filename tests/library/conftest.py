"""Fixtures for tests of the library."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .worker import USER_MODULES, Worker

sys.path.append(str(USER_MODULES))


def descendants(pid: int) -> list[int]:
    """Give the living processes whose session or parent chain leads to `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            state, parent, session = fields[0], int(fields[1]), int(fields[3])
            if state != "Z" and pid in (parent, session):
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Wait for `condition` to hold."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def start_worker(tmp_path) -> Iterator[Callable[..., Worker]]:
    """Start an emulated worker with the arguments given; it is closed after the test."""
    workers: list[Worker] = []

    def start(**options) -> Worker:
        directory = tmp_path / f"worker-{len(workers)}"
        directory.mkdir()
        workers.append(Worker(directory, **options))
        return workers[-1]

    yield start
    for worker in reversed(workers):
        worker.close()


@pytest.fixture(scope="session")
def worker(tmp_path_factory) -> Iterator[Worker]:
    """An emulated worker with a library of one slot, shared by tests that leave it as it was."""
    worker = Worker(tmp_path_factory.mktemp("shared-worker"), env={"PARSL_WORKER_BLOCK_ID": "42"})
    yield worker
    worker.close()
    wait_until(lambda: not descendants(worker.process.pid))


@pytest.fixture(autouse=True)
def same_directory() -> Iterator[None]:
    """No test moves the others."""
    home = os.getcwd()
    yield
    os.chdir(home)
