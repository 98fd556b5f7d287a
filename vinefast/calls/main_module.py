"""Functions of the program's ``__main__`` module: which they are, and which of its globals they use.

By Parsl's own method a worker gets such a function without its globals, and with a ``NameError`` in place of a result.
"""

from __future__ import annotations

import builtins
import dis
import functools
import logging
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import parsl.serialize.facade as parsl_serialize
from parsl.serialize.concretes import DillCallableSerializer

from vinefast import library
from vinefast.library import by_value
from vinefast.library.files import WORKER_PACKAGE

# As in vinefast/data/plan.py: what is pickled refers to the library as workers know it.
sys.modules.setdefault(WORKER_PACKAGE, library)
sys.modules.setdefault(f"{WORKER_PACKAGE}.by_value", by_value)

logger: logging.Logger = logging.getLogger(__name__)

_NO_LIMIT = 0xFFFFFFFF
MISSING = object()
"""The value of a name that is none."""

# What refers to globals by itself.
_REFERRING = (types.FunctionType, by_value.CACHED, type)

# A longer container is taken for data, in which no functions are sought; and the search ends somewhere.
_MAX_ITEMS = 1000
_MAX_SEEN = 100_000


class Use(NamedTuple):
    """A global of ``__main__`` as a function found it when that was serialized.

    Attributes
    ----------
    namespace : dict
    name : str
    value : object
        `MISSING` if there was none.
    weak : bool
        Whether `value` is a weak reference to it.
    """

    namespace: dict[str, Any]
    name: str
    value: Any
    weak: bool


def serialize_function(function: Callable[..., Any]) -> tuple[bytes, tuple[Use, ...] | None]:
    """Serialize a function, by value if it, or what it wraps, belongs to ``__main__``.

    A serialization method that the user has registered with Parsl is used instead.

    Returns
    -------
    bytes
        What ``parsl.serialize.deserialize`` takes.
    tuple of Use, optional
        What it depends on; empty: on nothing. None if it does not go by value.

    Raises
    ------
    Exception
        What the serializer raises.
    """
    if not _user_has_methods():
        found = _globals_used(function)
        if found is not None:
            try:
                return by_value.serialize(function), tuple(_use(*each) for each in found)
            except Exception as error:
                _warn(function, found, error)  # that global may not be needed
    return parsl_serialize.serialize(_hashable(function), buffer_threshold=_NO_LIMIT), None


def _warn(function: Callable[..., Any], found: list[tuple[dict[str, Any], str, Any]], error: Exception) -> None:
    """Say which global keeps a function from bringing its globals along; the `NameError` may name another one."""
    culprits: list[tuple[bool, str, Exception]] = []
    for _, name, value in found:
        if value is not MISSING:
            try:
                by_value.serialize(value)
            except Exception as reason:
                # A function may only refer to the culprit.
                culprits.append((isinstance(value, _REFERRING), name, reason))
    _, name, why = min(culprits, key=lambda culprit: culprit[0], default=(False, "something of it", error))
    logger.warning(
        "Function %s goes to workers without the globals of this program that it names, since %s cannot be serialized "
        "(%s): make that in the function itself, or put the function into a module of its own",
        getattr(function, "__name__", function),
        name,
        why,
    )


def _hashable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a callable that does the same and can be hashed, without which Parsl does not serialize it."""
    try:
        hash(function)
    except TypeError:
        return functools.partial(function)
    return function


def _user_has_methods() -> bool:
    methods = parsl_serialize.methods_for_code
    return len(methods) != 1 or type(next(iter(methods.values()))) is not DillCallableSerializer


def _use(namespace: dict[str, Any], name: str, value: Any) -> Use:
    # What a function refers to may refer to that function, which is to end when the user drops it.
    if isinstance(value, _REFERRING):
        return Use(namespace, name, weakref.ref(value), True)
    return Use(namespace, name, value, False)


def _globals_used(function: Any) -> list[tuple[dict[str, Any], str, Any]] | None:
    """Find the globals of ``__main__`` that a function may use; None if nothing of it belongs there."""
    found: list[tuple[dict[str, Any], str, Any]] = []
    belongs = False
    seen: set[int] = set()
    ahead = [function]
    while ahead and len(seen) < _MAX_SEEN:
        item = ahead.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, types.FunctionType):
            if item.__globals__.get("__name__") == "__main__":
                belongs = True
                for name in _global_names(item.__code__):
                    value = item.__globals__.get(name, MISSING)
                    if value is not MISSING or not hasattr(builtins, name):
                        found.append((item.__globals__, name, value))
                        ahead.append(value)
        elif isinstance(item, type):
            if item.__module__ != "__main__":
                continue
            belongs = True
        elif isinstance(item, typing.NewType):
            belongs = belongs or item.__module__ == "__main__"
        ahead.extend(_parts(item))
    return found if belongs else None


def _parts(item: Any) -> Iterator[Any]:
    """Give what an object refers to, as far as there may be functions."""
    kind = type(item)
    if kind is types.FunctionType:
        for cell in item.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                pass  # not yet filled
        yield from item.__defaults__ or ()
        yield from (item.__kwdefaults__ or {}).values()
        yield from vars(item).values()
    elif isinstance(item, functools.partial):
        yield item.func
        yield from item.args
        yield from item.keywords.values()
    elif kind is types.MethodType:
        yield item.__func__
        yield item.__self__
    elif isinstance(item, (staticmethod, classmethod)):
        yield item.__func__
    elif isinstance(item, by_value.CACHED):
        yield item.__wrapped__
    elif isinstance(item, functools.cached_property):
        yield item.func
    elif isinstance(item, functools.singledispatchmethod):
        yield item.dispatcher
    elif isinstance(item, typing.NewType):
        yield item.__supertype__
    elif isinstance(item, property):
        yield from (item.fget, item.fset, item.fdel)
    elif isinstance(item, type):
        yield from item.__bases__
        yield from list(vars(item).values())
    elif kind in (list, tuple, set, frozenset):
        if len(item) <= _MAX_ITEMS:
            yield from list(item)
    elif kind is dict:
        if len(item) <= _MAX_ITEMS:
            yield from list(item.values())
    elif kind.__module__ == "__main__":
        yield kind


def _global_names(code: types.CodeType) -> set[str]:
    steps = (step for inner in by_value.codes_within(code) for step in dis.get_instructions(inner))
    names = {step.argval for step in steps if step.opname == "LOAD_GLOBAL"}
    return names.union(by_value.names_in_classes(code))
