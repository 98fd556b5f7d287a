"""Through Parsl itself, with each way to launch workers and both modes."""

import shutil

import parsl
import pytest
from parsl.app.errors import BashExitFailure
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.providers import LocalProvider

from tests.helpers.processes import command_by_hand, left_of, start_by_hand
from tests.helpers.waiting import wait_until
from vinefast import VineFastExecutor


@parsl.python_app
def add(a, b):
    return a + b


@parsl.python_app
def divide(a, b):
    return a / b


@parsl.bash_app
def shell(text, stdout=None):
    return f"echo {text}; test {text} != fail"


@parsl.python_app
def where():
    import os

    return os.getcwd(), os.environ.get("PARSL_WORKER_BLOCK_ID"), os.getpid()


def exercise():
    """Apps that depend on each other, fail, and run shell commands."""
    futures = [add(i, i) for i in range(100)]
    total = futures[0]
    for future in futures[1:]:
        total = add(total, future)
    assert total.result(60) == sum(2 * i for i in range(100))
    with pytest.raises(ZeroDivisionError):
        divide(1, 0).result(60)
    with pytest.raises(parsl.dataflow.errors.DependencyError):
        add(divide(1, 0), 1).result(60)


def test_without_any_argument(load, tmp_path):
    load()
    exercise()
    assert shell("fine", stdout=str(tmp_path / "out")).result(60) == 0
    assert (tmp_path / "out").read_text() == "fine\n"
    with pytest.raises(BashExitFailure):
        shell("fail").result(60)


def test_local_provider(load):
    executor = load(worker_launch_method="provider", provider=LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2))
    exercise()
    assert wait_until(lambda: executor.stats()["workers_connected"] == 2)
    assert where().result(60)[1] in ("0", "1")


@pytest.mark.skipif(shutil.which("ps") is None, reason="Parsl's LocalProvider calls ps to cancel a block")
def test_provider_block_can_be_scaled_in(load):
    executor = load(worker_launch_method="provider", provider=LocalProvider(init_blocks=1, min_blocks=0, max_blocks=1))
    assert add(1, 2).result(60) == 3
    executor.scale_in_facade(1)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 0, 20)
    executor.scale_out_facade(1)
    assert add(3, 4).result(60) == 7


def test_manual(load, tmp_path):
    executor = load(worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0))
    future = add(1, 2)
    worker = start_by_hand(command_by_hand(executor), tmp_path)
    try:
        assert future.result(60) == 3
        exercise()
    finally:
        parsl.dfk().cleanup()
        worker.terminate()  # started by hand, it would wait for another manager
        worker.wait(20)


def test_factory_with_two_workers(load):
    executor = load(factory_config=TaskVineFactoryConfig(min_workers=2, max_workers=2, cores=1, memory=500, disk=500))
    exercise()
    assert wait_until(lambda: executor.stats()["workers_connected"] == 2, 40)
    assert wait_until(lambda: executor.stats()["slots"] == 2)


def test_regular_mode_is_a_fresh_process_each(load):
    load(function_exec_mode="regular")
    pids = [future.result(60)[2] for future in [where() for _ in range(6)]]
    assert len(set(pids)) == 6
    with pytest.raises(ZeroDivisionError):
        divide(1, 0).result(60)


def test_several_slots_and_resources(load):
    executor = load(
        manager_config=TaskVineManagerConfig(
            port=0,
            library_config={"num_slots": 3, "cores": 1, "memory": 200, "disk": 200},
            env_vars={"GREETING": "hello"},
        ),
        factory_config=TaskVineFactoryConfig(cores=1, memory=500, disk=500),
    )

    @parsl.python_app
    def greeting():
        import os

        return os.environ["GREETING"]

    assert greeting().result(60) == "hello"
    assert wait_until(lambda: executor.stats()["slots"] == 3)


def test_init_command(load, tmp_path):
    load(
        manager_config=TaskVineManagerConfig(port=0, init_command=f"export FROM_INIT=yes; echo once >> {tmp_path}/log")
    )

    @parsl.python_app
    def from_init():
        import os

        return os.environ["FROM_INIT"]

    assert [from_init().result(60) for _ in range(3)] == ["yes"] * 3
    assert (tmp_path / "log").read_text() == "once\n"


def test_retries_of_parsl(load, tmp_path):
    load({"retries": 2})

    @parsl.python_app
    def third_time(path):
        import os

        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            os._exit(1)
        return "lucky"

    assert third_time(str(tmp_path / "tries")).result(60) == "lucky"


def test_two_executors_at_once(mark, tmp_path):
    executors = [VineFastExecutor(label="one"), VineFastExecutor(label="two")]
    with parsl.load(parsl.Config(executors=executors, run_dir=str(tmp_path / "runinfo"))):

        @parsl.python_app(executors=["one"])
        def first():
            return 1

        @parsl.python_app(executors=["two"])
        def second():
            return 2

        assert [first().result(60), second().result(60)] == [1, 2]
    parsl.clear()
    assert not left_of(mark)


def test_priority(load):
    """TaskVine's order: a higher number goes first."""
    executor = load()
    assert add(0, 0).result(60) == 0

    def nap(seconds, value):
        import time

        time.sleep(seconds)
        return value

    order = []
    futures = []
    for priority, n in ((0, 30), (5, 10)):
        for _ in range(n):
            future = executor.submit(nap, {"priority": priority}, 0.05, priority)
            future.add_done_callback(lambda f: order.append(f.result()))
            futures.append(future)
    for future in futures:
        future.result(60)
    places = {priority: [i for i, done in enumerate(order) if done == priority] for priority in (0, 5)}
    assert sum(places[5]) / 10 < sum(places[0]) / 30
