"""Warnings about what calls may wait for in vain, at a workplace made up."""

import errno
import resource
import time

import pytest

from vinefast import patience
from vinefast.resources import CallSpec

INTERVAL_S = 0.05


class Engine:
    """Workers and specifications as a test wants them."""

    def __init__(self, workers=1):
        self.workers = workers
        self.specs = []
        self.accept_errno = 0

    def stats(self):
        most = {"max_cores": 2, "max_memory": 500, "max_disk": 900, "max_gpus": 0}
        return {"workers_connected": self.workers, "accept_errno": self.accept_errno, **most}

    def specifications(self):
        return list(self.specs)


class Launcher:
    def diagnosis(self):
        return "Look at the log"


@pytest.fixture
def watch(monkeypatch):
    """Let somebody watch an engine for some intervals."""
    monkeypatch.setattr(patience, "_PATIENCE_S", INTERVAL_S)
    watching = []

    def watch(engine, strict=True):
        if not watching:
            watching.append(patience.Patience("melting", strict, engine, Launcher()))
            watching[0].start()
        time.sleep(6 * INTERVAL_S)

    yield watch
    watching[0].stop()
    assert not watching[0]._thread.is_alive()


def test_absent_workers_are_complained_about_once(watch, caplog):
    engine = Engine(workers=0)
    engine.specs.append(CallSpec(cores=64.0))
    watch(engine)
    (record,) = caplog.records
    assert "No worker has come to executor melting" in record.getMessage()
    assert "Look at the log" in record.getMessage()


def test_each_call_that_is_too_large_is_named_once(watch, caplog):
    engine = Engine()
    engine.specs += [CallSpec(cores=64.0, memory=400, gpus=1), CallSpec(cores=2.0, disk=900), CallSpec(priority=9.0)]
    watch(engine)
    (record,) = caplog.records
    assert "ask for cores=64, gpus=1," in record.getMessage()
    assert "a connected worker has is cores=2, gpus=0" in record.getMessage()
    assert "wait for a larger one" in record.getMessage()
    engine.specs.append(CallSpec(memory=501))
    watch(engine)
    assert [record.getMessage().count("memory=501") for record in caplog.records] == [0, 1]


def test_calls_that_run_in_a_slot_all_the_same_do_not_wait(watch, caplog):
    engine = Engine()
    engine.specs.append(CallSpec(gpus=1))
    watch(engine, strict=False)
    (record,) = caplog.records
    assert record.getMessage().endswith("gpus=0")


def test_workers_that_find_no_descriptor_are_told_of_once_and_what_to_raise(watch, caplog):
    engine = Engine()
    engine.accept_errno = errno.EMFILE
    watch(engine)
    (record,) = caplog.records
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert f"as many files open as it may, {soft}," in record.getMessage()
    assert f"Raise the hard limit, which is {hard}" in record.getMessage() and "LimitNOFILE=" in record.getMessage()
