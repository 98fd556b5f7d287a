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
    replaced: int = 0
    output: bytes | None = b""

    def pieces(self) -> list[tuple[int, int, int, bytes]]:
        """Kind, number of the call, bytes that are left out before, and text of each piece of output."""
        found, at = [], 0
        while at < len(self.output):
            kind, nbytes, number, gone = struct.unpack_from("<IIQQ", self.output, at)
            at += 24
            found.append((kind, number, gone, self.output[at : at + nbytes]))
            at += nbytes
        assert at == len(self.output)
        return found


@functools.lru_cache
def body_of(function: Callable[..., Any] | bytes) -> bytes:
    return function if isinstance(function, bytes) else parsl.serialize.serialize(function)


def digest_of(body: bytes) -> bytes:
    return hashlib.blake2b(body).digest()[:16]


def encode_frame(
    calls: list[Call],
    slice_ms: int = 0,
    carry: bool | set[int] = True,
    cores: int = 0,
    limit_ms: int = 0,
    first_number: int | None = None,
) -> bytes:
    """Encode a bundle; `carry` tells which bodies (by index of function) travel.

    With the number of its first call, the output of each call is asked for.
    """
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
        struct.pack("<4sIIIIII", b"VFB1", len(calls), len(bodies), slice_ms, cores, limit_ms, first_number is not None)
        + entries
        + b"".join(table)
        + sent
        + b"".join(payloads)
        + b"".join([struct.pack("<Q", first_number + i) for i in range(len(calls))] if first_number is not None else [])
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
    replaced, output_nbytes = struct.unpack_from("<II", data, 60)
    dropped = output_nbytes == 2**31 - 1
    end = len(data) - (0 if dropped else output_nbytes)
    records, position = [], 72
    for _ in range(n_records):
        status, size, duration_ns = struct.unpack_from("<IIQ", data, position)
        position += 16
        records.append(Record(status, duration_ns, data[position : position + size]))
        position += size
    assert position == end
    output = None if dropped else data[end:]
    return ResultFrame(records, wait_ns, run_ns, slot, pid, n_slots, replaced, output)
