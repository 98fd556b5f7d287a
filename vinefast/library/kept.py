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
from .frame import RESULT_PICKLED, RESULT_TAGGED, RESULT_WITH_BUFFERS

MAGIC = b"VFK1"
START = buffers.ALIGNMENT

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
        kind = RESULT_PICKLED if isinstance(payload, bytes) else RESULT_WITH_BUFFERS
    except Exception:
        payload, kind = parsl_side.serialize(value), RESULT_TAGGED
    parts = [payload] if isinstance(payload, bytes) else payload
    with open(path, "wb") as file:
        file.write(_HEAD.pack(MAGIC, kind).ljust(START, b"\0"))
        file.writelines(parts)
    return sum(memoryview(part).nbytes for part in parts)


def read(path: str) -> Any:
    """Read a value; its arrays are pages of the file, of which the call that changes them gets copies."""
    with open(path, "rb") as file:
        nbytes = os.fstat(file.fileno()).st_size
        view = memoryview(mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_COPY))
    magic, kind = _HEAD.unpack_from(view)
    if magic != MAGIC:
        raise ValueError(f"{path} is not a value that a call has kept: it begins with {magic!r}")
    payload = view[START:]
    if kind == RESULT_WITH_BUFFERS:
        return buffers.unpack(payload)
    return pickle.loads(payload) if kind == RESULT_PICKLED else parsl_side.deserialize(bytes(payload))
