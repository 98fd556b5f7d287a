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


def text_of(body: memoryview) -> str:
    """Give the text of a record that has one, as those which define something have."""
    return bytes(body[NAME_BODY.size :]).split(b"\0")[0].decode("utf-8", "replace")
