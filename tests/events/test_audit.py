"""The audit of event logs: each rule is broken by a log of its own, and by nothing else in that."""

import resource
import time

import numpy as np
import pytest

from tests.events.logs import LogWriter
from vinefast.events import layout
from vinefast.events.audit_log import audit_log
from vinefast.events.findings import RULES, Findings
from vinefast.library import protocol

GOOD, ENGINE = protocol.STATUS_PICKLE, protocol.STATUS_ENGINE
MS = 10**6
NAMES = ("calls_taken", "calls_returned", "calls_lost", "calls_remade", "calls_waiting")


class Log(LogWriter):
    """A log with a clock, which goes on with each record."""

    now_ns = 0

    def tick(self):
        self.now_ns += MS
        return self.now_ns

    def begin(self, n_workers=2):
        self.run(self.tick(), host="another")
        self.name(layout.COUNTER_NAMES, 0, " ".join(NAMES), self.tick())
        for number in range(1, n_workers + 1):
            self.worker(number, self.tick())

    def sent(self, task, numbers, worker=1, at_ns=None):
        at_ns = self.tick() if at_ns is None else at_ns
        body = layout.SENT_BODY.pack(at_ns, task, numbers[0], len(numbers), 1, worker, 9)
        follow = list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))
        self.put(layout.SENT, body + (b"" if follow else np.array(numbers, "u8").tobytes()))

    def back(self, task, numbers, statuses=None, worker=1, sent_ns=None, returned_ns=None):
        statuses = [GOOD] * len(numbers) if statuses is None else statuses
        now_ns = self.tick()
        sent_ns = now_ns - MS if sent_ns is None else sent_ns
        returned_ns = now_ns if returned_ns is None else returned_ns
        self.ended(task, numbers, statuses, sent_ns=sent_ns, returned_ns=returned_ns, run_ns=0, worker=worker)

    def lost(self, task, numbers, result=40):
        body = layout.LOST_BODY.pack(self.tick(), task, 1, result, len(numbers), 0)
        self.put(layout.LOST, body + np.array(numbers, "u8").tobytes())

    def left(self, worker):
        self.name(layout.WORKER_LEFT, worker, "", self.tick())

    def remade(self, number):
        self.put(layout.REMADE, layout.REMADE_BODY.pack(self.tick(), number))

    def cached(self, worker):
        self.put(layout.CACHED, layout.CACHED_BODY.pack(self.tick(), 1, 1, worker, 0))

    def counted(self, taken, returned, lost=0, remade=0, waiting=0):
        self.put(layout.COUNTERS, np.array([self.tick(), taken, returned, lost, remade, waiting], "u8").tobytes())

    def end(self, *counters, **named):
        self.counted(*counters, **named)
        self.stopped(self.tick())


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "executor")
    log.begin()
    return log


def broken(log):
    """Give the rules that are broken, and the calls that break them; nothing else is unknown."""
    findings = audit_log(str(log.path))
    assert not findings.unknown and findings.verdict == ("failed" if findings.counts else "passed")
    assert sum(findings.counts.values()) == len(findings.breaches)
    return [(breach.rule, breach.call) for breach in findings.breaches]


def test_a_run_as_it_should_be(log):
    """With all that may happen to calls."""
    log.sent(1, [0, 1, 2])
    log.back(1, [0, 1])  # the third is handed back
    log.sent(2, [2, 5])  # and these do not follow each other
    log.cached(1)
    log.left(1)
    log.sent(2, [2, 5], worker=2)  # TaskVine has sent it again
    log.lost(2, [2, 5])
    log.sent(3, [2], worker=2)
    log.back(3, [2], worker=2)
    log.sent(4, [5], worker=2)
    log.lost(4, [5])
    log.back(4, [5], [ENGINE], worker=0, sent_ns=log.now_ns - MS)  # given up
    log.back(0, [3], [ENGINE], worker=0, sent_ns=0)  # cancelled before it was sent
    log.sent(6, [6], worker=2)
    log.lost(6, [6], result=88)  # taken back
    log.sent(7, [4, 6], worker=2)
    log.remade(0)
    log.back(7, [4, 6], worker=2)
    log.sent(8, [0], worker=2)
    log.end(7, 7, lost=3, remade=1)
    assert broken(log) == []
    findings = audit_log(str(log.path))
    assert (findings.state, findings.calls, findings.ended, findings.unfinished) == ("ended", 7, 7, 0)


def test_a_result_that_came_as_its_worker_left(log):
    log.sent(1, [0])
    log.left(1)
    log.back(1, [0], worker=0)
    log.end(1, 1)
    assert broken(log) == []


def test_calls_that_were_cut_off(log):
    log.sent(1, [0, 1])
    log.back(0, [2], [ENGINE], worker=0, sent_ns=0)
    log.end(6, 1, waiting=3)
    assert broken(log) == []
    findings = audit_log(str(log.path))
    assert (findings.state, findings.calls, findings.ended, findings.unfinished) == ("ended", 6, 1, 5)


def test_a_program_that_was_killed(log):
    log.sent(1, [0, 1])
    log.counted(2, 0)
    log.run(log.tick(), host="")
    findings = audit_log(str(log.path), is_over=True)
    assert findings == Findings(calls=2, unfinished=2)
    assert findings.verdict == "passed"


def test_ends_once(log):
    log.sent(1, [0, 1])
    log.back(1, [0, 1])
    log.back(0, [1], [ENGINE], worker=0, sent_ns=0)
    log.end(2, 3)
    assert broken(log) == [("ends-once", 1)]


def test_what_is_made_again_does_not_end_again(log):
    log.sent(1, [0])
    log.back(1, [0])
    log.remade(0)
    log.sent(2, [0])
    log.back(2, [0])
    log.end(1, 2, remade=1)
    assert broken(log) == [("ends-once", 0)]


def test_not_after_end(log):
    log.sent(1, [0, 1])
    log.back(1, [0, 1])
    log.sent(2, [1])
    log.lost(3, [0])
    log.end(2, 2, lost=1)
    # With workers is more than has not ended: that follows.
    assert broken(log) == [("not-after-end", 1), ("not-after-end", 0), ("counters-agree", None)]


def test_only_what_has_ended_is_made_again(log):
    log.sent(1, [0])
    log.remade(0)
    log.end(1, 0, remade=1)
    assert broken(log) == [("not-after-end", 0)]


def test_one_bundle(log):
    log.sent(1, [0, 1])
    log.sent(2, [1], worker=2)
    log.lost(1, [0, 1])
    log.sent(3, [0])
    log.back(0, [0], [ENGINE], worker=0, sent_ns=0)
    log.end(2, 1, lost=2)
    # Sent, and lost, and ended, each while another bundle had it.
    assert broken(log) == [("one-bundle", 1), ("one-bundle", 1), ("one-bundle", 0), ("counters-agree", None)]


@pytest.mark.parametrize("sent", [(), (1,)])
def test_result_of_bundle(log, sent):
    for number in sent:
        log.sent(1, [number])
    log.back(1, [0])
    log.end(2, 1)
    assert broken(log) == [("result-of-bundle", 0)]


@pytest.mark.parametrize("worker", [0, 2])
def test_result_of_another_worker(log, worker):
    log.sent(1, [0])
    log.back(1, [0], worker=worker)
    log.end(1, 1)
    assert broken(log) == [("result-of-bundle", 0)]


def test_sent_to_a_worker_that_has_left(log):
    log.left(1)
    log.sent(1, [0])
    log.end(1, 0)
    assert broken(log) == [("worker-there", 0)]


def test_sent_to_a_worker_that_has_not_come(log):
    log.sent(1, [0], worker=3)
    log.end(1, 0)
    assert broken(log) == [("worker-there", 0)]


def test_back_from_a_worker_that_has_left(log):
    log.sent(1, [0])
    log.left(1)
    log.back(1, [0])
    log.end(1, 1)
    assert broken(log) == [("worker-there", 0)]


def test_a_file_comes_to_a_worker_that_has_left(log):
    log.left(1)
    log.cached(1)
    log.end(0, 0)
    assert broken(log) == [("worker-there", None)]


def test_a_worker_leaves_twice(log):
    log.left(1)
    log.left(1)
    log.end(0, 0)
    assert broken(log) == [("worker-there", None)]


def test_times_forward(log):
    log.sent(1, [0])
    log.sent(2, [1], at_ns=log.now_ns - 1)
    log.end(2, 0)
    assert broken(log) == [("times-forward", 1)]


def test_a_bundle_comes_back_before_it_was_sent(log):
    log.sent(1, [0])
    log.back(1, [0], returned_ns=log.now_ns - 1, sent_ns=log.now_ns - 2)
    log.end(1, 1)
    assert broken(log) == [("times-forward", None)]


@pytest.mark.parametrize(
    "counters",
    [
        {"taken": 1, "returned": 0},
        {"taken": 0, "returned": 1},
        {"taken": 1, "returned": 1, "lost": 1},
        {"taken": 1, "returned": 1, "remade": 1},
        {"taken": 1, "returned": 1, "waiting": 1},
    ],
)
def test_counters_agree(log, counters):
    log.sent(1, [0])
    log.back(1, [0])
    log.end(**counters)
    assert broken(log) == [("counters-agree", None)]


def test_nothing_left(log):
    log.end(0, 0)
    assert broken(log) == []
    for name in ("password-abcdefgh", "key-abcdefgh", "contact.json", "taskvine/temporary-files/temp-1"):
        path = log.path.parent / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
        (breach,) = audit_log(str(log.path)).breaches
        assert breach.rule == "nothing-left" and name in breach.text
        path.unlink()
    (log.path.parent / "password-of-mine.txt").touch()
    assert broken(log) == []


def unknown(log, **arguments):
    findings = audit_log(str(log.path), **arguments)
    assert findings.verdict == "unknown"
    return " ".join(findings.unknown)


def test_records_that_are_missing(log):
    """What came before may have ended meanwhile; what is known all the same is checked."""
    log.sent(1, [0])
    log.put(layout.LEFT_OUT, layout.LEFT_OUT_BODY.pack(7))
    log.sent(2, [0])
    log.back(2, [0])
    log.back(3, [1])
    log.end(5, 9)
    assert "7 records are missing" in unknown(log)
    log.sent(4, [1])
    assert [(breach.rule, breach.call) for breach in audit_log(str(log.path)).breaches] == [("not-after-end", 1)]


def test_what_is_made_again_unseen(log):
    """That it was to be is among the records that are missing."""
    log.sent(1, [0, 1])
    log.back(1, [0, 1])
    log.put(layout.LEFT_OUT, layout.LEFT_OUT_BODY.pack(2))
    log.sent(2, [0])
    log.lost(2, [0])
    log.end(2, 2, remade=1, lost=1)
    assert "2 records are missing" in unknown(log)
    log.back(0, [1], [ENGINE], worker=0, sent_ns=0)
    assert [(breach.rule, breach.call) for breach in audit_log(str(log.path)).breaches] == [("ends-once", 1)]


def test_many_gaps_are_one(log):
    log.sent(1, [1_000_000])
    record = layout.EVENT.pack(layout.LEFT_OUT, 0, layout.EVENT.size + 8) + layout.LEFT_OUT_BODY.pack(3)
    with open(log.path, "ab") as file:
        file.write(record * 1000)
    log.sent(2, [1_000_000])
    log.back(2, [1_000_000])
    log.end(1_000_001, 1)
    began_s = time.process_time()
    assert unknown(log) == "3,000 records are missing, for which there was no room"
    assert time.process_time() - began_s < 10


def test_definitions_that_are_told_anew(log):
    """As by a log that could not be written for a while."""
    joined_ns = log.tick()
    log.worker(3, joined_ns)
    log.left(3)
    left_ns = log.now_ns
    log.worker(3, joined_ns)
    log.name(layout.WORKER_LEFT, 3, "", left_ns)
    log.end(0, 0)
    assert broken(log) == []


def test_a_beginning_that_is_gone(log):
    content = log.path.read_bytes()[layout.HEAD.size :]
    log.path.write_bytes(log.head_of(3) + content)
    log.back(3, [1])
    log.end(5, 9)
    assert "has made room" in unknown(log)
    log.path.with_name("events.old").write_bytes(log.head_of(2))
    assert "has made room" in unknown(log)


def test_two_files_are_one_log(log):
    log.sent(1, [0])
    log.path.rename(log.path.with_name("events.old"))
    log.path.write_bytes(log.head_of(1))
    log.back(1, [0])
    log.end(1, 1)
    assert broken(log) == []


def test_damage(log):
    with open(log.path, "ab") as file:
        file.write(layout.EVENT.pack(layout.SENT, 0, 12) + bytes(8))
    assert "is damaged" in unknown(log)


def test_counters_that_are_none(log):
    log.put(layout.COUNTERS, b"")
    assert "is damaged" in unknown(log)


def test_a_lack_of_memory(log, monkeypatch):
    def fail(self, body):
        raise MemoryError()

    monkeypatch.setattr("vinefast.events.audit._Auditor._take_sent", fail)
    log.sent(1, [0])
    assert "lack of memory" in unknown(log)


@pytest.mark.parametrize("numbers", [[1 << 30], [1 << 40], [1 << 63]])
def test_a_number_that_is_none(log, numbers):
    log.sent(1, numbers)
    assert "is damaged" in unknown(log)


def test_numbers_far_from_each_other_take_no_room(log):
    """Where the beginning is gone, calls may have any; and so may one that is damaged."""
    log.put(layout.LEFT_OUT, layout.LEFT_OUT_BODY.pack(1))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for task, number in enumerate(((1 << 31) - 2, 1 << 40, (1 << 56) - 2), 1):
        log.sent(task, [number, number + 1])
        log.back(task, [number, number + 1])
    log.sent(4, [1 << 40])
    findings = audit_log(str(log.path))
    assert [(breach.rule, breach.call) for breach in findings.breaches] == [("not-after-end", 1 << 40)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000
    log.sent(5, [1 << 56])
    assert "a call of number" in " ".join(audit_log(str(log.path)).unknown)


def test_a_program_elsewhere(log):
    assert "on another is not known here" in unknown(log)


def test_of_each_rule_the_first_ones_are_kept(log):
    log.sent(1, range(100))
    log.back(1, range(100))
    for _ in range(10):
        log.back(0, range(100), [ENGINE] * 100, worker=0, sent_ns=0)
    log.end(100, 1100)
    findings = audit_log(str(log.path))
    assert findings.counts == {"ends-once": 1000} and len(findings.breaches) == 20 and findings.ended == 100


def test_a_million_calls_take_seconds(log):
    """Of bundles of one call, the slowest ones; here a tenth of that."""
    n = 100_000
    records = bytearray()

    def put(kind, body):
        records.extend(layout.EVENT.pack(kind, 0, layout.EVENT.size + len(body)) + body)

    call = np.zeros(1, layout.CALL)
    call["status"] = GOOD
    for i in range(n):
        now_ns = log.tick()
        put(layout.SENT, layout.SENT_BODY.pack(now_ns, i + 1, i, 1, 1, 1, 9))
        call["number"] = i
        put(layout.ENDED, layout.ENDED_BODY.pack(now_ns, now_ns, i + 1, 0, 0, 0, 1, 0, 9, 1, 0, 1) + call.tobytes())
    with open(log.path, "ab") as file:
        file.write(records)
    log.end(n, n)
    began_s = time.process_time()
    assert broken(log) == []
    assert time.process_time() - began_s < 10


def test_rules_have_a_test_each():
    source = open(__file__).read()
    assert all(f'"{rule}"' in source for rule in set(RULES) - {"callbacks-once"})
