"""Large buffers beside the pickle."""

from __future__ import annotations

import mmap
import pickle

import numpy as np
import pytest

from vinefast.library import buffers
from vinefast.library.frame import decode_command, decode_frame
from vinefast.library.protocol import ALIGNMENT, BUNDLE_CALL, BUNDLE_FUNCTION, BUNDLE_HEADER, PAYLOAD_BUFFERS

from .encode import Call, encode_frame


def joined(parts):
    return memoryview(bytearray(b"".join(parts)))


@pytest.mark.parametrize("value", [1, "text", [1, 2], np.arange(10), {"small": np.zeros(100)}])
def test_a_value_without_large_buffers_is_a_plain_pickle(value):
    packed = buffers.pack(value, 0)
    assert isinstance(packed, bytes)
    np.testing.assert_equal(pickle.loads(packed), value)


@pytest.mark.parametrize("position", [0, 1, 63, 64, 1000])
def test_buffers_are_aligned_in_the_frame_and_used_in_place(position):
    value = {"a": np.arange(1000), "b": [np.ones((30, 40)), "between", np.zeros(7000, np.uint8)], "small": np.arange(3)}
    parts = buffers.pack(value, position)
    frame = mmap.mmap(-1, position + sum(map(len, parts)))  # begins at a page, as a spilled frame does
    frame[position:] = b"".join(parts)
    found = buffers.unpack(memoryview(frame)[position:])
    np.testing.assert_equal(found, value)
    for array in (found["a"], *found["b"][::2]):
        assert array.ctypes.data % ALIGNMENT == 0
        assert not array.flags.owndata
        array += 1
    assert buffers.unpack(memoryview(frame)[position:])["a"][0] == 1


def test_what_may_not_be_written_to_is_copied():
    parts = buffers.pack(np.arange(1000), 0)
    raw = b"".join(parts)
    array = buffers.unpack(memoryview(raw))
    array[:] = 0
    assert buffers.unpack(memoryview(raw))[-1] == 999


def test_array_that_is_not_contiguous():
    value = np.arange(40000).reshape(200, 200)[::2, ::3]
    packed = buffers.pack(value, 0)
    found = pickle.loads(packed) if isinstance(packed, bytes) else buffers.unpack(joined(packed))
    np.testing.assert_equal(found, value)


@pytest.mark.parametrize("padding", [0, 600_000])
def test_spilled_frame(tmp_path, padding):
    """Read when it is small, mapped when it is large; payloads with buffers begin at multiples of the alignment."""
    frame = bytearray(encode_frame([Call(len, kind=1, args=(bytes(padding),)), Call(len, kind=0), Call(len, kind=0)]))
    table = BUNDLE_HEADER.size + BUNDLE_FUNCTION.size + BUNDLE_CALL.size
    payload = b"".join(buffers.pack(((np.arange(1000),), {}), 0))
    for _ in range(2):
        frame[table : table + 12] = b"".join(n.to_bytes(4, "little") for n in (0, len(payload), PAYLOAD_BUFFERS))
        frame += bytes(-len(frame) % 64) + payload
        table += 12
    (tmp_path / "frame").write_bytes(frame)
    decoded = decode_frame(decode_command(b"F", bytes(tmp_path)))
    assert not decoded.payloads.readonly
    for i in (1, 2):
        assert decoded.starts[i] % ALIGNMENT == 0
        (array,), _ = buffers.unpack(decoded.payloads[decoded.starts[i] : decoded.ends[i]])
        np.testing.assert_equal(array, np.arange(1000))
        array[0] = 5
    assert (tmp_path / "frame").read_bytes() == frame
