"""What a library reads of the manager, of its worker and of other workers: whatever that is, it says what is wrong."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.made_up import damaged, examples
from vinefast.library import buffers, files, refusal, stopping, value_file
from vinefast.library.frame import FrameError, decode_command, decode_frame, split_message
from vinefast.library.memory_limit import split_limit
from vinefast.library.protocol import ALIGNMENT
from vinefast.library.worker_link import NoMessage, WorkerGone, WorkerLink

from .encode import Call, decode_result, encode_command, encode_frame
from .worker import LibraryEnded

# All byte values, so that no byte is spare, and escapes are needed.
CROWDED = bytes(range(256)) + b"\xff\x01\xfe\x02" * 3
COMMANDS = [encode_command(raw) for raw in (b"", bytes(40), CROWDED)]
FRAMES = [
    encode_frame([]),
    encode_frame([Call(b"body", (1,)), Call(b"other", (b"x" * 50,)), Call(b"body")], 7, limit_ms=100),
    encode_frame([Call(b"body", (i,)) for i in range(9)], carry=False, first_number=1 << 40),
]
MESSAGE = b"S 17:3,5 18:0 /work dir/func.7 /work dir/func.7/.taskvine.stdout"


@pytest.mark.parametrize("command", [b"", b"X", b"I", b"E", b"Ez", b"Ezee", b"Ezee\x03", b"Ezee\x01e"])
def test_a_command_that_is_none(command):
    with pytest.raises(FrameError):
        decode_command(command, b"")


@examples(300)
@given(st.one_of(st.binary(max_size=60), *map(damaged, COMMANDS)).filter(lambda command: command[:1] != b"F"))
def test_a_command(command):
    with contextlib.suppress(FrameError):
        assert len(decode_command(command, b"")) <= len(command)


@examples(500)
@given(st.one_of(st.binary(max_size=80), *map(damaged, FRAMES)))
def test_a_frame(raw):
    with contextlib.suppress(FrameError):
        frame = decode_frame(raw)
        assert all(index < len(frame.functions) for index in frame.function_indices)
        assert len(frame.function_indices) == len(frame.payload_kinds) == len(frame.starts) == len(frame.ends)
        places = [0, *(place for pair in zip(frame.starts, frame.ends, strict=True) for place in pair), len(raw)]
        assert places == sorted(places)
        assert sum(len(body or b"") for _, body in frame.functions) < len(raw)
        for index in range(len(frame.starts)):
            frame.number(index)


@examples(200)
@given(st.one_of(st.binary(max_size=40), st.text("S M0123456789:, /", max_size=40).map(str.encode), damaged(MESSAGE)))
def test_a_message(message):
    with contextlib.suppress(FrameError):
        command, sandbox, path = split_message(message)
        assert message == b" ".join((command, sandbox, path))
    with contextlib.suppress(FrameError):
        limit, rest = split_limit(message)
        assert limit >= 0 and message.endswith(rest)
    with contextlib.suppress(ValueError):
        assert all(0 <= index < 4096 for indices in stopping.parse(message).values() for index in indices)


@pytest.mark.parametrize("message", [b"M", b"M ", b"M-1 I", b"M1_0 I", b"Mx I", b"M" + b"9" * 5000 + b" I"])
def test_a_limit_that_is_none(message):
    with pytest.raises(FrameError, match="limit of memory"):
        split_limit(message)


@pytest.mark.parametrize("command", [b"S 1:-1", b"S 1:4096", b"S 1:99999999999", b"S 1:1_0", b"S 1:+1", b"T 1"])
def test_an_index_that_is_none(command):
    with pytest.raises(ValueError, match="is no index of a call"):
        stopping.parse(command)


def packed(value, position=0):
    return b"".join(buffers.pack(value, position))


ARRAYS = {"a": np.arange(1000), "b": [np.ones(600), "between"]}
WITH_BUFFERS = packed(ARRAYS)
TABLE_NBYTES = 8 + 2 * 16


@examples(300)
@given(st.integers(0, TABLE_NBYTES - 1), st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)))
def test_a_table_of_buffers(at, number):
    payload = bytearray(WITH_BUFFERS)
    nbytes = 4 if at < 8 else 8
    at -= at % nbytes
    payload[at : at + nbytes] = (number & (2 ** (8 * nbytes) - 1)).to_bytes(nbytes, "little")
    try:
        found = buffers.unpack(memoryview(payload))
    except Exception:  # what is no pickle may raise anything
        return
    # A buffer may begin elsewhere, but none is shorter than its array.
    assert [len(found["a"]), len(found["b"][0])] == [1000, 600]


@pytest.mark.parametrize("nbytes", [*range(0, 300, 7), len(WITH_BUFFERS) - 1])
def test_a_payload_with_buffers_that_is_cut_short(nbytes):
    with pytest.raises(ValueError, match="table of buffers|its place"):
        buffers.unpack(memoryview(bytearray(WITH_BUFFERS[:nbytes])))


def test_a_buffer_of_a_bytes_object_is_not_shortened():
    """Nothing else says how long that is."""
    value = pickle.PickleBuffer(bytearray(5000))
    payload = bytearray(packed([value]))
    payload[16:24] = (1 << 40).to_bytes(8, "little")
    with pytest.raises(ValueError, match="reaches beyond its place"):
        buffers.unpack(memoryview(payload))


@examples(200)
@given(st.binary(max_size=60), st.integers(0, 2**32 - 1))
def test_a_payload_with_a_plan(payload, nbytes):
    whole = payload + pickle.dumps(tuple(files.Plan("d", (), (), ())))
    if 0 < nbytes <= len(whole):
        nbytes += len(whole)  # what it is a plan of, Pickle says
    with pytest.raises(ValueError, match="with a plan of"):
        files.split(memoryview(whole + nbytes.to_bytes(4, "little")))


@pytest.mark.parametrize("nbytes", range(4))
def test_a_payload_without_a_plan(nbytes):
    with pytest.raises(ValueError, match="with a plan of 0"):
        files.split(memoryview(bytes(nbytes)))


@pytest.mark.parametrize("value", [[1, "text"], ARRAYS])
def test_a_kept_value_that_is_cut_short(tmp_path, value):
    """As by a worker that was killed while another one fetched it."""
    path = str(tmp_path / "value")
    value_file.write(value, path)
    nbytes = os.path.getsize(path)
    np.testing.assert_equal(value_file.read(path), value)
    for size in (nbytes - 1, ALIGNMENT + 1, ALIGNMENT, ALIGNMENT - 1, 5, 0):
        os.truncate(path, size)
        with pytest.raises((ValueError, EOFError, pickle.UnpicklingError), match=path if size < ALIGNMENT else None):
            value_file.read(path)


def test_a_kept_value_of_another_kind(tmp_path):
    path = tmp_path / "value"
    value_file.write(1, str(path))
    data = bytearray(path.read_bytes())
    data[4] = 77
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{path} is not a value"):
        value_file.read(str(path))


@pytest.fixture(scope="module")
def received():
    """Give what a library takes from its worker's pipe, into which this is written in these parts."""

    def received(parts):
        in_end, ours = os.pipe()
        null = os.open(os.devnull, os.O_WRONLY)
        link = WorkerLink(in_end, null, os.getpid())
        try:
            found = []
            for part in parts:
                os.write(ours, part)
                found += link.receive()
            os.close(ours)
            ours = -1
            with contextlib.suppress(WorkerGone):
                while True:
                    found += link.receive()
            return found
        finally:
            for fd in (in_end, null, ours):
                if fd >= 0:
                    os.close(fd)

    return received


def message_of(task_id, text):
    body = b"%d %s" % (task_id, text)
    return b"%d\n%s" % (len(body), body)


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 2**31), st.binary(max_size=40)), max_size=8), st.lists(st.integers(0, 400)))
def test_messages_in_any_parts(received, messages, cuts):
    whole = b"".join(message_of(*message) for message in messages)
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    parts = [whole[start:end] for start, end in zip(edges, edges[1:], strict=False) if end > start]
    assert received(parts) == [(b"%d" % task_id, text) for task_id, text in messages]


@examples(150)
@given(st.one_of(st.binary(min_size=1, max_size=60), damaged(message_of(7, b"I\xffabc /w /w/out") * 3)))
def test_what_is_no_message(received, data):
    if not data:
        return
    with contextlib.suppress(NoMessage):
        assert sum(len(task_id) + len(text) for task_id, text in received([data])) < len(data)


@pytest.mark.parametrize("data", [b"x\n", b"-5\nabc", b"\n", b" 5\n", b"9" * 30, b"3\nabc", b"1_0\n" + bytes(10)])
def test_what_is_surely_no_message(received, data):
    with pytest.raises(NoMessage, match="the worker has sent"):
        received([data])


@examples(200)
@given(st.one_of(st.just(b""), st.binary(max_size=200), st.sampled_from([CROWDED, bytes(300)])))
def test_another_python_reads_the_same(raw):
    assert refusal._decode(encode_command(raw), b"") == raw


@examples(200)
@given(st.one_of(*map(damaged, FRAMES)))
def test_another_python_answers_each_call(raw):
    try:
        answer = refusal._answer(raw, "another Python", 1)
    except (ValueError, struct.error):
        return
    n_calls = int.from_bytes(raw[4:8], "little")
    assert len(decode_result(answer).records) == n_calls <= len(raw) // 12


def outcome(worker, task_id):
    told_id, exit_code = map(int, worker.read_message().split())
    assert told_id == task_id
    return exit_code


CUT = [FRAMES[1][:-1], FRAMES[1][:30], FRAMES[2] + b"x", b"no frame"]
NO_FRAMES = [b"", b"X", b"I", b"Ezee", b"Ezee\x03", b"Mx I", *map(encode_command, CUT)]


def test_a_library_goes_on_after_what_it_cannot_run(start_worker):
    """Nobody would answer its other bundles."""
    worker = start_worker()
    assert [outcome(worker, worker.send_raw(command)) for command in NO_FRAMES] == [1] * len(NO_FRAMES)
    for command in (b"S", b"S 1:-1", b"S 1:9999", b"S 1:", b"T", b"T 1"):
        task_id = worker.send_raw(command)
        assert worker.collect(resend=False)[0] == task_id
    for message in (b"x", b"S 1:1", b"T 1:1", b"M1 x"):
        os.write(worker.to_library, message_of(99, message))
        assert outcome(worker, 99) == 1
    assert worker.run([Call(len, ("abc",))]).records[0].value == 3


def test_what_a_bundle_waits_for_that_has_no_place_for_its_result(start_worker):
    worker = start_worker()
    task_id = worker.send([Call(time.sleep, (0.5,))])
    os.write(worker.to_library, message_of(99, b"x"))
    assert outcome(worker, 99) == 1
    assert worker.collect()[0] == task_id


def test_a_library_that_hears_no_messages_says_so_and_ends(start_worker):
    worker = start_worker()
    os.write(worker.to_library, b"nonsense, and more than a length\n")
    with pytest.raises(LibraryEnded, match="NoMessage: the worker has sent b'nonsense"):
        worker.read_message()
