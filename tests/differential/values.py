"""What calls of generated programs raise, return and are given: also what is hard to bring over."""

# First, as in any program: Parsl changes how the exceptions are pickled that are there when it is imported.
import parsl.app.python  # noqa: F401  # isort: skip

import collections
import dataclasses
import datetime
import decimal
import enum
import re
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy
from parsl.app.errors import AppTimeout, BashExitFailure, RemoteExceptionWrapper
from parsl.data_provider.files import File


class Point:
    """An object of a class of the program's."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return type(other) is Point and (self.x, self.y) == (other.x, other.y)

    def __hash__(self):
        return hash((self.x, self.y))


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Measured:
    what: str
    values: list = dataclasses.field(default_factory=list)


Pair = collections.namedtuple("Pair", "left right")


class Whole(int):
    """A number with an attribute."""


class Undumpable:
    """Cannot be serialized, for a reason of its own."""

    def __reduce__(self):
        raise Own("cannot be dumped")


class Unloadable:
    """Can be serialized, but not made anew."""

    def __reduce__(self):
        return _not_loaded, ()


def _not_loaded():
    raise Own("cannot be loaded")


class Own(Exception):
    """An exception as it should be."""


class Detailed(Own):
    """Keeps what it is made of, and hands all of it on."""

    def __init__(self, code, detail="none"):
        super().__init__(code, detail)
        self.code = code


class Odd(Exception):
    """Cannot be made anew of its `args`, as pickle would."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class KeywordOnly(Exception):
    """Cannot be made anew without a keyword."""

    def __init__(self, *, code):
        super().__init__("keyword")
        self.code = code


class Reduced(Exception):
    """Says itself how it is made anew."""

    def __init__(self, first, second):
        super().__init__(f"{first}-{second}")
        self.pair = first, second

    def __reduce__(self):
        return Reduced, self.pair


class Nameless(Exception):
    """Neither its text nor its representation can be had."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Falsy(Exception):
    """Is false, as an empty list is."""

    def __bool__(self):
        return False


def _with(error, **attributes):
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _local():
    class Local(Exception):
        pass

    return Local("local")


def _noted():
    error = Own("noted")
    if hasattr(error, "add_note"):  # since Python 3.11
        error.add_note("a note")
    return error


def _in_another():
    try:
        raise KeyError("first")
    except KeyError:
        return Own("second")


EXCEPTIONS = {
    "ValueError": lambda: ValueError("bad value", 3),
    "KeyError": lambda: KeyError("key"),
    "OSError": lambda: FileNotFoundError(2, "none", "/no/such"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
    "ImportError": lambda: ImportError("no module", name="none", path="/none"),
    "SyntaxError": lambda: SyntaxError("bad syntax", ("file", 1, 2, "text")),
    "StopIteration": lambda: StopIteration(3),
    "AssertionError": AssertionError,
    "RecursionError": lambda: RecursionError("deep"),
    "MemoryError": MemoryError,
    "TimeoutError": lambda: TimeoutError("late"),
    "CancelledError": lambda: CancelledError("not by anybody"),
    "AppTimeout": lambda: AppTimeout("an app's own"),
    "BashExitFailure": lambda: BashExitFailure("an app's own", 3),
    "Own": lambda: Own("own", [1, {"a": (2,)}]),
    "Detailed": lambda: Detailed(5, detail="more"),
    "Reduced": lambda: Reduced(1, 2),
    "Falsy": lambda: Falsy("false"),
    "array": lambda: Own(numpy.arange(3)),
    "attribute": lambda: _with(Own("attribute"), extra={"a": [1, 2]}),
    "cause": lambda: _with(Own("caused"), __cause__=KeyError("cause")),
    "note": _noted,
    "within": _in_another,
    "local": _local,
    "nul": lambda: Own("a\0b", b"\0\n\r"),
    "surrogate": lambda: Own("\udc80"),
    "huge": lambda: Own("x" * 3_000_000),
    "locked": lambda: _with(Own("locked"), lock=threading.Lock()),
    # What not every executor can bring back.
    "generator": lambda: _with(Own("generator"), steps=(x for x in range(3))),
    "Odd": lambda: Odd(1, 2),
    "KeywordOnly": lambda: KeywordOnly(code=3),
    "Nameless": Nameless,
    # What Parsl does not catch on the worker.
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("stop"),
    "GeneratorExit": GeneratorExit,
}


def _cyclic():
    value = [1]
    value.append(value)
    return value


def _twice(value):
    return [value, {"again": value}]


def _read_only():
    array = numpy.arange(5)
    array.flags.writeable = False
    return array


def _closure():
    inner = [1, 2]
    return lambda: inner


def _deep(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def _local_object():
    class Inner:
        def __init__(self):
            self.value = [1]

    return Inner()


# What any executor can bring over, either way.
VALUES = {
    "None": lambda: None,
    "shared": lambda: _twice([1]),
    "array": lambda: numpy.arange(12, dtype="<f4").reshape(3, 4).T,
    "big array": lambda: numpy.arange(400_000),
    "array twice": lambda: _twice(numpy.arange(50_000)),
    "strided": lambda: numpy.arange(60_000)[::3],
    "scalar array": lambda: numpy.array(1.5),
    "numpy scalars": lambda: [numpy.float32(1.5), numpy.datetime64("2026-11-30"), numpy.bool_(True)],
    "records": lambda: numpy.array([(1, "a")], dtype=[("number", "i4"), ("text", "U3")]),
    "masked": lambda: numpy.ma.array([1, 2, 3], mask=[0, 1, 0]),
    "strings": lambda: numpy.array(["a", "bcd"]),
    "objects": lambda: numpy.array([Point(1, 2), None, numpy.arange(2)], dtype=object),
    "empty array": lambda: numpy.zeros((0, 3)),
    "big bytes": lambda: b"\0\n\xff" * 700_000,
    "bytearray": lambda: bytearray(b"ab\0"),
    "big bytearray": lambda: _twice(bytearray(b"ab\0" * 50_000)),
    "big text": lambda: "\0é\udc80" * 50_000,
    "point": lambda: Point([1], Point(2, 3)),
    "exception": lambda: Own("returned"),
    "false exception": lambda: Falsy("returned"),
    "class": lambda: Point,
    "path": lambda: Path("/a/b"),
    "file": lambda: File("/a/b"),
    "decimal": lambda: decimal.Decimal("1.10"),
    "enum": lambda: Colour.RED,
    "dataclass": lambda: Measured("what", [1]),
    "namedtuple": lambda: Pair(1, [2]),
    "whole": lambda: _with(Whole(3), unit="m"),
    "time": lambda: datetime.datetime(2026, 11, 30, tzinfo=datetime.timezone.utc),
    "slice": lambda: slice(1, None, 2),
    "pattern": lambda: re.compile("a+", re.I),
    "module": lambda: re,
    "builtin": lambda: print,
    "closure": _closure,
    "local object": _local_object,
    "counter": lambda: collections.Counter("aab"),
    "default": lambda: collections.defaultdict(list, a=[1]),
    "deque": lambda: collections.deque([1, 2], maxlen=3),
    "order": lambda: {"b": 1, "a": 2, 1: 3},
    "NotImplemented": lambda: NotImplemented,
    "ellipsis": lambda: ...,
    "memory": lambda: {Point(1, 2): {3}, frozenset([1]): range(3)},
    "deep": lambda: _deep(30),
    "lock": threading.Lock,
    "nested lock": lambda: {"a": [1, threading.Lock()]},
}

# What some cannot; and a cycle, in which Parsl would look for futures without end.
RESULTS = VALUES | {
    "cyclic": _cyclic,
    "big endian": lambda: numpy.arange(3, dtype=">i8"),
    "read only": _read_only,
    "wrapper": lambda: RemoteExceptionWrapper(Own, Own("wrapped"), None),
    "generator": lambda: (x for x in range(3)),
    "nested generator": lambda: [1, {"a": (x for x in range(3))}],
    "memoryview": lambda: memoryview(b"abc"),
    "too deep": lambda: _deep(100_000),
    "undumpable": Undumpable,
    "unloadable": Unloadable,
}
