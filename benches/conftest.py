"""Executors to measure, one at a time, each with as many slots as the machine has cores."""

import os
import sys
import time

import parsl
import pytest
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from vinefast import VineFastExecutor

SLOTS = os.cpu_count()

EXECUTORS = {
    "vinefast": lambda: VineFastExecutor(label="vinefast"),
    "htex": lambda: HighThroughputExecutor(
        label="htex",
        address="127.0.0.1",
        max_workers_per_node=SLOTS,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    ),
    "threads": lambda: ThreadPoolExecutor(label="threads", max_threads=SLOTS),
}


@parsl.python_app
def noop():
    """Do nothing, as an app."""


def nothing(*args):
    """Do nothing, as a function."""


@pytest.fixture(scope="module", params=EXECUTORS)
def loaded(request, tmp_path_factory):
    """Give one executor under Parsl, its slots warm."""
    # Parsl's HTEX looks for its programs on PATH; workers import the functions of the benchmarks by reference.
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(request.config.rootpath), os.environ.get("PYTHONPATH")])
    )
    executor = EXECUTORS[request.param]()
    config = parsl.Config(
        executors=[executor],
        run_dir=str(tmp_path_factory.mktemp("runinfo")),
        initialize_logging=False,
        usage_tracking=0,
        strategy="none",
    )
    with parsl.load(config):
        noop().result(timeout=60)
        time.sleep(1)
        for future in [noop() for _ in range(200)]:
            future.result(timeout=60)
        yield executor
    parsl.clear()
