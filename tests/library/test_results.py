"""What calls return comes back as it was."""

from __future__ import annotations

import json
import math
import pickle
import platform

import calls
import pytest

from .encode import Call


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        True,
        "text \udcff é",
        b"\0\n \xff",
        bytes(range(256)),
        [1, [2, (3, {})]],
        {"a": float("inf")},
        2**200,
        ...,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_values(worker, value):
    record = worker.run([Call(calls.same, (value,))]).records[0]
    assert record.value == value
    assert record.status == (0 if value is None else 1)


def test_nan(worker):
    assert math.isnan(worker.run([Call(calls.same, (float("nan"),))]).records[0].value)


def test_kinds_of_payload(worker):
    result = worker.run(
        [
            Call(calls.add, (1,), {"b": 2}),
            Call(calls.nothing),
            Call(calls.add, (3,), {"b": 4}, kind=2),
            Call(calls.add, (5,)),
        ]
    )
    assert [record.value for record in result.records] == [3, None, 7, 6]


def test_arguments_that_pickle_cannot_carry(worker):
    record = worker.run([Call(calls.same, (calls.make_lambda(1),), kind=2)]).records[0]
    assert record.status == 2
    assert record.value(1) == 2


def test_lambda_and_closure_as_functions(worker):
    result = worker.run([Call(calls.FIVE), Call(calls.make_lambda(10), (1,))])
    assert [record.value for record in result.records] == [5, 11]


def test_results_that_pickle_cannot_carry(worker):
    result = worker.run([Call(calls.make_lambda, (3,)), Call(calls.make_local_class_instance)])
    assert [record.status for record in result.records] == [2, 2]
    assert result.records[0].value(4) == 7
    assert result.records[1].value.value == 7


def test_result_that_nothing_can_carry(worker):
    result = worker.run([Call(calls.make_generator), Call(calls.add, (1,))])
    name, message, text, *_ = result.records[0].value
    assert name == "parsl.serialize.errors.SerializationError"
    assert (
        "function make_generator: its result, of type generator, cannot be serialized (TypeError: cannot pickle "
        "'generator' object)" in message
    )
    assert "cannot pickle 'generator' object" in text
    assert type(result.records[0].exception.__cause__) is TypeError
    assert result.records[1].value == 2


def test_big_results_between_small_ones(worker):
    sizes = [0, 256, 200_192, 100_096, 10 << 20, 256, 262_144, 0, 261_888]
    result = worker.run([Call(calls.make_bytes, (size,)) for size in sizes])
    for record, size in zip(result.records, sizes, strict=True):
        assert record.value == calls.make_bytes(size)


def test_sizes_around_the_area(worker):
    room = 262144 - 64 - 48
    overhead = len(pickle.dumps(bytes(1 << 18), 5)) - (1 << 18)
    sizes = range(room - 40, room + 20)
    result = worker.run([Call(calls.make_zeros, (size - 16 - overhead,)) for size in sizes])
    assert [len(record.payload) for record in result.records] == [size - 16 for size in sizes]


def test_many_small_results_fill_the_area_more_than_once(worker):
    result = worker.run([Call(calls.same, (bytes([i % 256]) * 100,)) for i in range(5000)])
    assert [record.value[0] for record in result.records] == [i % 256 for i in range(5000)]


def test_many_nones_fill_the_area(worker):
    result = worker.run([Call(calls.nothing)] * 20_000)
    assert [record.status for record in result.records] == [0] * 20_000


def test_big_arguments(worker):
    value = calls.make_bytes(3 << 20)
    assert worker.run([Call(calls.same, (value,))]).records[0].value == value


def test_returned_exception_is_a_result(worker):
    record = worker.run([Call(calls.return_exception)]).records[0]
    assert record.status == 1
    assert isinstance(record.value, ValueError)


def test_numbers_of_the_header(worker):
    result = worker.run([Call(calls.sleep, (0.02,)), Call(calls.nothing)])
    assert result.slot == 0
    assert result.pid == worker.process.pid
    assert 0 < result.wait_ns < 10**9
    assert result.records[0].duration_ns >= 20_000_000 > result.records[1].duration_ns
    assert result.run_ns >= sum(record.duration_ns for record in result.records)


def test_a_bundle_without_calls_is_answered_with_what_the_node_is_like(worker):
    (record,) = worker.run([]).records
    assert record.status == 7
    node = json.loads(record.payload)
    assert (node["hostname"], node["python_v"]) == (platform.node(), platform.python_version())
    assert node["total_memory"] > 1 << 20
    assert worker.run([]).records[0].payload != record.payload  # the identifier


def test_spilled_frame(worker, tmp_path):
    from .encode import encode_frame

    sandbox = worker.directory / "func.9000"
    sandbox.mkdir()
    (sandbox / "frame").write_bytes(encode_frame([Call(calls.add, (1,))]))
    worker.send_raw(b"F", 9000)
    assert worker.collect()[1].records[0].value == 2


def test_result_is_protocol_5(worker):
    payload = worker.run([Call(calls.same, ("x",))]).records[0].payload
    assert payload == pickle.dumps("x", 5)


def test_malformed_frames_are_answered(worker):
    for command in (b"Igibberish", b"Q", b"I\x01", b"F", b"I\x03VFB1\x02\x03\x03\x03"):
        task_id = worker.send_raw(command)
        assert worker.read_message() == b"%d 1" % task_id
    assert worker.run([Call(calls.add, (1,))]).records[0].value == 2
