"""What belongs to the program's own ``__main__`` travels by value: a worker has another ``__main__``.

The payloads are those of a serialization method of Parsl's, whose header says where the method is, so that
``parsl.serialize.deserialize`` finds it on both sides. The serializer is cloudpickle. Workers need not have it: its
files come along beside those of the library.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import inspect
import io
import os
import pickle
import sys
import typing
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

PACKAGES = "packages"

# Classes that were here when they were first pickled, and those that have come by value.
_own: weakref.WeakSet[type] = weakref.WeakSet()
_foreign: weakref.WeakSet[type] = weakref.WeakSet()
_NO_FILE = "<dynamic-code>"

# What `functools.cache` and `functools.lru_cache` make.
CACHED = type(functools.cache(len))
# Of all functions that `functools.singledispatch` makes.
_DISPATCHING = functools.singledispatch(len).__code__  # type: ignore[attr-defined]

# How the body of a class looks up what may be a global.
_LOADS_IN_CLASSES = ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")

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


def make_cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Wrap a function in a cache of its own, which is empty."""
    return functools.lru_cache(maxsize, typed)(function)


def make_dispatching(functions: dict[type, Callable[..., Any]]) -> Any:
    """Make what `functools.singledispatch` makes: of the function for `object`, with the others registered."""
    dispatching = functools.singledispatch(functions.pop(object))
    for cls, function in functions.items():
        dispatching.register(cls, function)
    return dispatching


def make_dispatching_method(dispatcher: Callable[..., Any], function: Any) -> Any:
    """Make what `functools.singledispatchmethod` makes: of the function for `object`, and of all with it."""
    made = functools.singledispatchmethod(function)
    made.dispatcher = dispatcher  # type: ignore[assignment]
    return made


def make_cached_property(function: Callable[[Any], Any], name: str | None) -> Any:
    """Make a cached property that knows its name already, since the class that it is for is there before it."""
    made = functools.cached_property(function)
    made.attrname = name
    return made


def make_new_type(name: str, qualified: str, module: str, supertype: Any) -> Any:
    """Make a `typing.NewType` of a module."""
    make: Any = typing.NewType
    made = make(name, supertype)
    made.__qualname__, made.__module__ = qualified, module
    return made


# Pickles are to name them as both sides know them.
for _function in (
    set_class_state,
    make_cached,
    make_dispatching,
    make_dispatching_method,
    make_cached_property,
    make_new_type,
):
    _function.__module__ = "vinefast_library.by_value"


def _reduce_wrapper(obj: Any) -> tuple[Any, ...] | None:
    """Give what makes anew what wraps functions of ``__main__``; None for all else.

    Each would be pickled by its name, which no worker knows, or with its locks and weak references, which cannot be.
    """
    kind = type(obj)
    if kind is functools.cached_property:
        return make_cached_property, (obj.func, obj.attrname)
    if kind is functools.singledispatchmethod:
        return make_dispatching_method, (obj.dispatcher, obj.func)
    if kind not in (FunctionType, CACHED, typing.NewType) or obj.__module__ != "__main__":
        return None
    if kind is CACHED:
        parameters = obj.cache_parameters()
        return make_cached, (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
    if kind is typing.NewType:
        return make_new_type, (obj.__name__, obj.__qualname__, obj.__module__, obj.__supertype__)
    return (make_dispatching, (dict(obj.registry),)) if obj.__code__ is _DISPATCHING else None


def codes_within(code: CodeType) -> Iterator[CodeType]:
    """Give the code of a function, and those of all functions and classes within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_within(constant)


def names_in_classes(code: CodeType) -> Iterator[str]:
    """Give the names that the bodies of classes within a function look up as they do their own; cloudpickle has no eye
    for these globals.
    """
    for inner in codes_within(code):
        if inner.co_flags & inspect.CO_OPTIMIZED and "__classdict__" not in inner.co_freevars:
            continue  # of a function, and not of type parameters in a class (Python 3.12)
        own = set()
        for step in dis.get_instructions(inner):
            if step.opname in _LOADS_IN_CLASSES and step.argval not in own:
                yield step.argval
            elif step.opname == "STORE_NAME":
                own.add(step.argval)


@functools.cache
def _pickler() -> type[pickle.Pickler]:
    kind = _cloudpickle().CloudPickler
    reduce = kind.dispatch_table[CodeType]

    def reduce_code(code: CodeType) -> Any:
        make, arguments = reduce(code)
        file = code.co_filename
        return make, tuple(file if isinstance(part, str) and part == _NO_FILE else part for part in arguments)

    class Pickler(kind):  # type: ignore[misc, valid-type]
        """Code keeps its file, without which tracebacks name none, and a class its qualified name; and a class that is
        back keeps its attributes.
        """

        dispatch_table = ChainMap({CodeType: reduce_code}, kind.dispatch_table)

        def reducer_override(self, obj: Any) -> Any:
            wrapper = _reduce_wrapper(obj)
            if wrapper is not None:
                return wrapper
            reduced = super().reducer_override(obj)
            if type(obj) is FunctionType and isinstance(reduced, tuple) and len(reduced) == 6:
                _, found = reduced[2]
                for name in names_in_classes(obj.__code__):
                    if name in obj.__globals__:
                        found["__globals__"].setdefault(name, obj.__globals__[name])
            if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
                if obj not in _foreign:
                    _own.add(obj)
                make, args, content, items, pairs, fill = reduced
                content[0]["__qualname__"] = obj.__qualname__
                reduced = make, args, (fill, content), items, pairs, set_class_state
            return reduced

    return Pickler


def _cloudpickle() -> ModuleType:
    """Import cloudpickle; on a worker in the submit side's release, since another may not understand its pickles."""
    module = sys.modules.get("cloudpickle")
    if module is None:
        sys.path.insert(0, _DIRECTORY)  # which is on workers alone
        try:
            module = importlib.import_module("cloudpickle")
        finally:
            sys.path.remove(_DIRECTORY)
    return module
