"""Functions and arguments to bytes, beside Parsl's own way and plain pickle."""

import dataclasses
import hashlib
import pickle
import types
import weakref

import numpy as np
import parsl.serialize
import pytest
from benches._stages import Stages

from benches.measure import per_call, repeats
from tests.library.encode import decode_command
from vinefast._core import FunctionRegistry
from vinefast.library import buffers
from vinefast.library.frame import decode_frame

NO_ARGUMENTS, PICKLED, BY_PARSL, WITH_BUFFERS = 0, 1, 2, 3


@dataclasses.dataclass
class Molecule:
    name: str
    charge: int
    positions: list


def nothing(*args, **kwargs):
    """Do nothing."""


def scale(value, factor=2):
    return factor * value


# Arguments, keyword arguments, and whether pickle does for them.
SHAPES = {
    "none": ((), {}, True),
    "(i,)": ((12_345,), {}, True),
    "100 characters, a float, a keyword": (("x" * 100, 0.5), {"verbose": True}, True),
    "10 kB array": ((np.arange(1_250, dtype=np.float64),), {}, True),
    "dataclass": ((Molecule("water", 0, [(0.0, 0.0, 0.1), (0.0, 0.8, -0.5), (0.0, -0.8, -0.5)]),), {}, True),
    "lambda": ((lambda x: x + 1,), {}, False),
}


def arguments_of(payload, kind):
    if kind == NO_ARGUMENTS:
        assert payload == b""
        return (), {}
    if kind == WITH_BUFFERS:
        return buffers.unpack(memoryview(payload))
    return {PICKLED: pickle.loads, BY_PARSL: parsl.serialize.deserialize}[kind](payload)


def assert_same(arguments, shape):
    """Whether arguments came back from their bytes."""
    args, kwargs, picklable = SHAPES[shape]
    assert arguments[1] == kwargs and len(arguments[0]) == len(args)
    if not picklable:
        assert arguments[0][0](1) == 2
    else:
        for there, here in zip(arguments[0], args, strict=True):
            assert np.array_equal(there, here) if isinstance(here, np.ndarray) else there == here


def again(repeat, function, *args):
    """Do `function(*args)` so often."""
    for _ in range(repeat):
        result = function(*args)
    return result


def serialize_with_pickle(args, kwargs):
    return pickle.dumps((args, kwargs), 5)


def serialize_with_parsl(args, kwargs):
    return parsl.serialize.serialize((args, kwargs))


def calls_of(benchmark, shape):
    """How many calls make up some milliseconds."""
    return repeats(benchmark, 1, 5_000 if SHAPES[shape][2] else 50)


@pytest.mark.parametrize("shape", SHAPES)
def test_arguments(benchmark, shape):
    args, kwargs, picklable = SHAPES[shape]
    n = calls_of(benchmark, shape)
    payload, kind = per_call(benchmark, f"arguments: {shape}", Stages.serialize, nothing, args, kwargs, n, n=n)
    if not args and not kwargs:
        assert kind == NO_ARGUMENTS
    else:
        assert (kind != BY_PARSL) == picklable
    assert_same(arguments_of(payload, kind), shape)


@pytest.mark.parametrize("shape", [shape for shape, (_, _, picklable) in SHAPES.items() if picklable])
def test_arguments_with_pickle(benchmark, shape):
    args, kwargs, _ = SHAPES[shape]
    n = calls_of(benchmark, shape)
    payload = per_call(benchmark, f"arguments: {shape}", again, n, serialize_with_pickle, args, kwargs, n=n)
    assert_same(pickle.loads(payload), shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_arguments_with_parsl(benchmark, shape):
    args, kwargs, _ = SHAPES[shape]
    n = repeats(benchmark, 1, 50)
    payload = per_call(benchmark, f"arguments: {shape}", again, n, serialize_with_parsl, args, kwargs, n=n)
    assert_same(parsl.serialize.deserialize(payload), shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_call_with_parsl(benchmark, shape):
    """The function as well, which Parsl looks up in a cache, into one message."""
    args, kwargs, _ = SHAPES[shape]
    n = repeats(benchmark, 1, 50)
    pack = parsl.serialize.pack_apply_message
    message = per_call(benchmark, f"arguments: {shape}", again, n, pack, nothing, args, kwargs, n=n)
    function, *arguments = parsl.serialize.unpack_apply_message(message)
    assert function(1) is None
    assert_same(arguments, shape)


def fresh_functions(n):
    """Functions that nobody has seen, Parsl's own cache included."""
    return [types.FunctionType(scale.__code__, {}, f"scale_{i}", scale.__defaults__) for i in range(n)]


def find_all(registry, functions):
    return [Stages.find_function(registry, function) for function in functions]


def body_of(record):
    (_, body), *others = decode_frame(decode_command(Stages.pack([(record, b"", NO_ARGUMENTS)]))).functions
    assert not others
    return body


def test_first_use_of_a_function(benchmark):
    n = repeats(benchmark, 1, 50)
    registry = FunctionRegistry()
    functions = []

    def fresh():
        functions[:] = fresh_functions(n)
        return (functions,)

    records = per_call(benchmark, "function: first use", find_all, registry, n=n, setup=fresh)
    assert len(set(records)) == n
    assert parsl.serialize.deserialize(body_of(records[0]))(4) == 8
    assert all(Stages.find_function(registry, f) is r for f, r in zip(functions, records, strict=True))


def serialize_all(functions):
    return [hashlib.blake2b(parsl.serialize.serialize(f), digest_size=16).digest() for f in functions]


def test_first_use_of_a_function_in_python(benchmark):
    n = repeats(benchmark, 1, 50)
    digests = per_call(benchmark, "function: first use", serialize_all, n=n, setup=lambda: (fresh_functions(n),))
    assert len(set(digests)) == n


def test_known_function(benchmark):
    n = repeats(benchmark, 1)
    registry = FunctionRegistry()
    before = Stages.find_function(registry, scale)
    record = per_call(benchmark, "function: look-up", Stages.find_function, registry, scale, n, n=n)
    assert record is before
    assert parsl.serialize.deserialize(body_of(record))(4) == 8


def test_known_function_in_python(benchmark):
    """A dictionary of weak references, which is what holds no function for ever."""
    n = repeats(benchmark, 1)
    known = weakref.WeakKeyDictionary({scale: parsl.serialize.serialize(scale)})
    body = per_call(benchmark, "function: look-up", again, n, known.__getitem__, scale, n=n)
    assert parsl.serialize.deserialize(body)(4) == 8


def test_known_function_with_parsl(benchmark):
    """Parsl's cache, which is bounded and keeps functions alive."""
    n = repeats(benchmark, 1)
    body = per_call(benchmark, "function: look-up", again, n, parsl.serialize.serialize, scale, n=n)
    assert parsl.serialize.deserialize(body)(4) == 8
