"""Slots get new processes as the tune parameters say, and no call is lost by that."""

from __future__ import annotations

import os

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

_kept = []


def keep(mb):
    _kept.append(bytearray(b"x") * (mb << 20))
    return os.getpid()


def own_pid(i):
    return i, os.getpid()


@pytest.mark.parametrize("cores", [1, 2])
def test_after_so_many_calls(make_executor, cores):
    tuning = {"slot-max-calls": 20, "bundle-ms": 0}
    config = TaskVineManagerConfig(port=0, tune_parameters=tuning)
    executor = make_executor(manager_config=config, factory_config=TaskVineFactoryConfig(cores=cores))
    futures = [executor.submit(own_pid, {}, i) for i in range(400)]
    results = [future.result(60) for future in futures]
    assert [number for number, _ in results] == [*range(400)]
    # Each has run as many, but for those that were at work in the end, and those whose bundle had no calls.
    assert 400 // 20 <= len({pid for _, pid in results}) <= 400 // 20 + 2


def test_for_growth(make_executor):
    config = TaskVineManagerConfig(port=0, tune_parameters={"slot-max-growth": "50MB"})
    executor = make_executor(manager_config=config, factory_config=TaskVineFactoryConfig(cores=1))
    pids = [executor.submit(keep, {}, 20).result(60) for _ in range(12)]
    assert 1 < len({*pids}) < 8
