"""What calls may wait for in vain, at a workplace made up."""

import errno
import os
import resource
import signal
import threading
import time

import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast import _teardown
from vinefast._build_info import TASKVINE_VERSION
from vinefast._core import PROTOCOL
from vinefast.settings.resources import CallSpec
from vinefast.workers import watchdog

LOGS = {"log_errno": "/logs", "event_log_errno": "/run"}


class Engine:
    """Workers and specifications as a test wants them; what is too large has been so for some seconds."""

    def __init__(self, workers=1):
        self.workers = workers
        self.accept_errno = 0
        self.log_errno = self.event_log_errno = 0
        self.max_disk = 900
        self.lost = dict.fromkeys(watchdog.LOST, 0)
        self.foreign = []
        self.waiting = {}
        self.refused = []
        self.looks = threading.Semaphore(0)

    def stats(self):
        self.looks.release()
        most = {"usable_cores": 2, "usable_memory": 500, "usable_disk": 900, "usable_gpus": 0}
        known = {"workers_connected": self.workers, "accept_errno": self.accept_errno}
        known |= {"log_errno": self.log_errno, "event_log_errno": self.event_log_errno, "max_disk": self.max_disk}
        return {**known, **self.lost, **(most if self.workers else dict.fromkeys(most, 0))}

    def foreign_workers(self):
        return list(self.foreign)

    def finishing_s(self):
        return 0.0

    def too_large(self, seconds):
        return [spec for spec, waited_s in list(self.waiting.items()) if waited_s >= seconds]

    def refuse(self, specifications, make_exception):
        for spec in specifications:
            del self.waiting[spec]
            self.refused.append(make_exception(spec))


class Launcher:
    def __init__(self, fixed=False, **fields):
        self.fixed = fixed
        self.config = TaskVineFactoryConfig(**fields)

    def diagnosis(self):
        return "Look at the log"


@pytest.fixture
def watch(monkeypatch):
    """Let somebody watch an engine, and wait until he has looked at all that there is."""
    for name in ("_LOOK_S", "_NO_WORKER_S"):
        monkeypatch.setattr(watchdog, name, 0.01)
    monkeypatch.setattr(watchdog, "_TOO_LARGE_S", 0.0)
    watching = {}

    def watch(engine, strict=True, launcher=None, timeout_s=600):
        if engine not in watching:
            watching[engine] = watchdog.Watchdog("melting", strict, engine, launcher or Launcher(), timeout_s, LOGS)
            watching[engine].start()
        for _ in range(6):
            assert engine.looks.acquire(timeout=10)
        return watching[engine]

    yield watch
    for one in watching.values():
        one.stop()
        assert not one._thread.is_alive()


def test_absent_workers_are_complained_about_once(watch, caplog):
    engine = Engine(workers=0)
    watch(engine)
    watch(engine)
    (record,) = caplog.records
    assert "No worker has come to executor melting" in record.getMessage()
    assert "Look at the log" in record.getMessage()


def test_a_launcher_that_cannot_say_why_leaves_the_rest_to_be_watched(watch, caplog):
    class Speechless(Launcher):
        def diagnosis(self):
            raise AttributeError("no jobs")

    engine = Engine(workers=0)
    watch(engine, launcher=Speechless())
    engine.lost["joins_wrong_password"] = 1
    watch(engine)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("Why is not known: AttributeError('no jobs')") and "with another password" in second


def test_workers_without_a_megabyte_of_disk_are_told_of_once(watch, caplog):
    engine = Engine()
    watch(engine)
    assert not caplog.records
    engine.max_disk = 0
    watch(engine)
    watch(engine)
    (record,) = caplog.records
    assert "No worker of executor melting has a megabyte of disk" in record.getMessage()
    assert "factory_config.scratch_dir or TMPDIR" in record.getMessage()


def test_what_is_too_large_is_named_once(watch, caplog):
    engine = Engine()
    engine.waiting[CallSpec(cores=64.0, memory=400, gpus=1)] = 5
    engine.waiting[CallSpec(cores=64.0, memory=400, gpus=1, priority=3.0)] = 5
    watch(engine)
    (record,) = caplog.records
    assert "ask for cores=64, gpus=1," in record.getMessage()
    assert "a connected worker has is cores=2, gpus=0" in record.getMessage()
    assert "wait for a larger one" in record.getMessage()
    engine.waiting[CallSpec(memory=501)] = 5
    watch(engine)
    assert [record.getMessage().count("memory=501") for record in caplog.records] == [0, 1]
    assert not engine.refused


def test_no_worker_has_all_of_what_each_has_some_of(watch, caplog):
    engine = Engine()
    engine.waiting[CallSpec(cores=2.0, memory=500)] = 5
    watch(engine)
    (record,) = caplog.records
    assert "ask for cores=2, memory=500, but" in record.getMessage()


def test_calls_that_run_in_a_slot_all_the_same_do_not_wait(watch, caplog):
    engine = Engine()
    watch(engine, strict=False).meet(CallSpec(gpus=1))
    watch(engine)
    (record,) = caplog.records
    assert record.getMessage().endswith("gpus=0")


def test_a_call_may_be_submitted_while_it_looks_at_those_before(watch, monkeypatch, caplog):
    engine = Engine()
    watcher = watch(engine, strict=False)
    watcher.meet(CallSpec(gpus=1))
    short, met = watchdog._short, iter(range(3, 6))

    def meet_another(specification, most):
        for gpus in met:
            watcher.meet(CallSpec(gpus=gpus))  # as another thread does, whose turn may come at any line
            break
        return short(specification, most)

    monkeypatch.setattr(watchdog, "_short", meet_another)
    watcher.meet(CallSpec(gpus=2))
    watch(engine)
    watch(engine)
    assert watcher._thread.is_alive()
    assert {text.partition("gpus=")[2][0] for text in caplog.messages} == {"1", "2", "3", "4", "5"}


def test_workers_that_find_no_descriptor_are_told_of_once_and_what_to_raise(watch, caplog):
    engine = Engine()
    engine.accept_errno = errno.EMFILE
    watch(engine)
    (record,) = caplog.records
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert f"as many files open as it may, {soft}," in record.getMessage()
    assert f"Raise the hard limit, which is {hard}" in record.getMessage() and "LimitNOFILE=" in record.getMessage()


@pytest.mark.parametrize(("name", "words"), [("joins_without_ssl", "without TLS"), ("joins_with_ssl", "with TLS")])
def test_workers_that_speak_otherwise_are_told_of_once(watch, caplog, name, words):
    engine = Engine()
    engine.lost[name] = 3
    watch(engine)
    (record,) = caplog.records
    assert f"A worker {words} has come to executor" in record.getMessage() and "--ssl" in record.getMessage()
    assert getattr(record, "parsl.executor") == "melting"


@pytest.mark.parametrize(
    ("name", "words", "way_out"),
    [
        ("joins_wrong_password", "with another password, or none,", "'vinefast worker'"),
        ("joins_with_password", "with a password", "without the option --password"),
    ],
)
def test_workers_that_are_sent_away_are_told_of_once(watch, caplog, name, words, way_out):
    engine = Engine()
    engine.lost[name] = 1
    watch(engine)
    engine.lost[name] = 2
    watch(engine)
    (record,) = caplog.records
    assert f"A worker {words} has come to executor" in record.getMessage() and way_out in record.getMessage()


def test_each_host_with_workers_of_another_protocol_is_told_of_once_with_both_versions(watch, caplog):
    engine = Engine()
    engine.foreign.append(("node1", 99, "9.9.9"))
    watch(engine)
    engine.foreign.append(("", -1, ""))
    watch(engine)
    watch(engine)
    known, unknown = caplog.messages
    assert "of another release of TaskVine has come to executor melting" in known
    assert "vine_worker 9.9.9 on node1 speaks version 99 of TaskVine's protocol" in known
    assert f"the manager, of TaskVine {TASKVINE_VERSION}, version {PROTOCOL}. Start vine_worker of" in known
    assert "vine_worker on a host without a name speaks version -1" in unknown


def test_logs_that_cannot_be_written_are_told_of_once_with_directory_and_reason(watch, caplog):
    engine = Engine()
    engine.log_errno = errno.ENOSPC
    watch(engine)
    engine.log_errno = errno.EDQUOT
    watch(engine)
    (record,) = caplog.records
    assert "melting cannot be written in /logs: No space left on device. Calls go on" in record.getMessage()


def test_an_event_log_that_cannot_be_written_is_told_of_once(watch, caplog):
    engine = Engine()
    engine.event_log_errno = errno.EMFILE
    watch(engine)
    engine.event_log_errno = errno.ENOSPC
    watch(engine)
    (record,) = caplog.records
    assert "The event log of executor melting cannot be written in /run: Too many open files" in record.getMessage()


def test_a_disk_that_is_full_is_told_of_once(watch, caplog):
    engine = Engine()
    engine.event_log_errno = engine.log_errno = errno.ENOSPC
    watch(engine)
    assert len(caplog.records) == 1


def test_logs_that_cannot_be_written_in_the_last_moment_are_told_of(caplog):
    engine = Engine()
    engine.log_errno = errno.ENOENT
    watcher = watchdog.Watchdog("melting", True, engine, Launcher(), 600, LOGS)
    watcher.start()
    watcher.stop()
    (record,) = caplog.records
    assert "cannot be written in /logs: No such file or directory" in record.getMessage()


def test_where_larger_workers_may_come_calls_fail_in_the_end(watch):
    engine = Engine()
    engine.waiting |= {CallSpec(cores=3.0): 599, CallSpec(cores=4.0): 600}
    watch(engine).meet(CallSpec(cores=5.0))
    (error,) = engine.refused
    assert isinstance(error, InvalidResourceSpecification) and error.invalid_keys == {"cores"}
    for words in ("cores=4", "600 s", "cores=2", "larger-worker-timeout"):
        assert words in str(error)


def test_calls_may_wait_for_ever(watch):
    engine = Engine()
    engine.waiting[CallSpec(cores=3.0)] = 1e9
    watch(engine, timeout_s=0)
    assert not engine.refused


def test_where_no_larger_worker_can_come_calls_fail_at_once(watch):
    engine = Engine()
    engine.waiting |= {CallSpec(cores=3.0, memory=500): 0, CallSpec(disk=901): 0}
    one = watch(engine, launcher=Launcher(fixed=True))
    (error,) = engine.refused
    assert "cores=3" in str(error) and "cores=2" in str(error) and "memory" not in str(error)
    one.meet(CallSpec(cores=2.0, memory=500))
    with pytest.raises(InvalidResourceSpecification, match="asks for memory=20000000,"):
        one.meet(CallSpec(memory=20_000_000))
    one.meet(CallSpec(disk=901))  # somebody may make room there
    with pytest.raises(InvalidResourceSpecification, match="gpus=1.*gpus=0.*factory_config") as caught:
        one.meet(CallSpec(gpus=1))
    assert caught.value.invalid_keys == {"gpus"}


def test_a_disk_of_a_given_size_does_not_grow(watch):
    engine = Engine()
    one = watch(engine, launcher=Launcher(fixed=True, disk=900))
    with pytest.raises(InvalidResourceSpecification, match="disk=901"):
        one.meet(CallSpec(disk=901))


def test_nobody_knows_what_workers_have_before_they_come(watch):
    engine = Engine(workers=0)
    watch(engine, launcher=Launcher(fixed=True)).meet(CallSpec(gpus=1))
    assert not engine.refused


def test_who_calls_back_for_ever_does_not_hold_up_the_end(watch, monkeypatch, caplog):
    monkeypatch.setattr(_teardown, "_JOIN_S", 0.1)
    called, go_on = threading.Event(), threading.Event()

    class Refusing(Engine):
        def refuse(self, specifications, make_exception):
            super().refuse(specifications, make_exception)
            called.set()
            assert go_on.wait(30)

    engine = Refusing()
    engine.waiting[CallSpec(cores=64.0)] = 700
    watcher = watchdog.Watchdog("melting", True, engine, Launcher(), 600, LOGS)
    watcher.start()
    assert called.wait(30)
    watcher.stop()
    assert "vinefast-watchdog" in caplog.text
    go_on.set()
    watcher.stop()
    watcher._thread.join(30)
    assert not watcher._thread.is_alive()


def test_in_a_child_that_a_callback_forks_nobody_watches(watch):
    children, forked = [], threading.Event()

    class Forking(Engine):
        def refuse(self, specifications, make_exception):
            super().refuse(specifications, make_exception)
            pid = os.fork()
            if pid:
                children.append(pid)
                forked.set()

    engine = Forking()
    engine.waiting[CallSpec(cores=64.0)] = 700
    watch(engine)
    assert forked.wait(30)
    for _ in range(1000):
        pid, status = os.waitpid(children[0], os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    else:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
    assert pid and status == 0


def test_one_that_never_began_can_be_ended():
    watchdog.Watchdog("melting", True, Engine(), Launcher(), 600, LOGS).stop()
