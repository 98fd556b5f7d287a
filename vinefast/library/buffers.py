"""Large buffers beside the pickle instead of in it (PEP 574): arrays are not copied into the pickle, nor out of it.

The payload, in arguments and in results: ``u32 nbytes of the pickle; u32 n; n x { u64 offset; u64 nbytes }; pickle;
buffers``, the offsets counted from the payload's start. The gaps make buffers begin at multiples of `ALIGNMENT` in the
frame.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any

from .protocol import ALIGNMENT

# A smaller one is quicker copied.
MIN_NBYTES = 4096
# What has no buffers is not searched for any.
PLAIN_TYPES = frozenset((int, float, bool, str))

_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<QQ")


def align(position: int) -> int:
    """Give the next position at which a buffer may begin."""
    return -(-position // ALIGNMENT) * ALIGNMENT


def pack(value: Any, position: int) -> bytes | list[bytes | memoryview]:
    """Pickle a value.

    Parameters
    ----------
    value:
        What to pickle.
    position:
        Where in the frame the payload will begin.

    Returns
    -------
    bytes or list of bytes-like
        The pickle alone, if there are no large buffers; else the parts of the payload.
    """
    views: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < MIN_NBYTES:
            return True
        views.append(view)
        return False

    stream = pickle.dumps(value, 5, buffer_callback=keep)
    if not views:
        return stream
    end = position + _HEAD.size + len(views) * _ENTRY.size + len(stream)
    head = [_HEAD.pack(len(stream), len(views))]
    parts: list[bytes | memoryview] = [stream]
    for view in views:
        start = align(end)
        head.append(_ENTRY.pack(start - position, view.nbytes))
        parts += (bytes(start - end), view)
        end = start + view.nbytes
    return [b"".join(head), *parts]


def unpack(payload: memoryview) -> Any:
    """Unpickle a payload that `pack` gave in parts; buffers in it are used where they are.

    Raises
    ------
    ValueError
        If it is cut short, or no such payload.
    """
    if payload.readonly:
        payload = memoryview(bytearray(payload))
    if len(payload) < _HEAD.size:
        raise ValueError(f"a payload of {len(payload)} bytes has no room for a table of buffers")
    stream_nbytes, n = _HEAD.unpack_from(payload)
    stream_at = _HEAD.size + n * _ENTRY.size
    end = stream_at + stream_nbytes
    if end > len(payload):
        raise ValueError("the table of buffers is longer than its payload")
    stream, views = payload[stream_at:end], []
    for start, nbytes in _ENTRY.iter_unpack(payload[_HEAD.size : stream_at]):
        # Each behind the one before: none is in two arrays.
        if not end <= start <= len(payload) - nbytes:
            raise ValueError("a buffer reaches beyond its place in its payload")
        end = start + nbytes
        views.append(payload[start:end])
    return pickle.loads(stream, buffers=views)
