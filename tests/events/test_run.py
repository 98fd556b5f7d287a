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


def head(generation=0, pid=17):
    return layout.HEAD.pack(layout.MAGIC, layout.VERSION, 1_000, 5_000_000_000, pid, generation)


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


def test_two_files_that_came_meanwhile(log):
    log.write_bytes(head() + ended(1, 1))
    run = Run(str(log.parent))
    run.update()
    log.with_name("events.old").write_bytes(head(1) + ended(2, 2))
    os.replace(log, log.with_name("gone"))
    log.write_bytes(head(2) + ended(3, 3))
    assert run.update() and run.calls["number"].tolist() == [1, 2, 3] and not run.lacks()


def test_what_has_made_room_is_missing(log):
    log.with_name("events.old").write_bytes(head(3) + ended(2, 2))
    log.write_bytes(head(4) + ended(3, 3))
    run = Run(str(log.parent))
    run.update()
    assert run.calls["number"].tolist() == [2, 3] and run.is_cut
    assert "has made room for later records" in " ".join(run.lacks())


def test_a_file_that_is_renamed_while_it_is_opened_is_read_once(log):
    log.write_bytes(head(1) + ended(1, 1))
    os.link(log, f"{log}.old")
    run = Run(str(log.parent))
    run.update()
    assert run.calls["number"].tolist() == [1] and not run.update()


def test_a_file_that_has_just_begun_hides_nothing(log):
    log.with_name("events.old").write_bytes(head() + ended(1, 1))
    log.write_bytes(head(1)[:8])  # there was no room for more
    run = Run(str(log.parent))
    assert run.update() and run.calls["number"].tolist() == [1]
    log.write_bytes(head(1) + ended(2, 2))
    assert run.update() and run.calls["number"].tolist() == [1, 2] and not run.lacks()


def test_a_log_whose_next_file_could_not_be_made(log):
    log.with_name("events.old").write_bytes(head(1) + ended(1, 1))
    for directory in (log.parent, log.parent.parent):
        run = Run(str(directory))
        assert run.update() and run.calls["number"].tolist() == [1]
        assert not run.update()


def test_what_may_have_come_back_in_a_gap_is_not_away_for_ever(log):
    sent = [record(layout.SENT, layout.SENT_BODY.pack(5, task, 7, 2, 1, 1, 400)) for task in range(3)]
    log.write_bytes(head() + sent[0] + record(layout.LEFT_OUT, layout.LEFT_OUT_BODY.pack(3)) + sent[1])
    run = Run(str(log.parent))
    run.update()
    assert list(run.away) == [1]
    log.unlink()
    log.write_bytes(head(2) + sent[2])
    run.update()
    assert list(run.away) == [2]


def test_which_calls_are_in_a_bundle(log):
    """They have other numbers than one thinks if they have priorities, say."""
    listed = layout.SENT_BODY.pack(5, 2, 7, 3, 1, 1, 400) + np.array([7, 9, 3], "u8").tobytes()
    following = layout.SENT_BODY.pack(5, 3, 20, 2, 1, 1, 400)
    log.write_bytes(
        head() + name(layout.FUNCTION, 1, b"f") + record(layout.SENT, listed) + record(layout.SENT, following)
    )
    run = Run(str(log.parent))
    run.update()
    stories = Stories(run)
    known = {number: story.function for number in range(30) if (story := stories.of(number))}
    other = "f, or another one: it is that of the first call of its bundle"
    assert known == {7: "f", 9: other, 3: other, 20: "f", 21: other}


def test_another_executor_in_the_same_directory(log):
    """What one before it has left there is none of its own; and whoever looks on sees the later one alone."""
    log.with_name("events.old").write_bytes(head(4, pid=16) + ended(1, 1))
    log.write_bytes(head() + name(layout.FUNCTION, 1, b"first") + ended(2, 2))
    run = Run(str(log.parent))
    run.update()
    assert run.calls["number"].tolist() == [2] and not run.is_cut
    log.write_bytes(head(pid=18) + ended(3, 3))  # the same file, emptied
    assert run.update() and run.calls["number"].tolist() == [3] and not run.functions and not run.lacks()


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
    other = tmp_path / "other" / "events"
    other.parent.mkdir()
    other.write_bytes(head())
    with pytest.raises(EventLogError, match="several executors; name one"):
        Run(str(tmp_path))


@pytest.mark.parametrize(
    "rest",
    [
        bytes(64),
        layout.EVENT.pack(7, 0, 12),
        layout.EVENT.pack(7, 0, (16 << 20) + 8),
        name(layout.FUNCTION, (1 << 24) + 1),
        name(layout.COUNTER_NAMES, 0, b"a a"),
        name(layout.RUN, 0, b'{"pid": "x"}'),
        name(layout.RUN, 0, b'{"program": 5}'),
        record(layout.ENDED, b"short"),
        record(layout.ENDED, layout.ENDED_BODY.pack(1, 2, 3, 0, 0, 0, 1, 0, 9, 1000, 0, 1000)),
        record(layout.LOST, layout.LOST_BODY.pack(1, 2, 3, 4, 1000, 0)),
        record(layout.WORKER, b"x"),
    ],
)
def test_what_is_before_the_damage_is_told(log, rest):
    log.write_bytes(head() + ended(1, 1) + rest + ended(2, 2))
    run = Run(str(log.parent))
    run.update()
    assert f"{log} is damaged: " in run.damage and run.calls["number"].tolist() == [1]
    assert run.lacks() == [f"{run.damage}: there may be more calls than these"]
    log.write_bytes(head() + ended(1, 1) + ended(2, 2))
    # What was cut off meanwhile, for want of room on the disk.
    run.update()
    assert not run.damage and run.calls["number"].tolist() == [1, 2]


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
