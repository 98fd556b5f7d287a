"""A run as its event log tells it; the core's own logs are read in integration/test_events.py."""

import json
import os
import pickle

import numpy as np
import pytest

from vinefast.errors import EventLogError
from vinefast.events import layout
from vinefast.events.report import report_of
from vinefast.events.run import Run
from vinefast.events.story import Stories


def record(kind, body):
    body += bytes(-len(body) % 8)
    return layout.EVENT.pack(kind, 0, layout.EVENT.size + len(body)) + body


def head(generation=0):
    return layout.HEAD.pack(layout.MAGIC, layout.VERSION, 1_000, 5_000_000_000, 17, generation)


def name(kind, number, text=b"", at_ns=0):
    return record(kind, layout.NAME_BODY.pack(at_ns, number, 0) + text + b"\0")


def ended(task, *numbers, status=0):
    calls = np.zeros(len(numbers), layout.CALL)
    calls["number"] = numbers
    calls["status"] = status
    body = layout.ENDED_BODY.pack(10, 20, task, 1, 2, 3, 1, 0, 99, len(numbers), 0, len(numbers))
    return record(layout.ENDED, body + calls.tobytes())


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "executor" / "events"
    path.parent.mkdir()
    return path


def test_what_comes_while_it_is_read(log, tmp_path):
    whole = head() + name(layout.RUN, 0, b'{"label": "x"}') + name(layout.FUNCTION, 1, b"relax")
    sent = record(layout.SENT, layout.SENT_BODY.pack(5, 3, 7, 2, 1, 1, 400))
    log.write_bytes(whole + sent + ended(2, 5, 6)[:-20])
    run = Run(str(tmp_path))
    assert run.update() and run.about == {"label": "x"} and run.functions == {1: "relax"}
    assert [away.first_call for away in run.away.values()] == [7] and not len(run.calls)
    assert not run.update()
    with open(log, "ab") as file:
        file.write(ended(2, 5, 6)[-20:] + ended(3, 7, 8))
    assert run.update() and not run.away
    assert run.calls["number"].tolist() == [5, 6, 7, 8] and run.bundles["task"].tolist() == [2, 3]
    assert run.wall_s(1_000) == 5.0


def test_it_goes_on_in_the_next_file(log):
    log.write_bytes(head() + ended(1, 1))
    run = Run(str(log.parent))
    run.update()
    with open(log, "ab") as file:
        file.write(ended(2, 2))
    os.rename(log, f"{log}.old")
    log.write_bytes(head(1) + name(layout.FUNCTION, 1, b"f") + ended(3, 3))
    assert run.update() and run.calls["number"].tolist() == [1, 2, 3] and run.functions == {1: "f"}
    assert Run(str(log)).update()


def test_workers_failures_and_what_is_missing(log):
    failure = pickle.dumps(("ValueError", "no", "Traceback", None), 5)
    evil = pickle.dumps(os.getcwd, 5)
    log.write_bytes(
        head()
        + name(layout.WORKER, 1, b"10.0.0.1:99", 30)
        + name(layout.NODE, 1, b'{"cores": 2}')
        + name(layout.WORKER_LEFT, 1, at_ns=40)
        + ended(1, 4, status=3)
        + record(layout.FAILURE, layout.FAILURE_BODY.pack(4, 3, len(failure)) + failure)
        + record(layout.FAILURE, layout.FAILURE_BODY.pack(5, 3, len(evil)) + evil)
        + record(layout.LEFT_OUT, layout.LEFT_OUT_BODY.pack(12))
        + record(layout.LOST, layout.LOST_BODY.pack(50, 9, 1, 64, 2, 0) + np.array([8, 9], "u8").tobytes())
        + record(77, b"of a later version")
    )
    run = Run(str(log))
    run.update()
    (worker,) = run.workers.values()
    assert (worker.address, worker.joined_ns, worker.left_ns, worker.node) == ("10.0.0.1:99", 30, 40, {"cores": 2})
    assert run.failures[4].fields() == ("ValueError", "no", "Traceback", None)
    assert run.failures[5].fields() is None  # nothing is run that a log names
    assert run.n_left_out == 12 and [lost.numbers.tolist() for lost in run.losses] == [[8, 9]]


def test_what_is_no_log_is_refused(log, tmp_path):
    with pytest.raises(EventLogError, match="no event log in"):
        Run(str(tmp_path))
    log.write_bytes(b"x" * 100)
    with pytest.raises(EventLogError, match="is no event log"):
        Run(str(tmp_path)).update()
    log.write_bytes(layout.HEAD.pack(layout.MAGIC, 2, 0, 0, 0, 0))
    with pytest.raises(EventLogError, match="of version 2; this vinefast reads version 1"):
        Run(str(tmp_path)).update()
    log.write_bytes(head() + layout.EVENT.pack(7, 0, 12))
    with pytest.raises(EventLogError, match="damaged: a record of 12 bytes"):
        Run(str(tmp_path)).update()
    other = tmp_path / "other" / "events"
    other.parent.mkdir()
    other.write_bytes(head())
    with pytest.raises(EventLogError, match="several executors; name one"):
        Run(str(tmp_path))


@pytest.mark.parametrize(
    "rest",
    [
        bytes(64),
        record(layout.ENDED, b"short"),
        record(layout.ENDED, layout.ENDED_BODY.pack(1, 2, 3, 0, 0, 0, 1, 0, 9, 1000, 0, 1000)),
        record(layout.LOST, layout.LOST_BODY.pack(1, 2, 3, 4, 1000, 0)),
        record(layout.WORKER, b"x"),
    ],
    ids=["zeros", "short", "calls", "numbers", "name"],
)
def test_a_damaged_log_is_named(log, rest):
    log.write_bytes(head() + ended(1, 1) + rest)
    run = Run(str(log.parent))
    with pytest.raises(EventLogError, match="events is damaged"):
        run.update()


def test_what_is_no_text_can_be_written(log):
    """Arguments of a program, and messages of exceptions, may be halves of characters."""
    failure = pickle.dumps(("ValueError", "half: \ud83d", "Traceback", None), 5)
    log.write_bytes(
        head()
        + name(layout.RUN, 0, json.dumps({"label": "x", "program": ["python", "\udcff.py"]}).encode())
        + ended(1, 4, status=3)
        + record(layout.FAILURE, layout.FAILURE_BODY.pack(4, 3, len(failure)) + failure)
    )
    run = Run(str(log))
    run.update()
    assert run.about["program"] == ["python", "?.py"]
    (group,) = Stories(run).failed()
    assert group.example.reason.message == "half: ?"
    assert "half: ?" in report_of(run, "").encode().decode()
