"""What workers send back, made up: a frame is refused as a whole, or each of its calls ends."""

from __future__ import annotations

import pickle
import struct

import pytest
from benches._stages import Stages
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.made_up import damaged, examples
from vinefast._core import CallFuture, pieces_of_output
from vinefast.library.frame import encode_result
from vinefast.library.protocol import OUTPUT_FILE, OUTPUT_OF_CALL, OUTPUT_OF_SLOT, OUTPUT_PIECE, RESULT_HEADER

N_CALLS = 3


def frame_of(*records):
    body = b"".join(struct.pack("<IIQ", status, len(payload), 5) + payload for status, payload in records)
    head = RESULT_HEADER.pack(b"VFR1", len(records), RESULT_HEADER.size + len(body), 1, 2, 0, 99, 1, 1, 1, 1, 0, 0, 0)
    return head + body


FRAMES = [
    frame_of((0, b""), (1, pickle.dumps(7)), (0, b"")),
    encode_result(frame_of((0, b""), (1, pickle.dumps(7)), (0, b""))),
    encode_result(frame_of((0, b""), (1, bytes(range(256))), (0, b""))),
]


@examples(400)
@given(st.one_of(st.binary(max_size=120), *map(damaged, FRAMES)))
def test_a_result_frame(frame):
    futures = [CallFuture() for _ in range(N_CALLS)]
    try:
        done = Stages.finish(frame, futures)
    except ValueError:
        assert not any(future.done() for future in futures)
        return
    assert done == futures and all(future.done() for future in futures)
    for future in futures:
        assert future.exception() is not None or future.result() is not futures


def piece(kind, number, text):
    return OUTPUT_PIECE.pack(kind, len(text), number, 3) + text


OUTPUT = (
    piece(OUTPUT_OF_CALL, 5, b"printed")
    + piece(OUTPUT_FILE, 2**64 - 1, b"node-1-77-slot-0.log")
    + piece(OUTPUT_OF_SLOT, 2**64 - 1, b"written\xff")
)


def test_output_as_it_is_sent():
    assert pieces_of_output(OUTPUT) == ({5: (3, b"printed")}, [("node-1-77-slot-0.log", 3, b"written\xff")])


@examples(300)
@given(st.one_of(st.binary(max_size=60), damaged(OUTPUT)))
def test_output(data):
    try:
        printed, written = pieces_of_output(data)
    except ValueError as error:
        assert "the library sent output" in str(error)
        return
    texts = [text for _, text in printed.values()] + [text for _, _, text in written]
    assert sum(map(len, texts)) <= len(data) and all(isinstance(name, str) for name, _, _ in written)


@pytest.mark.parametrize("nbytes", range(1, len(OUTPUT)))
def test_output_that_is_cut_short(nbytes):
    edges = {0, OUTPUT_PIECE.size + 7, 2 * OUTPUT_PIECE.size + 7 + 20}
    if nbytes in edges:
        pieces_of_output(OUTPUT[:nbytes])
        return
    with pytest.raises(ValueError, match="is cut short"):
        pieces_of_output(OUTPUT[:nbytes])
