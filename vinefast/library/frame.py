"""Bundle frames in, result frames out: the bytes, without any I/O but for a frame that came as a file."""

from __future__ import annotations

import mmap
import os
import struct
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from .buffers import align
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .protocol import (
    BUNDLE_CALL,
    BUNDLE_FUNCTION,
    BUNDLE_HEADER,
    BUNDLE_MAGIC,
    BUNDLE_NUMBER,
    COMMAND_IN_FILE,
    ENCODING_ESCAPED,
    ENCODING_PLAIN,
    ESCAPED_ESCAPE,
    ESCAPED_ZERO,
    FRAME_FILE,
    LOSSES_SHIFT,
    PAYLOAD_BUFFERS,
    PAYLOAD_CHUNK,
    PAYLOAD_FILES,
)

_WITH_BUFFERS = {PAYLOAD_BUFFERS + flags for flags in (0, PAYLOAD_CHUNK, PAYLOAD_FILES, PAYLOAD_CHUNK + PAYLOAD_FILES)}

_PATH_MAX_NBYTES = 4096

# A spilled frame of this size is mapped: what no call touches is then never copied.
_MAPPED_NBYTES = 1 << 19

# Seldom in pickles, tried in this order.
_SPARE_BYTES = [bytes((value,)) for value in range(255, 2, -1)]
_ESCAPED_ZERO, _ESCAPED_ESCAPE = bytes((ESCAPED_ZERO,)), bytes((ESCAPED_ESCAPE,))


class Origin(NamedTuple):
    """Who made a result frame, as its header ends: memory and disk are in MB."""

    slot: int
    library_pid: int
    n_slots: int
    cores: int = 0
    memory: int = 0
    disk: int = 0
    gpus: int = 0


class FrameError(ValueError):
    """A message or a frame is not what the protocol says."""


class Frame(NamedTuple):
    """A decoded bundle frame.

    Attributes
    ----------
    payloads:
        View of the whole frame; nothing big is copied.
    starts, ends:
        Where in it each call's payload lies.
    slice_ms:
        Time slice; 0: none.
    cores:
        What each call asks for; 0: nothing.
    limit_ms:
        How long each may run; 0: for ever.
    numbers_at:
        Where in `payloads` the calls' numbers are; 0: they have none.
    flags:
        Of the bundle: `BUNDLE_CAPTURES`.
    """

    functions: list[tuple[bytes, bytes | None]]
    function_indices: tuple[int, ...]
    payload_kinds: tuple[int, ...]
    payloads: memoryview
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    slice_ms: int
    cores: int
    limit_ms: int
    numbers_at: int = 0
    flags: int = 0

    def number(self, index: int) -> tuple[int, int] | None:
        """Give the number by which the program knows a call, and how often the call was lost before."""
        if not self.numbers_at:
            return None
        (both,) = BUNDLE_NUMBER.unpack_from(self.payloads, self.numbers_at + index * BUNDLE_NUMBER.size)
        return both & ((1 << LOSSES_SHIFT) - 1), both >> LOSSES_SHIFT


def split_message(message: bytes) -> tuple[bytes, bytes, bytes]:
    """Split ``COMMAND SANDBOX STDOUT_FILE``; COMMAND may hold spaces, and so may the directory a worker works in."""
    end = len(message)
    oldest = max(0, end - 2 * _PATH_MAX_NBYTES)
    while (space := message.rfind(b" ", oldest, end)) >= 0:
        # The file lies in the sandbox, so the true pair of spaces is known from paths that agree.
        result_path = message[space + 1 :]
        sandbox = result_path.rpartition(b"/")[0] or b"/"
        if message.endswith(b" " + sandbox, 0, space):
            return message[: space - len(sandbox) - 1], sandbox, result_path
        end = space
    try:
        command, sandbox, result_path = message.rsplit(b" ", 2)
    except ValueError:
        raise FrameError(f"message without sandbox and stdout file: {message[:80]!r}") from None
    return command, sandbox, result_path


def decode_command(command: bytes, sandbox: bytes) -> bytes | bytearray | mmap.mmap:
    """Give back the raw bundle frame that COMMAND stands for.

    That of a spilled frame can be written to, so that a call may change the arrays that it was given.

    Parameters
    ----------
    command:
        What the manager gave to ``vine_task_create``: never a NUL byte inside.
    sandbox:
        Where a spilled frame lies, in a file named ``frame``.

    Raises
    ------
    FrameError
        If it is something else, or cut short.
    OSError
        If that file cannot be read.
    """
    way = command[:1]
    if way == ENCODING_PLAIN:
        if len(command) < 2:
            raise FrameError(f"encoded frame cut short: {command!r}")
        return command[2:].translate(_table(command[1:2], b"\0"))
    if way == ENCODING_ESCAPED:
        if len(command) < 3:
            raise FrameError(f"encoded frame cut short: {command!r}")
        zero, escape = command[1:2], command[2:3]
        # Escapes are rare and NUL bytes are not: splitting and translating take a sixth of the time of three replaces.
        first, *others = command[3:].translate(_table(zero, b"\0")).split(escape)
        meanings = {ESCAPED_ZERO: zero, ESCAPED_ESCAPE: escape}
        try:
            return first + b"".join([meanings[part[0]] + part[1:] for part in others])
        except (IndexError, KeyError):
            raise FrameError(f"encoded frame with an escape of nothing known: {command[:80]!r}") from None
    if way == COMMAND_IN_FILE:
        with open(os.path.join(sandbox, FRAME_FILE.encode()), "rb") as file:
            nbytes = os.fstat(file.fileno()).st_size
            if nbytes >= _MAPPED_NBYTES:
                return mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_COPY)
            raw = bytearray(nbytes)
            del raw[file.readinto(raw) :]
            return raw
    raise FrameError(f"unknown way to encode a frame: {way!r}")


def encode_result(raw: bytes) -> bytes:
    """Encode a result frame without NUL bytes, as the manager encodes COMMAND.

    TaskVine sends an output of up to `INLINE_NBYTES` together with the completion message, as a C string: a NUL byte
    would cut it short and the manager would wait for the rest for ever. Longer outputs travel as they are.
    """
    for zero in _SPARE_BYTES:
        if zero not in raw:
            return ENCODING_PLAIN + zero + raw.translate(_table(b"\0", zero))
    zero, escape = _SPARE_BYTES[:2]
    escaped = raw.replace(escape, escape + _ESCAPED_ESCAPE).replace(zero, escape + _ESCAPED_ZERO)
    return ENCODING_ESCAPED + zero + escape + escaped.translate(_table(b"\0", zero))


# It takes one pass, where `bytes.replace` takes a search for each byte that it finds.
_table = lru_cache(64)(bytes.maketrans)


def decode_frame(raw: bytes | bytearray | mmap.mmap) -> Frame:
    """Decode a bundle frame, checking that its parts add up to its length."""
    try:
        magic, n_calls, n_functions, slice_ms, cores, limit_ms, flags = BUNDLE_HEADER.unpack_from(raw)
        if magic != BUNDLE_MAGIC:
            raise FrameError(f"not a bundle frame: it starts with {magic!r}")
        table_at = BUNDLE_HEADER.size + n_functions * BUNDLE_FUNCTION.size
        table = struct.unpack_from(f"<{3 * n_calls}I", raw, table_at)
        indices, nbytes, kinds = table[0::3], table[1::3], table[2::3]
        functions: list[tuple[bytes, bytes | None]] = []
        position = table_at + BUNDLE_CALL.size * n_calls
        for k in range(n_functions):
            digest, size = BUNDLE_FUNCTION.unpack_from(raw, BUNDLE_HEADER.size + k * BUNDLE_FUNCTION.size)
            functions.append((digest, bytes(raw[position : position + size]) if size else None))
            position += size
    except struct.error as error:
        raise FrameError(f"bundle frame cut short: {error}") from None
    if n_calls and max(indices) >= n_functions:
        raise FrameError(f"bundle frame refers to function {max(indices)} of {n_functions}")
    if _WITH_BUFFERS.isdisjoint(kinds):
        ends = tuple(accumulate(nbytes, initial=position))
        starts, ends = ends[:-1], ends[1:]
    else:
        starts, ends = _aligned(nbytes, kinds, position)
    end = ends[-1] if ends else position
    numbers_at = 0 if end == len(raw) else end
    if numbers_at and end + BUNDLE_NUMBER.size * n_calls != len(raw):
        raise FrameError(
            f"bundle frame of {len(raw)} bytes should have {end}, and perhaps the numbers of {n_calls} calls"
        )
    return Frame(functions, indices, kinds, memoryview(raw), starts, ends, slice_ms, cores, limit_ms, numbers_at, flags)


def _aligned(nbytes: tuple[int, ...], kinds: tuple[int, ...], position: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give where each payload starts and ends, if the first may start at `position`."""
    starts, ends = [], []
    for size, kind in zip(nbytes, kinds, strict=True):
        start = align(position) if kind in _WITH_BUFFERS else position
        position = start + size
        starts.append(start)
        ends.append(position)
    return tuple(starts), tuple(ends)
