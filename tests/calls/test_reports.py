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
