"""The parts of Parsl that a library needs, and the memory of why they are missing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any

from . import by_value
from .lazy_package import import_from_package

__all__ = [
    "ParslMissing",
    "RemoteExceptionWrapper",
    "SerializationError",
    "available",
    "deserialize",
    "deserialize_function",
    "problem",
    "serialize",
    "versions",
]

_problem: BaseException | None = None

import_from_package("parsl", ("parsl.serialize", "parsl.app.errors", "parsl.version"))

try:
    import dill
    from parsl.app.errors import RemoteExceptionWrapper
    from parsl.serialize import deserialize as _deserialize
    from parsl.serialize import serialize as _serialize
    from parsl.serialize.errors import SerializationError
    from parsl.serialize.facade import methods_for_code
    from parsl.version import VERSION
except BaseException as _error:  # a broken installation may raise anything, and the library must be able to tell
    _problem = _error

    class RemoteExceptionWrapper:  # type: ignore[no-redef]
        """Stands in where Parsl cannot be imported; never instantiated."""

    class SerializationError(Exception):  # type: ignore[no-redef]
        """Stands in where Parsl cannot be imported."""

    methods_for_code = {}


class ParslMissing(ImportError):
    """The worker's Python cannot import Parsl."""


def available() -> bool:
    """Whether Parsl could be imported."""
    return _problem is None


def problem() -> str:
    """Say which Python lacks Parsl, why, and what to do."""
    return (
        f"the worker's Python ({sys.executable}, version {platform.python_version()}, on {platform.node()}) "
        f"cannot import parsl: {type(_problem).__name__}: {_problem}. "
        "Install parsl there, or start the worker in the environment that has it"
    )


def versions() -> str:
    """Name the versions that should be the same on both sides."""
    return f"Python {platform.python_version()}, parsl {VERSION}, dill {dill.__version__}"


def _unavailable(*_: Any) -> Any:
    raise ParslMissing(problem()) from _problem


def _serialize_result(value: Any) -> bytes:
    """Serialize what pickle cannot: by value, so that classes of the program's ``__main__`` are its own again there."""
    try:
        return by_value.serialize(value)
    except Exception:
        return _serialize(value)


serialize: Callable[[Any], bytes] = _serialize_result if available() else _unavailable
deserialize: Callable[[bytes], Any] = _deserialize if available() else _unavailable


def deserialize_function(body: bytes) -> Any:
    """Deserialize what `functions` keeps; Parsl would keep it as well, and as many, whatever their size."""
    function = deserialize(body)
    for method in methods_for_code.values():
        forget = getattr(method.deserialize, "cache_clear", None)
        if forget is not None:
            forget()
    return function
