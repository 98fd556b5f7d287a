"""Parsl's monitoring: what a run leaves in the database, with each radio, and what the wrappers cost."""

import os
import platform
import signal
import sqlite3
from datetime import datetime

import parsl
import psutil
import pytest
from parsl.app.errors import AppTimeout
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.monitoring import MonitoringHub
from parsl.monitoring.radios.filesystem import FilesystemRadio
from parsl.monitoring.radios.udp import UDPRadio
from parsl.monitoring.remote import monitor_wrapper
from parsl.providers import LocalProvider
from parsl.tests.test_monitoring.test_basic import row_counts_parametrized

from tests.helpers.processes import left_of
from tests.helpers.waiting import wait_until
from vinefast import VineFastExecutor

RADIOS = {"filesystem": FilesystemRadio, "udp": lambda: UDPRadio(address="localhost", atexit_timeout=0)}


@parsl.python_app
def double(x, walltime=None):
    return 2 * x


@parsl.python_app
def nap(seconds, walltime=None):
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)  # an exception from another thread comes between two of these


@parsl.python_app
def fail():
    raise ValueError("on purpose")


@parsl.python_app
def children():
    import multiprocessing
    import os

    import psutil

    return len(multiprocessing.active_children()), [child.name() for child in psutil.Process(os.getpid()).children()]


@parsl.python_app
def worker_of_call():
    import os

    import psutil

    library = psutil.Process(os.getppid())
    return library.ppid()


@parsl.python_app
def tidy(walltime=0.5):
    import time

    try:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.05)  # Parsl's own timer would strike here
            time.sleep(0.2)
            return "tidied"
    except BaseException as error:
        return repr(error)


@pytest.fixture
def monitored(mark, tmp_path):
    """Make configurations whose runs leave nothing behind."""

    def make(executor, **hub):
        hub = MonitoringHub(logging_endpoint=f"sqlite:///{tmp_path}/monitoring.db", **hub)
        return parsl.Config(
            executors=[executor],
            monitoring=hub,
            run_dir=str(tmp_path / "runinfo"),
            usage_tracking=0,
            strategy_period=0.2,
        )

    yield make
    parsl.clear()
    assert not left_of(mark)


@pytest.fixture
def query(tmp_path):
    def query(statement):
        with sqlite3.connect(tmp_path / "monitoring.db") as database:
            database.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in database.execute(statement)]
            except sqlite3.OperationalError:
                return []  # Parsl has not made the table yet

    return query


def in_one_block(**arguments):
    return VineFastExecutor(
        worker_launch_method="provider",
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        **arguments,
    )


def test_every_table(monitored, query):
    with parsl.load(monitored(in_one_block(label="vines"), resource_monitoring_interval=0.2)) as dfk:
        assert [future.result(60) for future in [double(i) for i in range(5)]] == [0, 2, 4, 6, 8]
        nap(1).result(60)
        with pytest.raises(ValueError):
            fail().result(60)

    (workflow,) = query("select * from workflow")
    assert (workflow["tasks_completed_count"], workflow["tasks_failed_count"]) == (6, 1)
    assert workflow["time_completed"]

    tasks = query("select * from task order by task_id")
    assert [task["task_func_name"] for task in tasks] == ["double"] * 5 + ["nap", "fail"]
    assert all(task["task_time_returned"] for task in tasks)

    tries = query("select * from try order by task_id")
    assert len(tries) == 7
    for row in tries:
        assert (row["task_executor"], row["block_id"], row["hostname"]) == ("vines", "0", platform.node())
        assert row["task_try_time_launched"] < row["task_try_time_running"] < row["task_try_time_returned"]
    assert "on purpose" in tries[6]["task_fail_history"]

    for task in tasks:
        states = query(f"select * from status where task_id = {task['task_id']} order by timestamp")
        names = [state["task_status_name"] for state in states]
        assert {"pending", "launched", "running", "running_ended"} < set(names)
        assert names.count("running") == names.count("running_ended") == 1
        assert names[-1] == ("failed" if task["task_func_name"] == "fail" else "exec_done")

    assert len(query("select distinct task_id from resource")) == 7
    # Its first, its last, and every 0.2 s of its second.
    samples = query("select * from resource where task_id = 5 order by timestamp")
    assert len(samples) >= 4
    assert all(sample["psutil_process_memory_resident"] > 1e6 for sample in samples)

    blocks = query("select * from block order by timestamp")
    assert len(blocks) >= 2
    assert {(block["executor_label"], block["block_id"]) for block in blocks} == {("vines", "0")}
    assert {block["run_id"] for block in blocks} == {dfk.run_id}

    joined, left = query("select * from node order by id")
    assert (joined["active"], left["active"]) == (1, 0)
    assert joined["timestamp"] < left["timestamp"]
    assert joined["uid"] == left["uid"]
    for row in (joined, left):
        assert (row["run_id"], row["hostname"], row["block_id"]) == (dfk.run_id, platform.node(), "0")
        assert row["python_v"] == platform.python_version()
        assert row["cpu_count"] == row["worker_count"] == psutil.cpu_count()
        assert row["total_memory"] == psutil.virtual_memory().total


def test_without_measuring_resources_each_try_has_its_node_and_times(monitored, query):
    """Parsl wraps no app then, and with another executor nobody would know."""
    config = monitored(in_one_block(label="vines"), resource_monitoring_enabled=False)
    config.retries = 1
    with parsl.load(config):
        assert [future.result(60) for future in [double(i) for i in range(50)]] == [2 * i for i in range(50)]
        nap(0.5).result(60)
        with pytest.raises(ValueError):
            fail().result(60)

    tries = query("select * from try order by task_id, try_id")
    assert [(row["task_id"], row["try_id"]) for row in tries] == [(i, 0) for i in range(52)] + [(51, 1)]
    for row in tries:
        assert (row["block_id"], row["hostname"]) == ("0", platform.node())
        assert row["task_try_time_launched"] < row["task_try_time_running"] < row["task_try_time_returned"]
    for name in ("running", "running_ended"):
        states = query(f"select * from status where task_status_name = '{name}' order by task_id, try_id")
        assert [(row["task_id"], row["try_id"]) for row in states] == [(row["task_id"], row["try_id"]) for row in tries]
    began, ended = query(
        "select * from status where task_id = 50 and task_status_name like 'running%' order by timestamp"
    )
    assert (began["task_status_name"], ended["task_status_name"]) == ("running", "running_ended")
    ran = datetime.fromisoformat(ended["timestamp"]) - datetime.fromisoformat(began["timestamp"])
    assert ran.total_seconds() >= 0.5
    assert not query("select * from resource")


@pytest.mark.parametrize(
    "arguments",
    [
        {"function_exec_mode": "regular"},
        {
            "manager_config": TaskVineManagerConfig(
                port=0, library_config={"num_slots": 3, "cores": 1, "memory": 200, "disk": 200}
            )
        },
    ],
    ids=["regular", "several_libraries"],
)
def test_nodes_where_taskvine_places_calls(monitored, query, arguments):
    factory_config = TaskVineFactoryConfig(min_workers=2, max_workers=2, cores=1, memory=500, disk=500)
    executor = VineFastExecutor(factory_config=factory_config, **arguments)
    with parsl.load(monitored(executor, resource_monitoring_enabled=False)):
        assert double(1).result(60) == 2
        assert wait_until(lambda: len(query("select * from node")) == 2, 30)
    rows = query("select * from node order by id")
    assert [row["active"] for row in rows] == [1, 1, 0, 0]
    assert len({row["uid"] for row in rows}) == 2
    assert {row["worker_count"] for row in rows} == {1 if "function_exec_mode" in arguments else 3}
    (call,) = query("select * from try")
    assert (call["hostname"], call["block_id"]) == (platform.node(), None)
    assert call["task_try_time_launched"] < call["task_try_time_running"] < call["task_try_time_returned"]


def test_a_lost_worker_leaves_and_another_joins(monitored, query):
    executor = VineFastExecutor()
    with parsl.load(monitored(executor, resource_monitoring_enabled=False)):
        os.kill(worker_of_call().result(60), signal.SIGKILL)
        assert wait_until(lambda: executor.stats()["workers_joined"] == 2)
        assert double(1).result(60) == 2
    rows = query("select * from node order by id")
    assert [row["active"] for row in rows] == [1, 0, 1, 0]
    assert [row["uid"] for row in rows] == [rows[0]["uid"]] * 2 + [rows[2]["uid"]] * 2


@pytest.mark.parametrize("radio", RADIOS)
def test_row_counts_of_parsl(mark, tmp_path, monkeypatch, radio):
    """What Parsl's own suite asks of each executor."""
    monkeypatch.chdir(tmp_path)

    def config():
        return parsl.Config(
            executors=[in_one_block(remote_monitoring_radio=RADIOS[radio]())],
            strategy_period=0.5,
            monitoring=MonitoringHub(resource_monitoring_interval=1),
        )

    row_counts_parametrized(tmp_path, config)
    parsl.clear()
    assert not left_of(mark)


def test_light_monitoring_starts_no_process(monitored, query):
    with parsl.load(monitored(VineFastExecutor(), resource_monitoring_interval=0)):
        assert children().result(60) == (0, [])
    assert [row["hostname"] for row in query("select * from try")] == [platform.node()]
    assert not query("select * from resource")


def test_a_monitored_function_is_serialized_once(monitored):
    executor = VineFastExecutor(remote_monitoring_radio=RADIOS["udp"]())
    with parsl.load(monitored(executor, resource_monitoring_interval=0)):
        assert [future.result(60) for future in [double(i) for i in range(1000)]] == [2 * i for i in range(1000)]
        assert executor.stats()["functions_serialized"] == 1
        assert double(1, walltime=30).result(60) == 2
        assert double(2, walltime=30).result(60) == 4
        assert executor.stats()["functions_serialized"] == 1  # it travels without its timer


def test_a_function_with_a_walltime_is_serialized_once(mark, tmp_path):
    executor = VineFastExecutor()
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(tmp_path), usage_tracking=0)):
        futures = [double(i, walltime=30) for i in range(1000)]
        assert [future.result(60) for future in futures] == [2 * i for i in range(1000)]
        assert executor.stats()["functions_serialized"] == 1
        late, in_time = nap(30, walltime=0.3), nap(0.01, walltime=30)
        with pytest.raises(AppTimeout):
            late.result(60)
        assert in_time.result(60) is None
        assert executor.stats()["functions_serialized"] == 2  # they travel without their timers
    parsl.clear()
    assert not left_of(mark)


def test_wrappers_around_different_things_are_different(executor, tmp_path):
    """Of what a wrapper holds, anything may be what makes the difference."""
    before = executor.stats()["functions_serialized"]

    def monitored(f, run_id):
        f, args, kwargs = monitor_wrapper(
            f=f,
            args=(2,),
            kwargs={},
            x_try_id=0,
            x_task_id=0,
            radio_config=radio,
            run_id=run_id,
            logging_level=20,
            sleep_dur=0,
            monitor_resources=False,
            run_dir=str(tmp_path),
        )
        return executor.submit(f, {}, *args, **kwargs).result(30)

    radio = FilesystemRadio()
    radio.run_dir = str(tmp_path)
    apps = [lambda x: 2 * x, lambda x: 3 * x]
    assert [monitored(f, run_id) for f in apps for run_id in ("a", "b", "a")] == [4, 4, 4, 6, 6, 6]
    assert executor.stats()["functions_serialized"] - before == 4


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_an_app_that_tidies_up_is_not_interrupted_again(monitored, mode):
    with parsl.load(monitored(VineFastExecutor(function_exec_mode=mode), resource_monitoring_interval=0.2)):
        assert [future.result(60) for future in [tidy() for _ in range(4)]] == ["tidied"] * 4
