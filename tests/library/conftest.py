"""Fixtures for tests of the library."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.helpers.processes import descendants
from tests.helpers.waiting import wait_until

from .worker import USER_MODULES, Worker

sys.path.append(str(USER_MODULES))


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
    assert wait_until(lambda: not descendants(worker.process.pid))


@pytest.fixture(autouse=True)
def same_directory() -> Iterator[None]:
    """No test moves the others."""
    home = os.getcwd()
    yield
    os.chdir(home)
