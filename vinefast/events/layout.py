"""The layout of an event log: csrc/vf_eventfile.h and csrc/vf_eventlog.h, by the same names.

docs/events.md describes it.
"""

from __future__ import annotations

import struct

import numpy as np

MAGIC = b"VFEV"
VERSION = 1

HEAD = struct.Struct("=4sIQQII")
"""magic, version, monotonic_ns, wall_ns, pid, generation"""

EVENT = struct.Struct("=HHI")
"""kind, of, nbytes"""

DEFINES = 0x8000
ENDS = DEFINES | 0x4000
OF_WORKER = 1

LEFT_OUT = 1
RUN = DEFINES | 2
FUNCTION = DEFINES | 3
WORKER = DEFINES | 4
NODE = DEFINES | 5
WORKER_LEFT = ENDS | 6
SENT = 7
ENDED = 8
FAILURE = 9
LOST = 10
COUNTERS = 11
CACHED = 12
COUNTER_NAMES = DEFINES | 13
STOPPED = 14
REMADE = 15
NAMED = frozenset((RUN, FUNCTION, WORKER, NODE, WORKER_LEFT, COUNTER_NAMES, STOPPED))
"""Kinds that have a `NAME_BODY`, and a text."""
KINDS = NAMED | {LEFT_OUT, SENT, ENDED, FAILURE, LOST, COUNTERS, CACHED, REMADE}
"""All that are known here: a reader passes over others."""

BUNDLE_MOST_CALLS = 1 << 16
"""No bundle has more calls, nor nearly as many (csrc/vf_sizing.h): a record that says so is damaged."""
PAYLOAD_NBYTES = 16 << 10
"""Of a longer payload no more than that is in a `FAILURE`."""

LEFT_OUT_BODY = struct.Struct("=Q")
NAME_BODY = struct.Struct("=QII")
"""at_ns, number, slots; then text"""
SENT_BODY = struct.Struct("=QQQIIII")
"""at_ns, task, first_call, n_calls, function, worker, nbytes; then the numbers of the calls, or none: they follow"""
ENDED_BODY = struct.Struct("=QQQQQQIIIIII")
"""sent_ns, returned_ns, task, wait_ns, run_ns, dispatch_ns, worker, slot, pid, n_calls, result, n_sent; then calls"""
FAILURE_BODY = struct.Struct("=QII")
"""number, status, nbytes; then the payload"""
LOST_BODY = struct.Struct("=QQIIII")
"""at_ns, task, worker, result, n_calls, zero; then the numbers of the calls"""
CACHED_BODY = struct.Struct("=QQQII")
"""at_ns, nbytes, took_us, worker, zero"""
REMADE_BODY = struct.Struct("=QQ")
"""at_ns, number"""

CALL = np.dtype(
    [
        ("number", "u8"),
        ("duration_ns", "u8"),
        ("function", "u4"),
        ("queue_us", "u4"),
        ("nbytes", "u4"),
        ("status", "u1"),
        ("losses", "u1"),
        ("is_cancelled", "u1"),
        ("zero", "u1"),
    ]
)


_N_CALLS = struct.Struct("=I")
_N_CALLS_AND_SENT = struct.Struct("=I4xI")
_NBYTES = {LEFT_OUT: LEFT_OUT_BODY.size, CACHED: CACHED_BODY.size, REMADE: REMADE_BODY.size}


def text_of(body: memoryview) -> str:
    """Give the text of a record that has one, as those which define something have.

    Raises
    ------
    ValueError
        If it does not fill the record.
    """
    text, end, padding = bytes(body[NAME_BODY.size :]).partition(b"\0")
    if not end or len(padding) >= 8 or any(padding):
        raise ValueError(f"a text of {len(text)} bytes in a record that has {len(body)}")
    return text.decode("utf-8", "replace")


def payload_of(body: memoryview) -> bytes:
    """Give what is kept of the payload of a `FAILURE`.

    Raises
    ------
    ValueError
        If that is neither all of it, nor as much as may be, nor nothing.
    """
    nbytes = FAILURE_BODY.unpack_from(body)[2]
    rest, kept = body[FAILURE_BODY.size :], min(nbytes, PAYLOAD_NBYTES)
    if len(rest) not in (0, kept + -kept % 8):
        raise ValueError(f"{len(rest)} bytes for a payload of {nbytes}")
    return bytes(rest[:kept])


def check(kind: int, body: memoryview) -> None:
    """Compare the length of a record with what it says; of kinds that are not known here, nothing can be said.

    Raises
    ------
    ValueError, struct.error
        If it is damaged.
    """
    nbytes = len(body)
    if kind == ENDED:
        n_calls, n_sent = _N_CALLS_AND_SENT.unpack_from(body, 60)
        fits = n_calls <= n_sent <= BUNDLE_MOST_CALLS and nbytes == ENDED_BODY.size + n_calls * CALL.itemsize
    elif kind == SENT:
        (n_calls,) = _N_CALLS.unpack_from(body, 24)
        fits = n_calls <= BUNDLE_MOST_CALLS and nbytes - SENT_BODY.size in (0, 8 * n_calls)
    elif kind == LOST:
        (n_calls,) = _N_CALLS.unpack_from(body, 24)
        fits = nbytes == LOST_BODY.size + 8 * n_calls
    elif kind == COUNTERS:
        fits = nbytes > 0
    elif kind == FAILURE:
        payload_of(body)
        return
    elif kind in NAMED:
        text_of(body)
        return
    else:
        fits = nbytes == _NBYTES.get(kind, nbytes)
    if not fits:
        raise ValueError(f"a record of kind {kind} with {nbytes} bytes")
