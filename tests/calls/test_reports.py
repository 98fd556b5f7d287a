"""Where and when calls ran, as it is told to Parsl's monitoring."""

import json
import logging
from functools import partial

import pytest
from parsl.dataflow.dflow import DataFlowKernel
from parsl.monitoring.message_type import MessageType

from vinefast._core import CallFuture
from vinefast.calls import reports
from vinefast.calls.reports import CallReports

ABOUT = json.dumps({"uid": "abc", "hostname": "node7", "block_id": "3"}).encode()


class Radio:
    def __init__(self, error=None):
        self.sent = []
        self.error = error

    def send(self, message):
        if self.error:
            raise self.error
        kind, row = message
        if kind is MessageType.WORKER_TASK_INFO:
            self.sent.append(row)


class Hub:
    def __init__(self, measures):
        self.resource_monitoring_enabled = measures


class Kernel(DataFlowKernel):
    """One that has not begun, and will not."""

    def __init__(self, measures=False):
        self.run_id = "run"
        self.monitoring = Hub(measures)


def call_of_parsl(task=5, try_id=1, kernel=None):
    call = CallFuture()
    record = {"id": task, "try_id": try_id, "fail_cost": 0, "status": None}
    call.add_done_callback(partial((kernel or Kernel()).handle_exec_update, record))
    return call


def numbered(n):
    """Calls as an executor numbers them; those of no executor have no numbers."""
    return [type("Numbered", (CallFuture,), {"parsl_executor_task_id": number})() for number in range(1, n + 1)]


def told(radio):
    return [(row["task_id"], row["try_id"], row["first_msg"], row["hostname"], row["block_id"]) for row in radio.sent]


def test_a_call_has_two_messages_by_the_clock_of_this_machine(monkeypatch):
    radio = Radio()
    told_of = CallReports("vines", radio, "run", True)
    told_of.note_node(ABOUT, 4, True, 1)
    monkeypatch.setattr(reports.time, "time_ns", lambda: 1_700_000_000 * 10**9)
    monkeypatch.setattr(reports.time, "monotonic_ns", lambda: 100 * 10**9)
    told_of.note_calls(1, 2, 77, [(call_of_parsl(), 90 * 10**9, 95 * 10**9)])
    assert told(radio) == [(5, 1, True, "node7", "3"), (5, 1, False, "node7", "3")]
    assert [row["timestamp"].timestamp() for row in radio.sent] == [1_699_999_990, 1_699_999_995]
    assert [row["last_msg"] for row in radio.sent] == [False, True]
    assert {row["run_id"] for row in radio.sent} == {"run"}


def test_calls_wait_for_their_node():
    radio = Radio()
    told_of = CallReports("vines", radio, "run", True)
    told_of.note_calls(1, 0, 77, [(call_of_parsl(5), 1, 2)])
    told_of.note_calls(2, 0, 78, [(call_of_parsl(6), 1, 2)])
    assert not radio.sent
    told_of.note_node(ABOUT, 4, True, 1)
    assert {row[0] for row in told(radio)} == {5}
    told_of.close()
    assert told(radio)[2:] == [(6, 1, True, None, None), (6, 1, False, None, None)]


def test_not_too_many_calls_wait(monkeypatch):
    monkeypatch.setattr(reports, "_MOST_WAITING", 3)
    radio = Radio()
    told_of = CallReports("vines", radio, "run", True)
    for task in range(3):
        told_of.note_calls(1, 0, 77, [(call_of_parsl(task), 1, 2)])
    assert not radio.sent
    told_of.note_calls(2, 0, 77, [(call_of_parsl(3), 1, 2)])
    assert {row[0] for row in told(radio)} == {0, 1, 2, 3}


def test_what_reports_itself_and_what_is_not_parsls_is_left_alone():
    radio = Radio()
    told_of = CallReports("vines", radio, "run", True)
    told_of.note_node(ABOUT, 4, True, 1)
    other = CallFuture()
    other.add_done_callback(print)
    other.add_done_callback(partial(print, {"fail_cost": 0, "status": None}))
    measured = call_of_parsl(kernel=Kernel(measures=True))
    told_of.note_calls(1, 0, 77, [(CallFuture(), 1, 2), (other, 1, 2), (measured, 1, 2)])
    assert not radio.sent


def wait_for(call, task=5, try_id=1):
    """As Parsl does, once it has told of the launch."""
    record = {"id": task, "try_id": try_id, "fail_cost": 0, "status": None}
    call.add_done_callback(partial(Kernel().handle_exec_update, record))


def test_a_call_that_is_back_before_parsl_waits_is_told_of_once_parsl_does():
    radio = Radio()
    told_of = CallReports("vines", radio, "run", True)
    told_of.note_node(ABOUT, 4, True, 1)
    call, other = numbered(2)
    told_of.note_calls(1, 0, 77, [(call, 1, 2), (other, 1, 2)])
    call.set_result(None)
    call.add_done_callback(partial(print, end=""))
    assert not radio.sent
    wait_for(call)
    assert told(radio) == [(5, 1, True, "node7", "3"), (5, 1, False, "node7", "3")]
    wait_for(call)
    told_of.close()
    assert len(radio.sent) == 2


def test_one_that_parsl_begins_to_wait_for_meanwhile(monkeypatch):
    """While the demux thread finds that nobody waits."""
    radio, call, look = Radio(), CallFuture(), reports._task_of

    def look_and_wait(call):
        found = look(call)
        wait_for(call)
        return found

    told_of = CallReports("vines", radio, "run", True)
    told_of.note_node(ABOUT, 4, True, 1)
    monkeypatch.setattr(reports, "_task_of", look_and_wait)
    told_of.note_calls(1, 0, 77, [(call, 1, 2)])
    assert [row[0] for row in told(radio)] == [5, 5]


def test_one_that_is_early_and_waits_for_its_node():
    radio, call = Radio(), CallFuture()
    told_of = CallReports("vines", radio, "run", True)
    told_of.note_calls(1, 0, 77, [(call, 1, 2)])
    wait_for(call)
    assert not radio.sent
    told_of.note_node(ABOUT, 4, True, 1)
    assert told(radio) == [(5, 1, True, "node7", "3"), (5, 1, False, "node7", "3")]


def test_one_that_is_early_while_another_worker_leaves():
    radio, call = Radio(), CallFuture()
    told_of = CallReports("vines", radio, "run", True)
    told_of.note_node(ABOUT, 4, True, 1)
    told_of.note_node(ABOUT, 4, True, 2)
    told_of.note_calls(1, 0, 77, [(call, 1, 2)])
    told_of.note_node(ABOUT, 4, False, 2)
    wait_for(call)
    assert told(radio) == [(5, 1, True, "node7", "3"), (5, 1, False, "node7", "3")]


def test_parsl_waits_for_one_whatever_happens_here(monkeypatch, caplog):
    told_of = CallReports("vines", Radio(), "run", True)
    told_of.note_node(ABOUT, 4, True, 1)
    call = CallFuture()
    told_of.note_calls(1, 0, 77, [(call, 1, 2)])
    monkeypatch.setattr(reports, "_task_by", lambda callback: callback.args[0]["another"])
    wait_for(call)
    assert len(call._done_callbacks) == 1
    assert "not told where call 0 of executor vines ran" in caplog.text


@pytest.fixture
def logged(caplog):
    """Calls of which a log has a record, by Parsl's tasks."""
    caplog.set_level(logging.DEBUG, logger=reports.__name__)
    return lambda: [getattr(record, "parsl.task", None) for record in caplog.records if record.name == reports.__name__]


def test_calls_that_are_none_of_parsls_are_logged_in_time(monkeypatch, logged):
    told_of = CallReports("vines", None, None, True)
    told_of.note_node(ABOUT, 4, True, 1)
    told_of.note_calls(1, 0, 77, [(CallFuture(), 1, 2)])
    assert logged() == []
    monkeypatch.setattr(reports, "_EARLY_S", -1.0)
    told_of.note_calls(1, 0, 77, [(call_of_parsl(), 1, 2)])
    assert logged() == [None, 5]


def test_not_too_many_of_them_are_kept(monkeypatch, logged):
    monkeypatch.setattr(reports, "_MOST_EARLY", 3)
    told_of = CallReports("vines", None, None, True)
    told_of.note_node(ABOUT, 4, True, 1)
    calls = numbered(5)
    told_of.note_calls(1, 0, 77, [(call, 1, 2) for call in calls])
    told_of.note_calls(1, 0, 77, [])
    assert logged() == [None, None]
    for call in calls:
        wait_for(call)
    assert logged() == [None, None, 5, 5, 5]


def test_those_of_a_worker_that_leaves_are_logged_with_its_node(logged, caplog):
    told_of = CallReports("vines", None, None, True)
    told_of.note_node(ABOUT, 4, True, 1)
    told_of.note_calls(1, 0, 77, [(CallFuture(), 1, 2)])
    told_of.note_node(ABOUT, 4, False, 1)
    assert logged() == [None]
    assert getattr(caplog.records[-1], "parsl.hostname") == "node7"


def test_a_radio_that_fails_is_told_of_once(caplog):
    told_of = CallReports("vines", Radio(OSError("no space")), "run", True)
    told_of.note_node(ABOUT, 4, True, 1)
    caplog.clear()
    for _ in range(3):
        told_of.note_calls(1, 0, 77, [(call_of_parsl(), 1, 2)])
    (record,) = (record for record in caplog.records if record.levelno > logging.DEBUG)
    assert "where calls of executor vines run" in record.getMessage()
    assert getattr(record, "parsl.executor") == "vines"


@pytest.mark.parametrize(
    "level, handled, expected", [("DEBUG", True, True), ("INFO", True, False), ("DEBUG", False, False)]
)
def test_calls_are_logged_if_somebody_keeps_that(monkeypatch, level, handled, expected):
    logger = logging.Logger("alone", level)
    if handled:
        logger.addHandler(logging.NullHandler())
    monkeypatch.setattr(reports, "logger", logger)
    assert reports.are_logged() is expected
