"""What in a value cannot be serialized: found where it is, and whatever the value does meanwhile."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from vinefast.library.unserializable import described


class Model:
    """Has an attribute that is not pickled, and one that is."""

    def __init__(self, **attributes):
        self.unused = threading.Lock()
        self.__dict__.update(attributes)

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "unused"}


class Slotted:
    __slots__ = ("lock",)

    def __init__(self):
        self.lock = threading.Lock()


class Awkward:
    def __reduce_ex__(self, protocol):
        raise ValueError

    def __repr__(self):
        raise ValueError("no repr")

    __str__ = __repr__


def blamed(value, serialize=pickle.dumps):
    try:
        serialize(value)
    except Exception as error:
        return described("f", error, [("its result", value)], serialize)
    raise AssertionError("it can be serialized")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (threading.Lock(), "its result, of type _thread.lock, cannot be serialized (TypeError: cannot pickle"),
        ([1, (2, {"a": threading.Lock()})], "its result[1][1]['a'], of type _thread.lock,"),
        ({1: Model(), 2: Model(weights=[threading.Lock()])}, "its result[2].weights[0], of type _thread.lock,"),
        (Slotted(), "its result.lock, of type _thread.lock,"),
        ({"a": {threading.Lock()}}, "its result['a'] (an item of it), of type _thread.lock,"),
        ([Awkward()], "its result[0], of type "),
    ],
)
def test_the_innermost_part_is_named(value, words):
    assert blamed(value).startswith(f"f: {words}")


def test_a_value_that_does_not_let_itself_be_searched_hides_no_reason():
    assert blamed({Awkward(): threading.Lock()}).startswith("f (")


def test_a_value_that_contains_itself_has_an_end():
    value = {}
    value["again"] = value
    value["lock"] = threading.Lock()
    assert blamed(value).startswith("f: its result['lock'], of type _thread.lock,")
    nested = value = []
    for _ in range(10**5):
        value.append([])
        value = value[0]
    assert "RecursionError" in blamed(nested)


def test_the_search_ends_if_it_takes_long():
    def slow(value):
        time.sleep(0.3)
        raise ValueError("never")

    began = time.monotonic()
    told = described("f", ValueError("never"), [("its result", [[[[[[[[1]]]]]]]])], slow)
    assert told.startswith("f: its result") and "ValueError: never" in told
    assert time.monotonic() - began < 30


def test_what_is_no_parts_fault_is_told_all_the_same():
    assert described("f", ValueError("why"), [("its argument 0", 1)], pickle.dumps) == "f (ValueError: why)"
    assert described("f", ValueError("why")) == "f (ValueError: why)"
    assert described("f", KeyboardInterrupt()) == "f"
    assert described("f", type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})()) == "f"
