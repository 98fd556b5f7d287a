"""An event log that is torn, cut off or damaged: what can be read is told, and what is missing is said."""

from __future__ import annotations

import io
import json
import pickle
import resource
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.logs import LogWriter
from tests.helpers.made_up import damaged, examples
from vinefast.errors import EventLogError
from vinefast.events import chrome_trace, layout, perfetto_trace
from vinefast.events.audit_log import audit_log
from vinefast.events.failures import Reason, reason_of
from vinefast.events.figures import Figures
from vinefast.events.report import report_of
from vinefast.events.run import Failure, Run
from vinefast.events.state import state_of
from vinefast.events.story import Stories, tries_of_parsl
from vinefast.events.trace import trace_of
from vinefast.library import protocol

SECOND = 10**9
NAMES = "calls_taken calls_returned calls_lost calls_remade calls_waiting workers_connected slots bundles_running"
RAISED, DIED = protocol.STATUS_EXCEPTION, protocol.STATUS_DIED


def numbers(*values):
    return np.array(values, "u8").tobytes()


def write_all(log):
    """Write a record of each kind, and of those of bundles some."""
    log.run(SECOND, host="another", pid=5)
    log.name(layout.COUNTER_NAMES, 0, NAMES, SECOND)
    log.function(1, "relax")
    log.worker(1, SECOND)
    log.name(layout.NODE, 1, json.dumps({"hostname": "node-1", "cores": 4}), SECOND, 4)
    log.worker(2, 2 * SECOND)
    log.put(layout.SENT, layout.SENT_BODY.pack(3 * SECOND, 1, 0, 3, 1, 1, 400))
    log.put(layout.SENT, layout.SENT_BODY.pack(3 * SECOND, 2, 7, 2, 1, 2, 300) + numbers(7, 4))
    log.put(layout.CACHED, layout.CACHED_BODY.pack(3 * SECOND, 5000, 9, 1, 0))
    log.put(layout.COUNTERS, numbers(3 * SECOND, 9, 0, 0, 0, 4, 2, 8, 2))
    log.ended(1, [0, 1, 2], [1, RAISED, DIED], sent_ns=3 * SECOND, returned_ns=5 * SECOND, run_ns=SECOND)
    log.failure(1, RAISED, ("ValueError", "no 17", "Traceback", None, 1 << 20))
    log.failure(2, DIED, (None, 9, "last words", (1 << 30, 1 << 29)))
    log.put(layout.LOST, layout.LOST_BODY.pack(6 * SECOND, 2, 2, 64, 2, 0) + numbers(7, 4))
    log.name(layout.WORKER_LEFT, 2, "", 6 * SECOND)
    log.put(layout.REMADE, layout.REMADE_BODY.pack(6 * SECOND, 0))
    log.put(layout.LEFT_OUT, layout.LEFT_OUT_BODY.pack(2))
    log.put(layout.SENT, layout.SENT_BODY.pack(7 * SECOND, 3, 4, 1, 1, 1, 100))
    log.ended(3, [4], [0], sent_ns=7 * SECOND, returned_ns=8 * SECOND, run_ns=SECOND // 2)
    log.put(layout.SENT, layout.SENT_BODY.pack(8 * SECOND, 4, 5, 2, 1, 1, 100))
    log.put(layout.COUNTERS, numbers(9 * SECOND, 9, 4, 2, 1, 3, 1, 4, 1))
    log.stopped(10 * SECOND)
    return log


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write_all(LogWriter(tmp_path_factory.mktemp("run") / "executor"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A log to be written over and over."""
    return LogWriter(tmp_path_factory.mktemp("damaged") / "executor")


def whole():
    """Give the bytes of the log, for what makes damage to them."""
    path = io.BytesIO()

    class Writer(LogWriter):
        def __init__(self):
            path.write(self.head_of(0))

        def put(self, kind, body):
            body += bytes(-len(body) % 8)
            path.write(layout.EVENT.pack(kind, 0, layout.EVENT.size + len(body)) + body)

    write_all(Writer())
    return path.getvalue()


WHOLE = whole()


def records():
    """Give where each record begins, and its kind."""
    at, found = layout.HEAD.size, []
    while at < len(WHOLE):
        kind, _, nbytes = layout.EVENT.unpack_from(WHOLE, at)
        found.append((at, kind))
        at += nbytes
    assert at == len(WHOLE) and {kind for _, kind in found} == layout.KINDS
    return found


RECORDS = records()


def read(log, data):
    log.path.write_bytes(data)
    run = Run(log.directory)
    run.update()
    return run


def told_by(run):
    """Give what a run has of each call, in the order of the log."""
    bundle_of = np.repeat(np.arange(len(run.bundles)), run.bundles["n_calls"].astype(np.int64))
    return [
        (*map(int, (call["number"], call["status"], call["duration_ns"])), int(run.bundles["task"][bundle_of[index]]))
        for index, call in enumerate(run.calls)
    ]


def look_at_all_of_it(run):
    """Do what the commands do."""
    json.dumps(state_of(run, "").as_dict())
    stories = Stories(run)
    json.dumps([group.as_dict() for group in stories.failed()])
    for number in (0, 1, 4, 5):
        if story := stories.of(number):
            json.dumps(story.as_dict())
    figures = Figures(run)
    figures.ended(), figures.timeline(), figures.stages(), figures.bundle_sizes(), figures.workers()
    figures.rate_of("calls_returned")
    trace = trace_of(run, 1000)
    for write in (chrome_trace.write, perfetto_trace.write):
        write(trace, io.BytesIO(), lambda n: None)


def test_nothing_is_wrong_with_the_whole_of_it(log):
    run = Run(log.directory)
    run.update()
    assert log.path.read_bytes() == WHOLE
    assert run.lacks() == ["2 records are missing, for which there was no room: there may be more calls than these"]
    assert [call[0] for call in told_by(run)] == [0, 1, 2, 4] and run.stopped_ns == 10 * SECOND
    look_at_all_of_it(run)
    findings = audit_log(str(log.path))
    assert findings.state == "ended" and not findings.breaches


@examples(200)
@given(damaged(WHOLE))
def test_what_is_damaged_anywhere_is_read_as_far_as_it_can_be(scratch, data):
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(EventLogError):
        run = read(scratch, data)
        look_at_all_of_it(run)
    with suppress(EventLogError):
        json.dumps(audit_log(str(scratch.path)).as_dict())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000


@examples(10)
@given(damaged(WHOLE, layout.HEAD.size))
def test_a_page_about_what_is_damaged(scratch, data):
    assert report_of(read(scratch, data), "").endswith("</html>")


def test_each_number_as_large_as_it_can_be(scratch):
    for at in range(layout.HEAD.size, len(WHOLE), 4):
        number = (b"\xff" * 4, b"\0\0\x7f\0", b"\0\0\0\x80")[at // 4 % 3]
        look_at_all_of_it(read(scratch, WHOLE[:at] + number + WHOLE[at + 4 :]))


@pytest.mark.parametrize("at", range(0, len(WHOLE), 13))
def test_what_is_cut_off_is_said_and_what_is_before_it_is_right(scratch, at):
    data = WHOLE[:at]
    if at < layout.HEAD.size:
        run = read(scratch, data)
        assert not run.lacks() and not len(run.calls)
        return
    run = read(scratch, data)
    calls = told_by(run)
    assert calls == told_by(read(scratch, WHOLE))[: len(calls)]
    n_behind = at - max(start for start, _ in [*RECORDS, (len(WHOLE), 0)] if start <= at)
    said = f"its last {n_behind} bytes are no whole record"
    run = read(scratch, data)
    assert (said in " ".join(run.lacks())) == bool(n_behind)
    findings = audit_log(str(scratch.path))
    assert (said in " ".join(findings.unknown)) == bool(n_behind)
    assert not findings.breaches and findings.verdict == "unknown"


def test_half_a_record_of_a_program_that_runs_is_no_damage(scratch, monkeypatch):
    monkeypatch.setattr("vinefast.events.run.program_state", lambda about: "running")
    monkeypatch.setattr("vinefast.events.audit_log.program_state", lambda about: "running")
    end = RECORDS[6][0]
    run = read(scratch, WHOLE[: end - 5])
    assert run.lacks() == []
    assert "no whole record" not in " ".join(audit_log(str(scratch.path)).unknown)
    scratch.path.write_bytes(WHOLE[:end])
    run.update()
    assert run.lacks() == []


def test_half_a_record_before_another_file_is_damage(scratch):
    old = scratch.path.with_name("events.old")
    old.write_bytes(WHOLE[:-5])
    try:
        run = read(scratch, scratch.head_of(1))
        assert run.damage == f"{old} is damaged: its last 27 bytes are no whole record" and run.damage in " ".join(
            run.lacks()
        )
        assert f"{old}: its last 27 bytes are no whole record" in " ".join(audit_log(str(scratch.path)).unknown)
    finally:
        old.unlink()


# What a record says of itself, as bits behind its begin: kind and length, and of what it has how many.
COUNTS_AT = {layout.SENT: 24, layout.ENDED: 60, layout.LOST: 24}


@pytest.mark.parametrize(("at", "kind"), RECORDS)
def test_a_bit_that_says_where_records_begin(scratch, at, kind):
    """No call is missing without a word."""
    right = told_by(read(scratch, WHOLE))
    usual = read(scratch, WHOLE).lacks()
    places = [*range(at, at + layout.EVENT.size)]
    if kind in COUNTS_AT:
        start = at + layout.EVENT.size + COUNTS_AT[kind]
        places += range(start, start + 4)
    for place in places:
        for bit in range(8):
            data = bytearray(WHOLE)
            data[place] ^= 1 << bit
            run = read(scratch, data)
            assert told_by(run) == right or run.lacks() != usual, (place - at, bit)
            if run.damage:
                assert told_by(run) == right[: len(run.calls)]


def test_records_of_another_vinefast_are_counted(scratch):
    data = WHOLE[: RECORDS[1][0]] + layout.EVENT.pack(77, 0, 16) + b"whatever" + WHOLE[RECORDS[1][0] :]
    run = read(scratch, data)
    assert "1 records are of kinds that this vinefast does not know" in " ".join(run.lacks())
    assert told_by(run) == told_by(read(scratch, WHOLE))
    scratch.path.write_bytes(data)
    assert "does not know" in " ".join(audit_log(str(scratch.path)).unknown)


def test_other_counters_in_the_midst(scratch):
    with open(read(scratch, WHOLE).path, "ab"):
        scratch.name(layout.COUNTER_NAMES, 0, NAMES.replace(" slots", ""), SECOND)
    run = Run(scratch.directory)
    run.update()
    assert "other counters than before" in run.damage
    look_at_all_of_it(run)


def test_nothing_is_read_behind_damage(scratch):
    """Not even if more comes, and another file: who knows where a record begins."""
    scratch.path.write_bytes(WHOLE[: RECORDS[-1][0]] + layout.EVENT.pack(7, 0, 12))
    run = Run(scratch.directory)
    run.update()
    n_calls = len(run.calls)
    with open(scratch.path, "ab") as file:
        file.write(WHOLE[RECORDS[10][0] :])
    assert list(run._file.records()) == []
    assert len(run.calls) == n_calls and "a record of 12 bytes" in run.damage


LINE = b"1 parsl.dataflow.dflow:2 try_launch [INFO]  Parsl task 17 try 2 launched on executor x with executor id 5\n"
FIELDS = {"task": "17", "try": "2", "executor": "x", "executor_task": "5"}
JSON_LINE = json.dumps({"name": "parsl.dataflow.dflow", **{f"parsl.{name}": text for name, text in FIELDS.items()}})


@pytest.mark.parametrize("digits", ["5", "9" * 18, "9" * 5000])
def test_a_number_of_parsls_that_is_none(tmp_path, digits):
    """Python refuses to read one of so many digits."""
    found = {} if len(digits) > 18 else {int(digits): (17, 2)}
    for name, line in (("parsl.log", LINE.decode()), ("parsl.jsonlog", JSON_LINE)):
        (tmp_path / name).write_text(line.replace("id 5", f"id {digits}").replace('"5"', f'"{digits}"'))
        assert tries_of_parsl(str(tmp_path), "x") == found
        (tmp_path / name).unlink()


@examples(150)
@given(damaged(LINE * 2), damaged((JSON_LINE.encode() + b"\n") * 2))
def test_parsls_own_logs(scratch, text, as_json):
    directory = scratch.path.parent.parent
    (directory / "parsl.log").write_bytes(text)
    (directory / "parsl.jsonlog").write_bytes(as_json)
    found = tries_of_parsl(str(directory), "x")
    assert all(isinstance(number, int) and len(numbers) == 2 for number, numbers in found.items())


PAYLOADS = [
    pickle.dumps(("ValueError", "no \U0001f40d", "Traceback", b"wrapped", 1 << 40), 5),
    pickle.dumps((None, 9, "last words", (1 << 30, 3)), 5),
    pickle.dumps(("app", ["one", "two"]), 5),
    pickle.dumps((2.5, "stack"), 5),
    pickle.dumps(("UnfitWorker", "another Python", "", None, 0), 2),
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_whole_is_read(payload):
    assert Failure(1, RAISED, len(payload), payload).fields() == pickle.loads(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"r\xff\xff\xff\x0f",
        b"Nr\xff\xff\xff\x7f.",  # room for so many values that nobody has
        pickle.dumps(print),
        pickle.dumps([1, 2]),
        pickle.dumps(({},)),
        pickle.dumps(([[1]],)),
        b"(N" + b"2" * 40 + b"t.",
        b"\x8e" + b"\xff" * 8,
    ],
)
def test_what_is_no_plain_tuple_is_none(payload):
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert Failure(1, RAISED, len(payload), payload).fields() is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000


@examples(300)
@given(st.one_of(st.binary(max_size=40), *map(damaged, PAYLOADS)), st.integers(0, 13))
def test_why_a_call_failed_by_a_payload_that_is_damaged(payload, status):
    reason = reason_of(Failure(1, status, len(payload), payload), "app", 0)
    assert isinstance(reason, Reason) and reason.name
    reason.group.encode("utf-8", "strict")


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(1 << 1000, 1 << 1100), st.floats(), st.text(), st.binary()
)


@examples(80)
@given(st.lists(st.one_of(SCALARS, st.tuples(SCALARS, SCALARS), st.lists(SCALARS, max_size=3)), max_size=6))
def test_why_a_call_failed_by_whatever_fields(fields):
    payload = pickle.dumps(tuple(fields), 5)
    for status in range(14):
        assert isinstance(reason_of(Failure(1, status, len(payload), payload), "app", 0), Reason)
