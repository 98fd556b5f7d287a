"""Exceptions that have come back are as they were raised."""

import json
import sys

import parsl.app.python  # noqa: F401  # it has tblib pickle exceptions, on workers as well where apps import it
import pytest
from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import serialize

from vinefast import RemoteError
from vinefast._core import rebuild_exception


class Undecodable(UnicodeDecodeError):
    """Is made of less than what it is in truth."""

    def __init__(self, reason):
        super().__init__("utf-8", b"\xff", 0, 1, reason)


# As those of the standard library and of packages, which are there when Parsl is imported.
parsl.app.python.tblib.pickling_support.install(Undecodable)

ERRORS = [
    UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte"),
    UnicodeEncodeError("ascii", "\xe9", 0, 1, "ordinal not in range"),
    SyntaxError("bad", ("file.py", 3, 5, "text")),
    StopIteration(3),
    ImportError("no module", name="none", path="/none"),
    FileNotFoundError(2, "none", "/none"),
    json.JSONDecodeError("bad", "text", 2),
    KeyError("key"),
    ValueError("bad", 3),
    Undecodable("own"),
]


def rebuilt(error):
    """Give it as it comes back."""
    wrapped = serialize(RemoteExceptionWrapper(type(error), error, None))
    return rebuild_exception((type(error).__name__, str(error), "", wrapped, 0))


def seen(error):
    """Tell what one can see of an exception."""
    attributes = {name: getattr(error, name, None) for name in dir(error) if not name.startswith("_")}
    return type(error), str(error), repr(error), {name: each for name, each in attributes.items() if not callable(each)}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_it_has_its_text_and_attributes(error):
    assert seen(rebuilt(error)) == seen(error)


@pytest.mark.parametrize("name", ["__cause__", "__context__"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_so_have_those_that_it_comes_from(error, name):
    outer = KeyError("outer")
    setattr(outer, name, error)
    assert seen(getattr(rebuilt(outer), name)) == seen(error)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_so_have_those_of_a_group():
    group = ExceptionGroup("group", [ERRORS[0], ExceptionGroup("inner", [ERRORS[2]])])  # noqa: F821
    found = rebuilt(group)
    assert seen(found.exceptions[0]) == seen(ERRORS[0])
    assert seen(found.exceptions[1].exceptions[0]) == seen(ERRORS[2])


def test_what_calls_something_else_exceptions_is_as_it_was():
    error = KeyError("key")
    error.exceptions = None
    assert seen(rebuilt(error)) == seen(error)


def test_what_cannot_be_initialized_is_told():
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why")
    error.args = (1,)
    with pytest.raises(RemoteError, match="UnicodeDecodeError: 'utf-8' codec"):
        raise rebuilt(error)
