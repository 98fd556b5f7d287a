"""Exceptions that user code left behind strike the library at each of its lines: no call gets another's arguments.

So do interruptions of a call (`interruption`), and no other call ends by them.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import struct
import sys
import time
from operator import length_hint
from pathlib import Path

import numpy as np
import pytest

from vinefast.library import buffers, interruption, memory, run, surroundings, timed
from vinefast.library import memory as layout
from vinefast.library.frame import Origin
from vinefast.library.functions import FunctionCache
from vinefast.library.interruption import Interruption
from vinefast.library.memory import SlotMemory
from vinefast.library.protocol import PAYLOAD_BUFFERS, PAYLOAD_CHUNK, STATUS_BUFFERS, STATUS_DIED, STATUS_EXCEPTION
from vinefast.library.run import Resume, Runner
from vinefast.library.stops import Stops

from .encode import body_of, decode_result, digest_of, encode_command

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# What is struck: not what loads a function, for all its calls would fail with it.
STRUCK = {module.__file__ for module in (run, memory, buffers, surroundings, interruption, timed)}
LOADS = {"_load"}

ran: list[int] = []


class Stray(BaseException):
    pass


def number(i):
    ran.append(i)
    return i


def array(values):
    ran.append(int(values[0]))
    return values + 1


def nothing():
    ran.append(-1)


def rows(i):
    ran.append(i)
    return -i


def much(i):
    ran.append(i)
    return bytes([i]) * 300_000


def fail(i):
    ran.append(i)
    raise ValueError(i)


def with_buffers(arguments):
    packed = buffers.pack(arguments, 0)
    return packed if isinstance(packed, bytes) else b"".join(packed)


def plain(arguments):
    return pickle.dumps(arguments, 5)


# Function, kind, payload, and what the call gives; each one's value tells which call it is.
CALLS = [
    (number, 1, plain(((1,), {})), 1),
    (array, PAYLOAD_BUFFERS, with_buffers(((np.full(600, 2),), {})), np.full(600, 3)),
    (nothing, 0, b"", None),
    (array, PAYLOAD_BUFFERS, with_buffers(((np.full(600, 4),), {})), np.full(600, 5)),
    (fail, 1, plain(((6,), {})), ValueError),
    (number, 1, plain(((7,), {})), 7),
    (rows, 1 + PAYLOAD_CHUNK, plain((([8, 9],), {})), [-8, -9]),
    (much, 1, plain(((10,), {})), bytes([10]) * 300_000),
    (array, PAYLOAD_BUFFERS, with_buffers(((np.full(600, 11),), {})), np.full(600, 12)),
    (number, 1, plain(((13,), {})), 13),
]


def encode(limit_ms):
    functions = list(dict.fromkeys(function for function, *_ in CALLS))
    bodies = [body_of(function) for function in functions]
    frame = struct.pack("<4sIIIIII", b"VFB1", len(CALLS), len(functions), 0, 0, limit_ms, 0)
    frame += b"".join(digest_of(body) + struct.pack("<I", len(body)) for body in bodies)
    for function, kind, payload, _ in CALLS:
        frame += struct.pack("<III", functions.index(function), len(payload), kind)
    frame += b"".join(bodies)
    for _, kind, payload, _ in CALLS:
        frame += (bytes(-len(frame) % 64) if kind == PAYLOAD_BUFFERS else b"") + payload
    return frame


class Striker:
    """Raises at the lines of these numbers, counted over all that are struck."""

    def __init__(self, at=()):
        self.at = set(at)
        self.count = 0
        # Kept: where a finalizer is struck, which a garbage collection runs just as CPython 3.11 prepares to call the
        # trace function, CPython drops its own reference, and calls it nevertheless.
        self.trace = self.enter

    def __enter__(self):
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def enter(self, frame, event, arg):
        if frame.f_code.co_filename in STRUCK and frame.f_code.co_name not in LOADS:
            return self.line
        return None

    def line(self, frame, event, arg):
        if event == "line":
            self.count += 1
            if self.count in self.at:
                self.strike(frame)
        return self.line

    def strike(self, frame):
        raise Stray(self.count)


class Interrupter(Striker):
    """In their place, the supervisor asks for the end of a call: the one that is running, or a later one."""

    def __init__(self, at, ahead):
        super().__init__(at)
        self.ahead = ahead
        self.interruption = None
        self.stopped = set()

    def strike(self, frame):
        running = self.interruption
        index = running._first + len(running._kinds) - length_hint(running._rest) - 1 + self.ahead
        if 0 <= index < len(CALLS):
            self.stopped.add(index)
        running._stops.ask(1, self.stopped)
        running._on_signal(interruption.SIGNAL, frame)


class Bundle:
    """A bundle that runs in this process, as often as its child dies."""

    def __init__(self, directory, limit_ms):
        self.memory = SlotMemory()
        self.path = Path(directory) / "out"
        sandbox = os.fsencode(directory)
        self.message = b"%s %s %s" % (encode_command(encode(limit_ms)), sandbox, os.fsencode(self.path))
        self.functions = FunctionCache(None)
        self.surroundings = surroundings.Surroundings(os.fspath(Path(directory) / "log"))

    def run(self, striker):
        ran.clear()
        self.path.unlink(missing_ok=True)
        self.memory.reset(1)
        resume = None
        striker.interruption = stopped = Interruption(Stops(), self.memory)
        for _ in range(5):
            origin = Origin(0, os.getpid(), 1)
            runner = Runner(self.memory, self.functions, b"/", origin, None, self.surroundings, stopped)
            try:
                with striker:
                    runner.run_bundle_despite_strays(self.message, time.monotonic_ns(), resume)
            except Stray:
                # Then the child ends, and the supervisor has another one go on.
                if self.memory.counters[layout.FINISHED]:
                    break
                running = self.memory.counters[layout.STAGE] == layout.RUNNING
                death = (STATUS_DIED, pickle.dumps("died", 5))
                resume = Resume(death, self.memory.published()) if running else resume or Resume()
                continue
            break
        assert not self.memory.counters[layout.CALL_NS]
        return decode_result(self.path.read_bytes()).records


def check(records, n_strays):
    assert len(records) == len(CALLS)
    failed = 0
    for record, (_, _, _, expected) in zip(records, CALLS, strict=True):
        if record.status == STATUS_DIED:
            failed += 1
        elif record.status == STATUS_EXCEPTION:
            name = record.value[0]
            failed += name != getattr(expected, "__name__", None)
            assert name == "ValueError" or name.endswith("Stray")
        elif record.status == STATUS_BUFFERS:
            np.testing.assert_equal(buffers.unpack(memoryview(record.payload)), expected)
        elif isinstance(record.value, tuple):
            # A chunk that was struck between its rows.
            values, failure = record.value
            failed += 1
            assert values == expected[: len(values)] and pickle.loads(failure)[0].endswith("Stray")
        else:
            np.testing.assert_equal(record.value, expected)
    assert failed <= n_strays
    assert sorted(set(ran)) == sorted(ran)


@pytest.fixture(params=[0, 60_000], ids=["", "limited"])
def bundle(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    bundle = Bundle(tmp_path, request.param)
    bundle.run(Striker())  # what is loaded late is loaded now
    return bundle


def lines_of(bundle):
    striker = Striker()
    check(bundle.run(striker), 0)
    assert striker.count > 100
    return striker.count


@pytest.mark.processes
def test_a_stray_exception_at_each_line(bundle):
    for at in range(1, lines_of(bundle) + 1):
        check(bundle.run(Striker([at])), 1)


class FullLog(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_stray_exceptions_that_no_log_can_take(bundle, monkeypatch):
    monkeypatch.setattr(sys, "stderr", FullLog())
    bundle.surroundings.note()
    chance = random.Random(23)
    for at in chance.sample(range(1, lines_of(bundle) + 1), 200):
        records = bundle.run(Striker([at]))
        check(records, 1)
        assert not [record for record in records if record.status == STATUS_EXCEPTION and record.value[0] == "OSError"]


def test_many_stray_exceptions(bundle):
    chance = random.Random(19)
    n_lines = lines_of(bundle)
    for _ in range(100):
        at = chance.sample(range(1, n_lines + 1), 3)
        check(bundle.run(Striker(at)), 3)


def check_stopped(records, stopped):
    """What was not stopped has run once, and ended as ever; what was may have ended before that."""
    assert len(records) == len(CALLS)
    for index, (record, (_, _, _, expected)) in enumerate(zip(records, CALLS, strict=True)):
        if record.status == STATUS_EXCEPTION:
            name = record.value[0]
            assert name == getattr(expected, "__name__", None) or (name.endswith("CallStopped") and index in stopped)
        elif record.status == STATUS_BUFFERS:
            np.testing.assert_equal(buffers.unpack(memoryview(record.payload)), expected)
        elif isinstance(record.value, tuple):
            assert pickle.loads(record.value[1])[0].endswith("CallStopped") and index in stopped
        else:
            np.testing.assert_equal(record.value, expected)
    assert sorted(set(ran)) == sorted(ran)
    # Each has its numbers: the chunk has two of them.
    missing = {1, 2, -1, 4, 6, 7, 8, 9, 10, 11, 13} - set(ran)
    numbers = [{1}, {2}, {-1}, {4}, {6}, {7}, {8, 9}, {10}, {11}, {13}]
    assert missing <= set().union(*(numbers[index] for index in stopped))


@pytest.mark.processes
@pytest.mark.parametrize("ahead", [0, 1])
def test_an_interruption_at_each_line(bundle, ahead):
    n_stopped = 0
    for at in range(1, lines_of(bundle) + 1, 1 + 2 * ahead):
        interrupter = Interrupter([at], ahead)
        records = bundle.run(interrupter)
        check_stopped(records, interrupter.stopped)
        n_stopped += sum(record.status == STATUS_EXCEPTION for record in records) > 1
    assert n_stopped > 10


def test_many_interruptions(bundle):
    chance = random.Random(29)
    n_lines = lines_of(bundle)
    for _ in range(100):
        interrupter = Interrupter(chance.sample(range(1, n_lines + 1), 4), chance.randrange(2))
        check_stopped(bundle.run(interrupter), interrupter.stopped)
