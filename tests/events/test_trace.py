"""A run as a trace; those of real runs are looked at in integration/test_events.py."""

import json
import os
import pty
import random
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from tests.events.logs import LogWriter
from tests.events.traces import read
from vinefast.cli import main
from vinefast.events import layout
from vinefast.events.run import Run
from vinefast.events.trace import trace_of
from vinefast.library import protocol

SECOND = 10**9
PICKLE, EXCEPTION = protocol.STATUS_PICKLE, protocol.STATUS_EXCEPTION
NAMES = ("relax", "<lambda>", "na\u00efve \U0001f40d", 'a "quoted"\n\\ name\t', "")


@pytest.fixture
def log(tmp_path):
    return LogWriter(tmp_path / "executor")


def invoke(*arguments):
    return CliRunner().invoke(main, ["trace", *map(str, arguments)])


def traced(log, tmp_path, *options):
    result = invoke(log.directory, "-o", tmp_path / "out", "--json", *options)
    assert result.exit_code == 0, result.output
    (figures,) = json.loads(result.output)
    return read(tmp_path / "out"), figures


def begun(log, at_ns=SECOND):
    log.run(at_ns)
    for number, name in enumerate(NAMES, 1):
        log.function(number, name)
    log.worker(1, at_ns)


def bundle(log, task, calls, *, sent_ns, returned_ns, run_ns, worker=1, slot=0, pid=99):
    """Calls are (number, function, status, duration_ns, is_cancelled)."""
    records = np.zeros(len(calls), layout.CALL)
    for record, (number, function, status, duration_ns, is_cancelled) in zip(records, calls, strict=True):
        record["number"], record["function"], record["status"] = number, function, status
        record["duration_ns"], record["is_cancelled"] = duration_ns, is_cancelled
    n = len(calls)
    body = layout.ENDED_BODY.pack(sent_ns, returned_ns, task, 0, run_ns, 0, worker, slot, pid, n, 0, n)
    log.put(layout.ENDED, body + records.tobytes())


def test_what_stands_where(log, tmp_path):
    begun(log)
    calls = [(7, 1, PICKLE, SECOND, 0), (8, 2, EXCEPTION, 2 * SECOND, 0), (9, 1, PICKLE, SECOND, 1)]
    bundle(log, 3, calls, sent_ns=2 * SECOND, returned_ns=20 * SECOND, run_ns=8 * SECOND)
    log.failure(8, EXCEPTION, ("ValueError", "half of one: \udc80", "Traceback", None))
    bundle(log, 0, [(10, 1, PICKLE, 0, 1)], sent_ns=0, returned_ns=21 * SECOND, run_ns=0, worker=0, pid=0)
    log.put(layout.LEFT_OUT, layout.LEFT_OUT_BODY.pack(12))
    log.put(layout.SENT, layout.SENT_BODY.pack(22 * SECOND, 4, 11, 2, 1, 1, 400))
    log.put(layout.LOST, layout.LOST_BODY.pack(23 * SECOND, 5, 1, 64, 2, 0) + np.array([30, 31], "u8").tobytes())
    log.name(layout.NODE, 1, json.dumps({"hostname": "node7"}), slots=4)
    log.name(layout.WORKER_LEFT, 1, "", 24 * SECOND)
    log.stopped(25 * SECOND)
    found, figures = traced(log, tmp_path)
    slot = ("x", "workers", "worker 1 on node7", "slot 0")
    assert {slot, slot[:3], slot[:2], ("x", "calls that did not run")} < found.tracks
    relax, refuse, cancelled, not_run = found.calls()
    # In the slot from 12 to 20 s, of which they ran half: four gaps of a second.
    assert [(one.begin_ns, one.end_ns) for one in (relax, refuse, cancelled)] == [
        (13 * SECOND, 14 * SECOND),
        (15 * SECOND, 17 * SECOND),
        (18 * SECOND, 19 * SECOND),
    ]
    assert {one.track for one in (relax, refuse, cancelled)} == {slot}
    assert relax.facts == {"call": 7, "outcome": "done", "bundle": 3} and relax.name == "relax"
    assert refuse.facts["outcome"] == "failed" and refuse.name == "<lambda>" and refuse.categories == ["failed"]
    assert refuse.facts["why"] == "ValueError: half of one: ?"
    assert cancelled.facts["outcome"] == not_run.facts["outcome"] == "cancelled"
    assert not_run.is_instant and not_run.begin_ns == 21 * SECOND and not_run.track[-1] == "calls that did not run"
    sent, away = found.below("bundles that are sent")
    assert (sent.begin_ns, sent.facts) == (2 * SECOND, {"bundle": 3, "calls": 3, "worker": 1})
    assert sent.begins_flows == relax.ends_flows and sent.begins_flows
    assert away.name == "not back yet: relax" and away.facts == {"calls": 2, "worker": 1}
    (lost,) = found.below("bundles that are lost")
    assert lost.begin_ns == 23 * SECOND and lost.facts["numbers"] == "30, 31" and lost.facts["calls"] == 2
    joined, left = (one for one in found.slices if one.track == slot[:2])
    assert (joined.name, joined.begin_ns, joined.facts["slots"]) == ("worker 1 joined", SECOND, 4)
    assert (left.name, left.begin_ns) == ("worker 1 left", 24 * SECOND)
    assert found.pid == 17 or not found.pid
    assert found.clocks == {1: SECOND, 6: SECOND}  # this log's clock began in 1970
    assert figures["calls"] == 4 and figures["tracks"] == len(found.tracks) - 1  # the program's is the others' parent
    assert figures["bytes"] == (tmp_path / "out").stat().st_size and figures["records_missing"] == 12
    assert "12 records are missing" in invoke(log.directory, "-o", tmp_path / "out").output


def test_bundles_of_a_slot_stand_one_behind_the_other(log, tmp_path):
    """However late the manager takes them: some come back at once, some in another order."""
    begun(log)
    random.seed(3)
    number, begins = 0, {}
    records = []
    for task in range(400):
        slot = task % 3
        begin_ns = begins.get(slot, 2 * SECOND)
        durations = [random.randrange(10**6) for _ in range(random.randrange(5))]
        run_ns = sum(durations) + random.randrange(10**5)
        begins[slot] = begin_ns + run_ns
        returned_ns = (begin_ns + run_ns) // 10**7 * 10**7 + 10**7
        calls = [(number + place, 1, PICKLE, duration_ns, 0) for place, duration_ns in enumerate(durations)]
        number += len(calls)
        records.append((returned_ns, task, calls, begin_ns - 1000, run_ns, slot))
    for returned_ns, task, calls, sent_ns, run_ns, slot in sorted(records, key=lambda record: record[0]):
        bundle(log, task, calls, sent_ns=sent_ns, returned_ns=returned_ns, run_ns=run_ns, slot=slot)
    found, _ = traced(log, tmp_path)
    calls = {one.facts["call"]: one for one in found.calls()}
    assert sorted(calls) == list(range(number)) == sorted(one.facts["call"] for one in found.calls())
    assert all(one.depth == 0 and one.categories == ["done"] for one in calls.values())
    for returned_ns, _, expected, sent_ns, _, slot in records:
        for place, _, _, duration_ns, _ in expected:
            one = calls[place]
            assert one.track[-1] == f"slot {slot}" and one.end_ns - one.begin_ns == duration_ns
            assert sent_ns <= one.begin_ns and one.end_ns <= returned_ns
    by_track = {}
    for one in sorted(calls.values(), key=lambda one: (one.track, one.begin_ns, one.end_ns)):
        assert by_track.get(one.track, 0) <= one.begin_ns
        by_track[one.track] = one.end_ns


def test_regular_mode_has_as_many_tracks_as_calls_ran_at_a_time(log, tmp_path):
    """Each call has a process of its own there, which calls itself slot 0."""
    begun(log)
    for task in range(30):
        begin_ns = (10 + task) * SECOND
        calls = [(task, 1, PICKLE, 5 * SECOND // 2, 0)]
        run_ns = 5 * SECOND // 2
        bundle(log, task, calls, sent_ns=begin_ns, returned_ns=begin_ns + run_ns, run_ns=run_ns, pid=500 + task)
    found, _ = traced(log, tmp_path)
    assert len({one.track for one in found.calls()}) == 3 and len(found.calls()) == 30
    assert all(one.depth == 0 for one in found.calls())


def test_the_last_calls_of_many(log, tmp_path):
    begun(log)
    for task in range(100):
        log.ended(
            task, range(10 * task, 10 * task + 10), [PICKLE] * 10, sent_ns=SECOND, returned_ns=2 * SECOND, run_ns=10
        )
    found, figures = traced(log, tmp_path, "--max-calls", "55")
    assert sorted(one.facts["call"] for one in found.calls()) == list(range(940, 1000))
    assert figures["calls_before"] == 940
    assert "950 earlier calls are left out" in invoke(log.directory, "-o", tmp_path / "o", "--max-calls", 50).output
    assert traced(log, tmp_path, "--max-calls", "1000")[1]["calls_before"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_names_of_functions(log, tmp_path, name):
    begun(log)
    number = NAMES.index(name) + 1
    bundle(log, 1, [(5, number, PICKLE, 7, 0)], sent_ns=SECOND, returned_ns=2 * SECOND, run_ns=9)
    assert traced(log, tmp_path)[0].calls()[0].name == name
    assert invoke(log.directory, "-o", tmp_path / "json", "--format", "chrome").exit_code == 0
    events = json.loads((tmp_path / "json").read_text())["traceEvents"]
    assert [event["name"] for event in events if "call" in event.get("args", {})] == [name]


@pytest.mark.parametrize("content", ["empty", "head", "half", "run"])
def test_a_log_that_has_just_begun(log, tmp_path, content):
    whole = log.path.read_bytes()
    log.run(SECOND)
    at = {"empty": 0, "head": len(whole), "half": len(whole) + 20, "run": None}[content]
    log.path.write_bytes(log.path.read_bytes()[:at])
    found, figures = traced(log, tmp_path)
    assert not found.slices and figures["calls"] == 0


def test_records_that_cannot_be_true(log, tmp_path):
    """Clocks, slots and workers of which nothing was said."""
    begun(log)
    most = (1 << 64) - 1
    for task, (sent_ns, returned_ns, run_ns) in enumerate([(most, most, 5), (5, 3, most), (7, 8, 1 << 63), (0, 0, 0)]):
        body = layout.ENDED_BODY.pack(sent_ns, returned_ns, most, 0, run_ns, 0, 1 << 31, 1 << 31, 1 << 31, 1, 0, 1)
        call = np.zeros(1, layout.CALL)
        call["number"], call["function"], call["duration_ns"] = task, 1 << 31, most
        log.put(layout.ENDED, body + call.tobytes())
    found, _ = traced(log, tmp_path)
    assert sorted(one.facts["call"] for one in found.calls()) == [0, 1, 2, 3]
    assert {one.name for one in found.calls()} == {"?"} and found.calls()[0].track[2] == f"worker {1 << 31}"
    assert invoke(log.directory, "-o", tmp_path / "json", "--format", "chrome").exit_code == 0
    assert len(json.loads((tmp_path / "json").read_text())["traceEvents"]) > 8


def test_chrome_has_the_same_calls(log, tmp_path):
    begun(log)
    for task in range(40):
        calls = [(5 * task + place, 1 + place % 2, PICKLE, 1500, 0) for place in range(5)]
        at_ns = 2 * SECOND + 10_000 * task
        bundle(log, task, calls, sent_ns=at_ns - 10_000, returned_ns=at_ns, run_ns=9000, slot=task % 2)
    found, _ = traced(log, tmp_path)
    _, _ = found, invoke(log.directory, "-o", tmp_path / "json", "--format", "chrome")
    events = json.loads((tmp_path / "json").read_text())["traceEvents"]
    of_chrome = {event["args"]["call"]: event for event in events if "call" in event.get("args", {})}
    assert len(of_chrome) == 200 == len(found.calls())
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M"}
    for one in found.calls():
        event = of_chrome[one.facts["call"]]
        assert (event["name"], event["cat"]) == (one.name, "done") and names[event["pid"], event["tid"]] == one.track[
            -1
        ]
        assert event["ts"] * 1000 == pytest.approx(one.begin_ns) and event["dur"] == 1.5
    assert sum(event["ph"] == "s" for event in events) == sum(event["ph"] == "f" for event in events) == 40


def test_many_workers(log, tmp_path):
    begun(log)
    records = []
    for number in range(2, 20_001):
        body = layout.NAME_BODY.pack(SECOND, number, 2) + b"10.0.0.1:9\0"
        body += bytes(-len(body) % 8)
        records.append(layout.EVENT.pack(layout.WORKER, 0, layout.EVENT.size + len(body)) + body)
    with open(log.path, "ab") as file:
        file.write(b"".join(records))
    bundle(log, 1, [(5, 1, PICKLE, 7, 0)], sent_ns=SECOND, returned_ns=2 * SECOND, run_ns=9, worker=19_999)
    found, figures = traced(log, tmp_path)
    assert figures["tracks"] > 20_000 and figures["bytes"] < 4e6
    assert found.calls()[0].track[2] == "worker 19999 on 10.0.0.1"


def test_several_executors(tmp_path):
    for label in ("a", "b"):
        log = LogWriter(tmp_path / label)
        log.run(SECOND, label)
    result = invoke(tmp_path, "-o", tmp_path / "out.pftrace", "--json")
    assert [each["executor"] for each in json.loads(result.output)] == ["a", "b"]
    assert read(tmp_path / "out-a.pftrace").tracks and (tmp_path / "out-b.pftrace").exists()


def test_errors_say_what_is_wrong(log, tmp_path, monkeypatch):
    begun(log)
    (tmp_path / "nothing").mkdir()
    result = invoke(tmp_path / "nothing")
    assert result.exit_code == 1 and "no event log in" in result.output
    result = invoke(log.directory, "-o", tmp_path / "no" / "where")
    assert result.exit_code == 1 and "No such file or directory" in result.output and "where" in result.output
    assert invoke(log.directory, "-o", tmp_path).exit_code == 2
    assert invoke(log.directory, "--max-calls", "0").exit_code == 2
    out = tmp_path / "out"
    out.write_text("of another day")
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    result = invoke(log.directory, "-o", out)
    assert result.exit_code == 1 and "pip install 'vinefast[trace]'" in result.output
    assert "--format chrome" in result.output and out.read_text() == "of another day"
    assert invoke(log.directory, "-o", out, "--format", "chrome").exit_code == 0
    assert json.loads(out.read_text())["traceEvents"]  # as with vinefast report, a file that is there is replaced


def test_another_vinefasts_counters(log):
    begun(log)
    log.name(layout.COUNTER_NAMES, 0, "calls_waiting others")
    log.put(layout.COUNTERS, np.array([2 * SECOND, 5, 6], "u8").tobytes())
    run = Run(log.directory)
    run.update()
    (counter,) = trace_of(run, 10).counters
    assert (counter.name, counter.at_ns.tolist(), counter.values.tolist()) == ("calls that wait", [2 * SECOND], [5])


PROGRAM = """
import sys
from vinefast.cli import main
sys.modules["vinefast.cli.trace"]._QUIET_S = 0
main(["trace", *sys.argv[1:]])
"""


@pytest.mark.processes
def test_a_terminal_is_shown_how_far_it_is(log, tmp_path):
    begun(log)
    for task in range(20):
        log.ended(task, range(1000 * task, 1000 * task + 1000), [1] * 1000, sent_ns=1, returned_ns=SECOND, run_ns=10**6)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, log.directory, "-o", str(tmp_path / "out")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, timeout=100)
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 65536):
            shown += more
    except OSError:  # there is no more
        pass
    os.close(ours)
    assert done.returncode == 0 and b"20,000/20,000" in shown and b"calls on" in done.stdout
    quiet = subprocess.run(command, capture_output=True, timeout=100)
    assert quiet.returncode == 0 and not quiet.stderr
