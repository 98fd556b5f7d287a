"""Waiting calls into bundles, and a bundle into the COMMAND of a TaskVine function call."""

import hashlib
import math
import pickle
import random
import struct
from collections import deque

import numpy as np
import parsl.serialize
import pytest
from benches._stages import Stages

from benches.measure import BATCHES, per_call, repeats
from tests.library.encode import decode_command
from vinefast._core import FunctionRegistry
from vinefast.library.frame import decode_frame, encode_result

SLICE_MS = 50
PICKLED = 1


def scale(value, factor=2):
    return factor * value


def payloads_of(content, n):
    if content == "(i,)":
        return [pickle.dumps(((i,), {}), 5) for i in range(n)]
    # All byte values occur, so that no one can stand for zero: the costly way of encoding.
    generator = random.Random(1)
    return [pickle.dumps(((generator.randbytes(100),), {}), 5) for _ in range(n)]


def table_of_struct(payloads):
    return b"".join([struct.pack("<III", 0, len(payload), PICKLED) for payload in payloads])


def table_of_numpy(payloads):
    table = np.zeros((len(payloads), 3), dtype="<u4")
    table[:, 1] = list(map(len, payloads))
    table[:, 2] = PICKLED
    return table.tobytes()


def encode_with_numpy(raw):
    """Exchange zeros for the rarest byte, as the core does."""
    counts = np.bincount(np.frombuffer(raw, dtype=np.uint8), minlength=256)
    zero, escape = (3 + np.argpartition(counts[3:], 1)[:2]).tolist()
    if counts[zero] > counts[escape]:
        zero, escape = escape, zero
    to_zero = bytes.maketrans(b"\0", bytes([zero]))
    if not counts[zero]:
        return b"I" + bytes([zero]) + raw.translate(to_zero)
    escaped = raw.replace(bytes([escape]), bytes([escape, 2])).replace(bytes([zero]), bytes([escape, 1]))
    return b"E" + bytes([zero, escape]) + escaped.translate(to_zero)


# The second is the library's own encoder, which takes any byte that is absent.
IN_PYTHON = {"struct": (table_of_struct, encode_result), "numpy": (table_of_numpy, encode_with_numpy)}


def pack_in_python(way, digest, payloads, repeat):
    """Do what `Stages.pack` does with calls of one function that some worker has."""
    table_of, encode = IN_PYTHON[way]
    for _ in range(repeat):
        header = struct.pack("<4sIIIIII16sI", b"VFB1", len(payloads), 1, SLICE_MS, 0, 0, 0, digest, 0)
        command = encode(b"".join([header, table_of(payloads), *payloads]))
    return command


def assert_whole(command, digest, payloads):
    assert b"\0" not in command
    frame = decode_frame(decode_command(command))
    assert frame.slice_ms == SLICE_MS and frame.functions == [(digest, None)]
    assert set(frame.function_indices) == {0} and set(frame.payload_kinds) == {PICKLED}
    spans = zip(frame.starts, frame.ends, strict=True)
    assert [bytes(frame.payloads[start:end]) for start, end in spans] == payloads


def digest_of(function):
    return hashlib.blake2b(parsl.serialize.serialize(function), digest_size=16).digest()


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("content", ["(i,)", "100 random bytes"])
def test_pack(benchmark, content, n):
    repeat = repeats(benchmark, n)
    payloads = payloads_of(content, n)
    record = Stages.find_function(FunctionRegistry(), scale)
    calls = [(record, payload, PICKLED) for payload in payloads]
    group = f"bundle of {n} calls, {content}"
    command = per_call(benchmark, group, Stages.pack, calls, SLICE_MS, False, repeat, n=n * repeat)
    assert_whole(command, digest_of(scale), payloads)


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("content", ["(i,)", "100 random bytes"])
@pytest.mark.parametrize("way", IN_PYTHON)
def test_pack_in_python(benchmark, way, content, n):
    repeat = repeats(benchmark, n, 2_000)
    payloads = payloads_of(content, n)
    digest = digest_of(scale)
    group = f"bundle of {n} calls, {content}"
    command = per_call(benchmark, group, pack_in_python, way, digest, payloads, repeat, n=n * repeat)
    assert_whole(command, digest, payloads)


SLOTS = 4
MOST_CALLS = 4_096
TARGET_NS = 20e6
DISPATCH_NS = 3e5


class WaitingCall:
    __slots__ = ("cancelled", "mean_ns", "nbytes", "sent")

    def __init__(self, mean_ns):
        self.mean_ns, self.nbytes, self.cancelled, self.sent = mean_ns, 0, False, False


def choose_in_python(calls, repeat):
    """Follow the rules of csrc/vf_sizing.c; returns the number of calls of each bundle."""
    for _ in range(repeat):
        waiting = deque()
        for call in calls:
            call.sent = False
            waiting.append(call)
        sizes = []
        while waiting:
            share = -(-len(waiting) // SLOTS)
            worthwhile_ns = math.sqrt(max(0, len(waiting) * waiting[0].mean_ns * DISPATCH_NS))
            chosen, expected_ns, nbytes = [], 0, 0
            while len(chosen) < MOST_CALLS and waiting:
                call = waiting[0]
                if chosen and len(chosen) >= share and expected_ns + call.mean_ns > worthwhile_ns:
                    break
                if chosen and (expected_ns + call.mean_ns / 2 > TARGET_NS or nbytes + call.nbytes > 2**32):
                    break
                waiting.popleft()
                if call.cancelled:
                    continue
                call.sent = True
                chosen.append(call)
                nbytes += call.nbytes
                if call.mean_ns < 0:
                    break
                expected_ns += call.mean_ns
            sizes.append(len(chosen))
    return sizes


def group_of_choices(mean_ns, n):
    return f"{n} waiting calls into bundles, {'durations unknown' if mean_ns < 0 else f'{mean_ns} ns each'}"


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("mean_ns", [-1, 100_000])
def test_choose(benchmark, mean_ns, n):
    repeat = repeats(benchmark, n, 100_000)
    group = group_of_choices(mean_ns, n)
    sizes = per_call(benchmark, group, Stages.choose, n, SLOTS, mean_ns, TARGET_NS, repeat, n=n * repeat)
    assert sizes == choose_in_python([WaitingCall(mean_ns) for _ in range(n)], 1)
    assert sum(sizes) == n


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("mean_ns", [-1, 100_000])
def test_choose_in_python(benchmark, mean_ns, n):
    repeat = repeats(benchmark, n, 2_000)
    calls = [WaitingCall(mean_ns) for _ in range(n)]
    group = group_of_choices(mean_ns, n)
    assert sum(per_call(benchmark, group, choose_in_python, calls, repeat, n=n * repeat)) == n
