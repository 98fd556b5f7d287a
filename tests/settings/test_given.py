"""What an executor was given, before its start: that alone, on one line."""

import functools

from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.monitoring.radios.udp import UDPRadio
from parsl.providers import LocalProvider

from vinefast import Tuning, VineFastExecutor


def test_nothing_was_chosen():
    assert repr(VineFastExecutor()) == "<VineFastExecutor 'VineFastExecutor': not started>"
    config = TaskVineManagerConfig(port=0)
    assert repr(VineFastExecutor("x", manager_config=config)) == "<VineFastExecutor 'x': not started>"


def test_what_was_chosen():
    executor = VineFastExecutor(
        label="x",
        worker_launch_method="provider",
        manager_config=TaskVineManagerConfig(port=9123, shared_fs=True, tune_parameters=Tuning(slice_ms=7)),
        factory_config=TaskVineFactoryConfig(cores=2),
        provider=LocalProvider(init_blocks=3),
        context=functools.partial(dict, a=1),
        remote_monitoring_radio=UDPRadio(address="127.0.0.1"),
        capture_output=True,
    )
    shown = repr(executor)
    assert "\n" not in shown and len(shown) < 800
    for part in (
        "worker_launch_method='provider'",
        "manager_config=TaskVineManagerConfig(port=9123, shared_fs=True, tune_parameters=Tuning(",
        "factory_config=TaskVineFactoryConfig(cores=2)",
        "provider=LocalProvider(",
        "init_blocks=3",
        "context=functools.partial(<class 'dict'>, a=1)",
        "UDPRadio",
        "capture_output=True",
    ):
        assert part in shown
    assert "function_exec_mode" not in shown and "None" not in shown.partition("provider=LocalProvider(")[0]


def test_a_class_of_the_users_own():
    class Mine(VineFastExecutor):
        def __init__(self, color, *args, **kwargs):
            super().__init__(*args, **kwargs)

    assert repr(Mine("red", ssl=True)).startswith("<Mine 'VineFastExecutor': not started")
