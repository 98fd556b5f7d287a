"""Memory that a call asks for is a limit where somebody says so."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time

import parsl
import psutil
import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

import vinefast

pytestmark = pytest.mark.skipif(psutil.virtual_memory().available < 2 << 30, reason="needs 2 GB of free memory")

ONE_WORKER = {"factory_config": TaskVineFactoryConfig(cores=2, memory=4000)}


def take(mb, seconds=0.0):
    data = bytearray(b"x") * (mb << 20)
    time.sleep(seconds)
    return len(data) >> 20


def leave_trace(path, value):
    with open(path, "a") as file:
        file.write("x")
    return value


def start_and_wait(command):
    return subprocess.run(command, check=False).returncode


def start_and_sleep(command, seconds):
    subprocess.run(f"{shlex.join(command)} &", shell=True, check=True)
    time.sleep(seconds)


def options(way):
    return {
        "regular": {"function_exec_mode": "regular"},
        "TaskVine's": {"manager_config": TaskVineManagerConfig(port=0, tune_parameters={"scheduler": "time"})},
    }.get(way, {})


@pytest.mark.parametrize("way", ["serverless", "TaskVine's", "regular"])
def test_it_fails_alone(make_executor, way):
    executor = make_executor(**ONE_WORKER, enforce_memory=True, **options(way))
    limited = {"memory": 250}
    greedy = executor.submit(take, limited, 600, 60)
    others = [executor.submit(take, limited, 50, 0.1) for _ in range(4)]
    free = executor.submit(take, {"memory": 250, "enforce_memory": False}, 400)
    with pytest.raises(vinefast.MemoryLimitExceeded, match="take took .* limit is 250 MB") as caught:
        greedy.result(60)
    assert (caught.value.app, caught.value.limit_mb) == ("take", 250) and 250 < caught.value.peak_mb < 900
    assert caught.value.signal_number == signal.SIGKILL
    assert [future.result(60) for future in others] == [50] * 4
    assert free.result(60) == 400


def test_companions_run_once(make_executor, tmp_path):
    executor = make_executor(factory_config=TaskVineFactoryConfig(cores=1, memory=4000), enforce_memory=True)
    limited, trace = {"memory": 250}, tmp_path / "trace"
    for i in range(200):  # so that calls of these functions travel together
        executor.submit(leave_trace, limited, os.devnull, i).result()
        executor.submit(take, limited, 0).result()
    before = executor.stats()["bundles_sent"]
    futures = []
    for i in range(60):
        futures.append(executor.submit(leave_trace, limited, str(trace), i))
        if i == 30:
            greedy = executor.submit(take, limited, 600, 60)
    assert [future.result(60) for future in futures] == [*range(60)]
    assert isinstance(greedy.exception(60), vinefast.MemoryLimitExceeded)
    assert trace.read_text() == "x" * 60
    assert executor.stats()["bundles_sent"] - before < 50


@pytest.mark.parametrize("way", ["serverless", "regular"])
def test_what_it_has_started_counts(make_executor, way):
    executor = make_executor(**ONE_WORKER, **options(way))
    hog = [sys.executable, "-c", "data = bytearray(b'x') * (500 << 20); import time; time.sleep(60)"]
    spec = {"memory": 300, "enforce_memory": True}
    futures = [executor.submit(start_and_wait, spec, hog), executor.submit(start_and_sleep, spec, hog, 60)]
    assert [type(future.exception(50)) for future in futures] == [vinefast.MemoryLimitExceeded] * 2


def test_by_default_it_is_none(make_executor):
    executor = make_executor(**ONE_WORKER)
    assert executor.submit(take, {"memory": 100}, 500, 0.5).result(60) == 500


def test_parsl_tries_again_as_after_any_failure(make_executor, tmp_path):
    executor = make_executor(**ONE_WORKER, enforce_memory=True, start=False)
    with parsl.load(parsl.Config(executors=[executor], retries=1, run_dir=str(tmp_path))):

        @vinefast.python_app
        def greedy_once(path, parsl_resource_specification=None):
            with open(path, "a") as file:
                file.write("x")
            if os.path.getsize(path) > 1:
                return "tried again"
            data = bytearray(b"x") * (600 << 20)
            time.sleep(60)
            return len(data)

        trace = tmp_path / "trace"
        assert greedy_once(str(trace), parsl_resource_specification={"memory": 250}).result(60) == "tried again"
