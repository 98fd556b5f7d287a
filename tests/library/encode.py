"""The manager's side of the frames, written from the specification and independent of the library's code."""

from __future__ import annotations

import functools
import hashlib
import pickle
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import parsl.serialize


class Call(NamedTuple):
    """One call of a bundle; kind None: choose by the arguments."""

    function: Callable[..., Any] | bytes
    args: tuple = ()
    kwargs: dict = {}
    kind: int | None = None


class Record(NamedTuple):
    """One record of a result frame."""

    status: int
    duration_ns: int
    payload: bytes

    @property
    def value(self) -> Any:
        if self.status == 0:
            return None
        return (parsl.serialize.deserialize if self.status == 2 else pickle.loads)(self.payload)

    @property
    def exception(self) -> BaseException:
        assert self.status == 3
        return parsl.serialize.deserialize(self.value[3]).get_exception()


class ResultFrame(NamedTuple):
    """A decoded result frame."""

    records: list[Record]
    wait_ns: int
    run_ns: int
    slot: int
    pid: int
    n_slots: int


@functools.lru_cache
def body_of(function: Callable[..., Any] | bytes) -> bytes:
    return function if isinstance(function, bytes) else parsl.serialize.serialize(function)


def digest_of(body: bytes) -> bytes:
    return hashlib.blake2b(body).digest()[:16]


def encode_frame(
    calls: list[Call], slice_ms: int = 0, carry: bool | set[int] = True, cores: int = 0, limit_ms: int = 0
) -> bytes:
    """Encode a bundle; `carry` tells which bodies (by index of function) travel."""
    bodies: list[bytes] = []
    table, payloads = [], []
    for call in calls:
        body = body_of(call.function)
        if body not in bodies:
            bodies.append(body)
        kind = call.kind if call.kind is not None else (1 if call.args or call.kwargs else 0)
        arguments = (tuple(call.args), dict(call.kwargs))
        payload = [lambda _: b"", lambda a: pickle.dumps(a, 5), parsl.serialize.serialize][kind](arguments)
        table.append(struct.pack("<III", bodies.index(body), len(payload), kind))
        payloads.append(payload)
    carried = [carry if isinstance(carry, bool) else k in carry for k in range(len(bodies))]
    entries = b"".join(
        digest_of(body) + struct.pack("<I", len(body) if there else 0)
        for body, there in zip(bodies, carried, strict=True)
    )
    sent = b"".join(body for body, there in zip(bodies, carried, strict=True) if there)
    return (
        struct.pack("<4sIIIII", b"VFB1", len(calls), len(bodies), slice_ms, cores, limit_ms)
        + entries
        + b"".join(table)
        + sent
        + b"".join(payloads)
    )


def encode_command(frame: bytes) -> bytes:
    """Encode a frame into a COMMAND, without NUL bytes."""
    rare = sorted(range(3, 256), key=frame.count)
    zero, escape = bytes(rare[:1]), bytes(rare[1:2])
    if zero not in frame:
        return b"I" + zero + frame.replace(b"\0", zero)
    escaped = frame.replace(escape, escape + b"\x02").replace(zero, escape + b"\x01")
    return b"E" + zero + escape + escaped.replace(b"\0", zero)


def decode_command(command: bytes) -> bytes:
    if command[:1] == b"I":
        return command[2:].replace(command[1:2], b"\0")
    assert command[:1] == b"E"
    zero, escape = command[1], command[2]
    raw, position = bytearray(), 3
    while position < len(command):
        if command[position] == escape:
            raw.append({1: zero, 2: escape}[command[position + 1]])
            position += 2
        else:
            raw.append(0 if command[position] == zero else command[position])
            position += 1
    return bytes(raw)


def decode_result(data: bytes) -> ResultFrame:
    """Decode a result file: raw, or encoded as a COMMAND is when it travels in TaskVine's completion message."""
    if data[:4] != b"VFR1":
        assert b"\0" not in data
        data = decode_command(data)
    else:
        assert len(data) > 1024
    magic, n_records, nbytes, wait_ns, run_ns, slot, pid, n_slots = struct.unpack_from("<4sIQQQIII", data[:44])
    assert (magic, nbytes) == (b"VFR1", len(data)), data[:200]
    records, position = [], 64
    for _ in range(n_records):
        status, size, duration_ns = struct.unpack_from("<IIQ", data, position)
        position += 16
        records.append(Record(status, duration_ns, data[position : position + size]))
        position += size
    assert position == len(data)
    return ResultFrame(records, wait_ns, run_ns, slot, pid, n_slots)
