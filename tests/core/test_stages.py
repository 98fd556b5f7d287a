"""What the core lets benches and tests do stage by stage, where benches/ does not assert it."""

import pickle
import struct
import textwrap

import numpy as np
import parsl.serialize
import pytest
from benches._stages import Stages
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl.serialize.errors import DeserializationError

from tests.library.encode import decode_command
from vinefast import errors
from vinefast._core import CallFuture, FunctionRegistry
from vinefast.library import buffers
from vinefast.library.frame import decode_frame, encode_result

REGISTRY = FunctionRegistry()
FIRST, SECOND = Stages.find_function(REGISTRY, textwrap.dedent), Stages.find_function(REGISTRY, textwrap.indent)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), st.binary(max_size=300), st.integers(0, 3)), max_size=20),
    st.booleans(),
    st.integers(1, 3),
)
def test_pack(calls, carry, repeat):
    frame = decode_frame(decode_command(Stages.pack(calls, 7, carry, repeat)))
    order = list(dict.fromkeys(function for function, _, _ in calls))
    assert frame.function_indices == tuple(order.index(function) for function, _, _ in calls)
    assert len(frame.functions) == len(order) and all((body is not None) == carry for _, body in frame.functions)
    nbytes = [end - start for start, end in zip(frame.starts, frame.ends, strict=True)]
    assert nbytes == [len(payload) for _, payload, _ in calls]
    assert frame.payload_kinds == tuple(kind for _, _, kind in calls)
    for i, (_, payload, _) in enumerate(calls):
        assert frame.payloads[frame.starts[i] : frame.ends[i]] == payload
    assert frame.slice_ms == 7


@pytest.mark.parametrize("call", [None, (FIRST, b""), (None, b"", 0), (FIRST, None, 0), (FIRST, "text", 0), [FIRST]])
def test_pack_refuses(call):
    with pytest.raises((TypeError, ValueError)):
        Stages.pack([call])


def test_repeat_is_checked():
    for repeat in (0, -1, 2**32):
        with pytest.raises(ValueError, match="repeat"):
            Stages.ring_round(1, repeat=repeat)


def test_what_names_the_program_is_not_pickled():
    arguments = ("__main__", 1)
    payload, kind = Stages.serialize(textwrap.dedent, arguments, {})
    assert kind == 2 and parsl.serialize.deserialize(payload) == (arguments, {})


def test_choose():
    assert Stages.choose(0) == []
    assert Stages.choose(3) == [1, 1, 1]
    # As near to the target as whole calls come, and no more than a share.
    assert Stages.choose(5, mean_ns=12e6, target_ns=20e6) == [2, 2, 1]
    assert Stages.choose(8, slots=2, mean_ns=5e6) == [4, 2, 1, 1]
    # But a bundle is worth its dispatch.
    assert Stages.choose(8, slots=2, mean_ns=0.01e6) == [8]


def frame_of(*records):
    body = b"".join(struct.pack("<IIQ", status, len(payload), 0) + payload for status, payload in records)
    return struct.pack("<4sIQQQIII28x", b"VFR1", len(records), 72 + len(body), 0, 0, 0, 1, 1) + body


def test_finish_by_every_status():
    raised = pickle.dumps(("KeyError", "'k'", "traceback", None, 1 << 20))
    died = pickle.dumps((None, 11, "the log", None))
    by_parsl = parsl.serialize.serialize("tagged")
    array = b"".join(buffers.pack(np.arange(1_000), 0))
    records = (0, b""), (1, pickle.dumps([1])), (2, by_parsl), (3, raised), (4, died), (6, array), (1, b"no pickle")
    frame = frame_of(*records)
    for each in (frame, encode_result(frame)):
        seen = []
        futures = [CallFuture() for _ in range(2 * len(records))]
        for future in futures:
            future.add_done_callback(seen.append)
        assert Stages.finish(each, futures) == futures == seen
        for none, one, tagged, error, dead, numbers, broken in (futures[:7], futures[7:]):
            assert none.result() is None and one.result() == [1] and tagged.result() == "tagged"
            assert numbers.result().tolist() == list(range(1_000))
            assert isinstance(error.exception(), errors.RemoteError)
            assert isinstance(dead.exception(), errors.CallDied)
            assert "cannot be rebuilt" in str(broken.exception())


def test_finish_leaves_what_is_done():
    futures = [CallFuture(), CallFuture()]
    futures[0].cancel()
    Stages.finish(frame_of((0, b""), (0, b"")), futures)
    assert futures[0].cancelled() and futures[1].result() is None


@pytest.mark.parametrize(
    "frame",
    [b"", b"I", b"VFR1", frame_of(), frame_of((0, b""))[:-1], frame_of((5, b"")), frame_of((0, b""), (0, b""))],
    ids=["empty", "encoded nothing", "cut short", "no record", "record cut short", "not run", "too many records"],
)
def test_finish_refuses(frame):
    future = CallFuture()
    with pytest.raises(ValueError):
        Stages.finish(frame, [future])
    assert not future.done()


PICKLE = pickle.dumps(None)


def table(stream_nbytes, *entries, n=None):
    head = struct.pack("<II", stream_nbytes, len(entries) if n is None else n)
    return head + b"".join(struct.pack("<QQ", *entry) for entry in entries) + PICKLE + bytes(64)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(7),
        table(1 << 20),
        table(2**32 - 1, n=2**32 - 1),
        table(len(PICKLE), (2**64 - 1, 1)),
        table(len(PICKLE), (64, 2**64 - 1)),
        table(len(PICKLE), (0, 8)),
        table(len(PICKLE), (48, 32), (64, 16)),
    ],
    ids=["empty", "no table", "pickle", "entries", "offset", "length", "in the table", "one in another"],
)
def test_a_table_of_buffers_is_not_believed(payload):
    futures = [CallFuture(), CallFuture()]
    Stages.finish(frame_of((6, payload), (0, b"")), futures)
    assert isinstance(futures[0].exception(), DeserializationError)
    assert isinstance(futures[0].exception().__cause__, ValueError)
    assert futures[1].result() is None


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (3, None),
        (3, ["KeyError", "k", "", None, 0]),
        (3, ("KeyError", "k", "", None)),
        (3, (KeyError, "k", "", None, 0)),
        (3, ("KeyError", "k", "", "wrapped", 0)),
        (3, ("KeyError", "k", "", None, "much")),
        (4, ("1", None, "")),
        (4, (None, 11, b"log")),
        (4, (None, 11, "", "")),
    ],
)
def test_why_a_call_has_no_result_is_not_believed(status, fields):
    future = CallFuture()
    Stages.finish(frame_of((status, pickle.dumps(fields))), [future])
    assert isinstance(future.exception(), DeserializationError)
    assert "something else" in str(future.exception())


@pytest.mark.parametrize("future", [None, object()])
def test_finish_refuses_other_futures(future):
    with pytest.raises(TypeError):
        Stages.finish(frame_of((0, b"")), [future])
