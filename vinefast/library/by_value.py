"""What belongs to the program's own ``__main__`` travels by value: a worker has another ``__main__``.

The payloads are those of a serialization method of Parsl's, whose header says where the method is, so that
``parsl.serialize.deserialize`` finds it on both sides. The serializer is cloudpickle. Workers need not have it: its
files come along beside those of the library.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import pickle
import sys
import weakref
from collections import ChainMap
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

PACKAGES = "packages"

# Classes that were here when they were first pickled, and those that have come by value.
_own: weakref.WeakSet[type] = weakref.WeakSet()
_foreign: weakref.WeakSet[type] = weakref.WeakSet()
_NO_FILE = "<dynamic-code>"

_DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), PACKAGES)


class ByValue:
    """A serialization method as Parsl's registry has them."""

    identifier = b"vinefast_library.by_value ByValue"

    def serialize(self, value: Any) -> bytes:
        """Pickle a value; functions and classes of ``__main__`` with all that they refer to."""
        with io.BytesIO() as file:
            _pickler()(file, protocol=5).dump(value)
            return file.getvalue()

    def deserialize(self, body: bytes) -> Any:
        """Rebuild a value. A class that has come from here is that class again, and as it is here."""
        _cloudpickle()
        return pickle.loads(body)


def serialize(value: Any) -> bytes:
    """Give the payload of a value, as ``parsl.serialize.serialize`` does.

    Raises
    ------
    Exception
        What cloudpickle raises for what it cannot pickle.
    """
    return ByValue.identifier + b"\n" + ByValue().serialize(value)


def set_class_state(cls: type, state: tuple[Callable[[type, Any], Any], Any]) -> type:
    """Fill a class that has come by value; it may have come from here, and what it is here is not another's to say."""
    if cls not in _own:
        _foreign.add(cls)
        fill, content = state
        fill(cls, content)
    return cls


# Pickles are to name it as both sides know it.
set_class_state.__module__ = "vinefast_library.by_value"


@functools.cache
def _pickler() -> type[pickle.Pickler]:
    kind = _cloudpickle().CloudPickler
    reduce = kind.dispatch_table[CodeType]

    def reduce_code(code: CodeType) -> Any:
        make, arguments = reduce(code)
        file = code.co_filename
        return make, tuple(file if isinstance(part, str) and part == _NO_FILE else part for part in arguments)

    class Pickler(kind):  # type: ignore[misc, valid-type]
        """Code keeps its file, without which tracebacks name none; and a class that is back keeps its attributes."""

        dispatch_table = ChainMap({CodeType: reduce_code}, kind.dispatch_table)

        def reducer_override(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
                if obj not in _foreign:
                    _own.add(obj)
                make, args, content, items, pairs, fill = reduced
                reduced = make, args, (fill, content), items, pairs, set_class_state
            return reduced

    return Pickler


def _cloudpickle() -> ModuleType:
    """Import cloudpickle; on a worker in the submit side's release, since another may not understand its pickles."""
    module = sys.modules.get("cloudpickle")
    if module is None:
        sys.path.insert(0, _DIRECTORY)
        try:
            module = importlib.import_module("cloudpickle")
        finally:
            sys.path.remove(_DIRECTORY)
    return module
