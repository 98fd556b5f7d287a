"""Categories of calls, and resources that TaskVine chooses by category."""

import re
from pathlib import Path

import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from tests.helpers.waiting import wait_until
from vinefast.errors import EngineStartError, InvalidConfiguration
from vinefast.workers.programs import RESOURCE_MONITOR_VARIABLE, find_resource_monitor


def first():
    return 1


def second():
    return 2


def log_of(executor):
    directory = Path(executor.run_dir, executor.label, "taskvine", "most-recent")
    return (directory / "vine-logs" / "transactions").read_text()


def categories_of(executor):
    """Categories that TaskVine's own log names, but for that of bundles without calls."""
    return set(re.findall(r"TASK \d+ READY (\S+)", log_of(executor))) - {"default"}


@pytest.mark.parametrize("exec_mode", ["serverless", "regular"])
def test_an_app_is_a_category(make_executor, exec_mode):
    executor = make_executor(function_exec_mode=exec_mode)
    assert [executor.submit(first, None).result(60), executor.submit(second, None).result(60)] == [1, 2]
    assert executor.submit(second, {"category": "mine"}).result(60) == 2
    assert wait_until(lambda: {"first", "second", "mine"} <= categories_of(executor))


def test_without_autocategory_there_is_one(make_executor):
    executor = make_executor(manager_config=TaskVineManagerConfig(port=0, autocategory=False))
    assert executor.submit(first, None).result(60) == 1
    assert executor.submit(second, {"category": "mine"}).result(60) == 2
    assert wait_until(lambda: {"parsl-default", "mine"} <= categories_of(executor))
    assert not {"first", "second"} & categories_of(executor)


def test_autolabel_needs_a_process_for_each_call(make_executor):
    with pytest.raises(InvalidConfiguration, match="autolabel .* accepted: .*regular"):
        make_executor(manager_config=TaskVineManagerConfig(port=0, autolabel=True))


def test_autolabel_without_the_program_says_how_to_get_it(make_executor, monkeypatch):
    monkeypatch.setenv(RESOURCE_MONITOR_VARIABLE, "/no/such/resource_monitor")
    with pytest.raises(EngineStartError, match="conda install -c conda-forge ndcctools"):
        make_executor(function_exec_mode="regular", manager_config=TaskVineManagerConfig(port=0, autolabel=True))


def test_calls_that_are_measured_leave_their_worker_alone(make_executor, tmp_path, monkeypatch):
    """The measuring program is the parent of the call's process, in the place of the worker."""
    monitor = tmp_path / "resource_monitor"
    monitor.write_text(
        '#!/bin/sh\nfor command; do :; done\n/bin/sh -c "$command"\nstatus=$?\n'
        'echo "{}" > cctools-monitor.summary\nexit $status\n'
    )
    monitor.chmod(0o755)
    monkeypatch.setenv(RESOURCE_MONITOR_VARIABLE, str(monitor))
    manager_config = TaskVineManagerConfig(port=0, autolabel=True)
    executor = make_executor(function_exec_mode="regular", manager_config=manager_config)
    assert [executor.submit(first, None).result(60) for _ in range(2)] == [1] * 2
    assert executor.stats()["workers_joined"] == 1


@pytest.mark.parametrize(
    ("algorithm", "mode"), [("max", "MAX"), ("max-xput", "MAX_THROUGHPUT"), ("bucketing", "EXHAUSTIVE_BUCKETING")]
)
def test_autolabel_chooses_resources_from_what_was_measured(make_executor, algorithm, mode):
    try:
        find_resource_monitor()
    except EngineStartError as error:
        pytest.skip(str(error))
    executor = make_executor(
        function_exec_mode="regular",
        manager_config=TaskVineManagerConfig(port=0, autolabel=True, autolabel_algorithm=algorithm, autolabel_window=3),
    )
    assert [executor.submit(first, None).result(60) for _ in range(8)] == [1] * 8
    assert re.search(rf"CATEGORY first FIRST {mode} ", log_of(executor))
    assert re.search(r"RETRIEVED SUCCESS .*\"cpu_time\"", log_of(executor))
    if algorithm != "bucketing":
        assert re.search(rf"CATEGORY first FIRST {mode} {{\"memory\":\[\d+,\"MB\"\]", log_of(executor))
