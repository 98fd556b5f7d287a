"""Parsl's log as JSON: it has where and when each call ran, and what each record of ours is about."""

import json
import logging
import os
import platform
import re
import signal
from datetime import datetime

import parsl
import pytest
from parsl.logconfigs.json import JSONLogging

from tests.helpers.processes import left_of
from tests.helpers.waiting import wait_until
from vinefast import VineFastExecutor


@parsl.python_app
def nap(seconds):
    import time

    time.sleep(seconds)


@parsl.python_app
def worker_of_call():
    import os

    import psutil

    return psutil.Process(os.getppid()).ppid()


@pytest.fixture
def logged(mark, tmp_path):
    """Make configurations whose runs have such a log."""
    root = logging.getLogger()
    level = root.level

    def make(executor):
        return parsl.Config(
            executors=[executor], run_dir=str(tmp_path), usage_tracking=0, initialize_logging=JSONLogging()
        )

    yield make
    root.setLevel(level)  # Parsl leaves it as it is
    parsl.clear()
    assert not left_of(mark)


@pytest.fixture
def records(tmp_path):
    def read(name):
        with open(tmp_path / "000" / "parsl.jsonlog") as log:
            return [record for record in map(json.loads, log) if record["name"] == name]

    return read


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_each_call_has_its_node_slot_and_times(logged, records, mode):
    executor = VineFastExecutor(label="vines", function_exec_mode=mode)
    with parsl.load(logged(executor)) as dfk:
        nap(0.4).result(60)
        [future.result(60) for future in [nap(0) for _ in range(5)]]
    launched = {
        record["parsl.executor_task"]: (record["parsl.task"], record["parsl.try"], record["parsl.executor"])
        for record in records("parsl.dataflow.dflow")
        if "parsl.executor_task" in record
    }
    assert len(launched) == 6
    calls = records("vinefast.calls.reports")
    assert {
        call["parsl.executor_task"]: (call["parsl.task"], call["parsl.try"], call["parsl.executor"]) for call in calls
    } == launched
    assert len(calls) == 6
    for call in calls:
        assert (call["levelname"], call["parsl.dfk"]) == ("DEBUG", dfk.run_id)
        assert call["parsl.hostname"] == platform.node()
        assert re.fullmatch("[0-9a-f]{32}", call["parsl.worker"])
        assert int(call["parsl.pid"]) > 1
        if mode == "serverless":
            assert 0 <= int(call["parsl.slot"]) < os.cpu_count()
        else:
            assert "parsl.slot" not in call
        # What does not hold here: there is no block, so no field names one.
        assert "parsl.block_id" not in call
    (first,) = (call for call in calls if call["parsl.task"] == "0")
    began, ended = (
        datetime.fromisoformat(first[f"parsl.{name}"]) for name in ("try_time_running", "try_time_running_ended")
    )
    assert (ended - began).total_seconds() >= 0.4
    assert ended.timestamp() <= first["created"]


def test_a_warning_names_its_executor(logged, records):
    executor = VineFastExecutor(label="vines")
    with parsl.load(logged(executor)):
        os.kill(worker_of_call().result(60), signal.SIGKILL)
        assert wait_until(lambda: executor.stats()["workers_joined"] == 2)
    (lost,) = (
        record for record in records("vinefast.workers.launch.process_launcher") if record["levelname"] == "WARNING"
    )
    assert lost["parsl.executor"] == "vines"
    assert f"(pid {lost['parsl.pid']})" in lost["formatted"]


def test_what_a_callback_raises_is_logged_with_its_call(logged, records):
    executor = VineFastExecutor(label="vines")
    with parsl.load(logged(executor)):
        future = executor.submit(int, {})
        future.result(60)
        future = executor.submit(nap.func, {}, 0.2)
        future.add_done_callback(lambda future: 1 / 0)
        future.result(60)
        assert wait_until(lambda: records("concurrent.futures"))
    (record,) = records("concurrent.futures")
    assert record["parsl.executor_task"] == str(future.parsl_executor_task_id)
    # No task of Parsl's, but calls all the same.
    calls = records("vinefast.calls.reports")
    assert [call["parsl.executor"] for call in calls] == ["vines", "vines"]
    assert not any("parsl.task" in call for call in calls)


def test_without_such_a_log_no_call_is_reported(mark, tmp_path, caplog):
    """By Parsl's usual log, all that is told of calls comes from Parsl."""
    with parsl.load(parsl.Config(executors=[VineFastExecutor()], run_dir=str(tmp_path), usage_tracking=0)):
        nap(0).result(60)
    parsl.clear()
    assert not [record for record in caplog.records if record.name == "vinefast.calls.reports"]
    assert not left_of(mark)
