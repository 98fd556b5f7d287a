"""Values that stay on a worker: files in its cache, from which arrays are mapped and not read.

``8 bytes magic and kind; gap up to `START`; payload``, where the payload is what would have gone back in a record of
the kind (frame.py).
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from typing import Any

from . import buffers, parsl_side
from .protocol import ALIGNMENT, STATUS_BUFFERS, STATUS_PARSL, STATUS_PICKLE

MAGIC = b"VFK1"
START = ALIGNMENT

_HEAD = struct.Struct("<4sI")


def write(value: Any, path: str) -> int:
    """Write a value to a file.

    Returns
    -------
    int
        Bytes of the payload.
    """
    payload: Any
    try:
        payload = buffers.pack(value, START)
        kind = STATUS_PICKLE if isinstance(payload, bytes) else STATUS_BUFFERS
    except Exception:
        payload, kind = parsl_side.serialize(value), STATUS_PARSL
    parts = [payload] if isinstance(payload, bytes) else payload
    with open(path, "wb") as file:
        file.write(_HEAD.pack(MAGIC, kind).ljust(START, b"\0"))
        file.writelines(parts)
    return sum(memoryview(part).nbytes for part in parts)


def read(path: str) -> Any:
    """Read a value; its arrays are pages of the file, of which the call that changes them gets copies.

    Raises
    ------
    ValueError
        If it is none.
    """
    with open(path, "rb") as file:
        nbytes = os.fstat(file.fileno()).st_size
        if nbytes < START:
            raise ValueError(f"{path} is not a value that a call has kept: it has {nbytes} bytes")
        view = memoryview(mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_COPY))
    magic, kind = _HEAD.unpack_from(view)
    if magic != MAGIC or kind not in (STATUS_PICKLE, STATUS_BUFFERS, STATUS_PARSL):
        raise ValueError(f"{path} is not a value that a call has kept: it begins with {bytes(view[: _HEAD.size])!r}")
    payload = view[START:]
    if kind == STATUS_BUFFERS:
        return buffers.unpack(payload)
    return pickle.loads(payload) if kind == STATUS_PICKLE else parsl_side.deserialize(bytes(payload))
