"""The encodings, by properties and at their edges."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vinefast.library.frame import FrameError, decode_command, decode_frame, encode_result, split_message

from . import encode
from .encode import Call, encode_command, encode_frame

crowded = st.one_of(
    st.binary(max_size=300),
    # All byte values, so that no byte is spare.
    st.lists(st.sampled_from([bytes(range(256)), b"\x00\x01\x02\x03", b"\x04\x01", b"\x03\x02", b"\xff\xfe"])).map(
        b"".join
    ),
)


@settings(max_examples=300, deadline=None)
@given(crowded)
def test_command(raw):
    command = encode_command(raw)
    assert b"\0" not in command
    assert decode_command(command, b"") == raw


@settings(max_examples=300, deadline=None)
@given(crowded)
def test_result(raw):
    encoded = encode_result(raw)
    assert b"\0" not in encoded
    assert encode.decode_command(encoded) == raw


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"/w/func.1", b"/my work/func.1", b"/a b /a b/f"]))
def test_message(command, sandbox):
    path = sandbox + b"/.taskvine.stdout"
    assert split_message(b"%s %s %s" % (command, sandbox, path)) == (command, sandbox, path)


def test_message_with_a_file_elsewhere():
    assert split_message(b"a b c /box /out") == (b"a b c", b"/box", b"/out")
    with pytest.raises(FrameError):
        split_message(b"a b")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=20)), max_size=20),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_frame(calls, slice_ms, carry):
    bodies = [b"body %d" % i for i in range(4)]
    raw = encode_frame([Call(bodies[k], (payload,)) for k, payload in calls], slice_ms, carry)
    frame = decode_frame(raw)
    assert frame.slice_ms == slice_ms
    assert [frame.functions[k][1] for k in frame.function_indices] == [bodies[k] if carry else None for k, _ in calls]
    payloads = [frame.payloads[start:end] for start, end in zip(frame.starts, frame.ends, strict=True)]
    assert [pickle.loads(payload) for payload in payloads] == [((payload,), {}) for _, payload in calls]
    assert len(frame.payloads) == len(raw) == (frame.ends[-1] if calls else len(raw))


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 30, 40, -1])
def test_frame_cut_short(cut):
    raw = encode_frame([Call(b"body", (1,)), Call(b"other", (2,))])
    with pytest.raises(FrameError):
        decode_frame(raw[:cut])
    with pytest.raises(FrameError):
        decode_frame(raw + b"more")
