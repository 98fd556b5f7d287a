"""What an executor finds in its books, of an engine that says what it is told to say."""

import errno
import os
import subprocess
import sys

import pytest

from tests.events.test_audit import Log
from vinefast import CallFuture
from vinefast.errors import AuditFailed
from vinefast.events.audit_wanted import VARIABLE, is_wanted
from vinefast.events.own_audit import OwnAudit


class Engine:
    n_cut_off = 0

    def __init__(self, n_calls=0, **left):
        self.n_calls = n_calls
        self.of_books = left

    def left(self):
        return self.of_books

    def stats(self):
        return {"calls_submitted": self.n_calls}


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "executor")
    log.begin()
    return log


@pytest.fixture
def audit(log):
    return OwnAudit("x", log.directory, f"{log.directory}/taskvine")


def run_call(audit, log, n_times=1):
    """Submit a call, which ends; the executor is shut down then."""
    future = CallFuture()
    audit.watched(lambda: future)()
    (callback,) = future._done_callbacks
    log.sent(1, [0])
    log.back(1, [0])
    log.end(1, 1)
    if n_times:
        future.set_result(None)
    for _ in range(n_times - 1):
        callback(future)
    return future


def found(audit, engine, what_is_left=()):
    with pytest.raises(AuditFailed) as raised:
        audit.check(lambda: engine, lambda: what_is_left)
    (breach,) = raised.value.breaches
    return breach


def warned(audit, engine, caplog):
    audit.check(lambda: engine, lambda: ())
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("", False), ("0", False), (None, False)])
def test_it_is_asked_for(monkeypatch, value, wanted):
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert is_wanted() is wanted


def test_nothing_is_found(audit, log, caplog):
    run_call(audit, log)
    assert warned(audit, Engine(1), caplog) == []
    audit.check(lambda: None, lambda: ())  # it never came to an engine


@pytest.mark.parametrize(
    ("n_times", "said"), [(0, "has no future that is done"), (2, "had its callbacks run more than once")]
)
def test_callbacks_once(audit, log, n_times, said):
    run_call(audit, log, n_times)
    assert found(audit, Engine(1)) == f"callbacks-once: call 0 {said}"


def test_callbacks_of_a_future_that_is_not_done(audit, log):
    future = run_call(audit, log, 0)
    future._done_callbacks[0](future)
    assert found(audit, Engine(1)) == "callbacks-once: call 0 had its callbacks run before its future was done"


def test_a_call_that_nobody_watched(audit, log, caplog):
    log.end(0, 0)
    engine = Engine(1)
    engine.n_cut_off = 1
    assert "1 calls were submitted by threads that were interrupted" in warned(audit, engine, caplog)[0]


def test_ends_that_the_log_does_not_have(audit, log):
    future = run_call(audit, log)
    del future
    engine = Engine(1)
    engine.n_cut_off = 1  # though it is in the log: it came at the last moment
    audit.check(lambda: engine, lambda: ())
    assert found(audit, Engine(0)) == "counters-agree: 0 calls came back, and the log has the ends of 1"


def test_what_is_left(audit, log):
    log.end(0, 0)
    assert found(audit, Engine(0, **{"outstanding calls": 2})) == "nothing-left: 2 outstanding calls"
    assert found(audit, Engine(), ["process 7 still runs"]) == "nothing-left: process 7 still runs"
    (log.path.parent / "key-abcdefgh").touch()
    assert found(audit, Engine()).endswith("key-abcdefgh is still there")
    another = OwnAudit("x", log.directory, "")  # which was there before
    another.check(Engine, lambda: ())


def without_descriptors(audit, caplog):
    def what_is_left():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    audit.check(Engine, what_is_left)
    return caplog.text


def test_what_cannot_be_told(audit, log, caplog):
    engine = Engine()
    engine.of_books = None
    assert [text.partition(": ")[2] for text in warned(audit, engine, caplog)] == [
        "the event log has no end",
        "a thread of the engine goes on, so that its books are still open",
    ]
    assert "cannot be seen: [Errno 24] Too many open files" in without_descriptors(audit, caplog)
    log.path.unlink()
    assert "There is no event log" in warned(audit, Engine(), caplog)[-1]
    another = OwnAudit("x", log.directory, "")
    assert "of another executor" in warned(audit, Engine(), caplog)[-1]
    del another


def test_a_program_that_wants_no_audit_does_not_import_it():
    """It brings NumPy, which takes as long as half of a start."""
    program = "import sys, vinefast; print(sorted({'numpy', 'vinefast.events.own_audit'} & sys.modules.keys()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert said.stdout == "[]\n", said
