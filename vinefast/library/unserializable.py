"""What in a value cannot be serialized, where that is, and why: Parsl's error has the name of the function alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

# The search serializes parts anew: it is to take no longer than somebody who waits for an error would like.
_SEARCH_S = 1.0
_DEPTH = 10
_PARTS = 10_000
_WHY_NCHARS = 1000
_KEY_NCHARS = 50

Serialize = Callable[[Any], object]


def described(
    function: str, error: BaseException, values: Iterable[tuple[str, Any]] = (), serialize: Serialize = repr
) -> str:
    """Give what Parsl's `SerializationError` is to have in the place of a function's name; this raises nothing.

    Parameters
    ----------
    function : str
        That name.
    error : BaseException
        What has kept it from being serialized.
    values : iterable of (str, object)
        Of what the one to blame is to be found: words for it, and the value.
    serialize : callable
        Fails for that.
    """
    if not isinstance(error, Exception):  # the call is to end, and soon
        return function
    # Methods of the user's may raise anything in all of this.
    try:
        why = _in_short(error)
        with suppress(Exception):
            found = _search(values, serialize)
            if found is not None:
                kind = _name_of(type(found[1]))
                return f"{function}: {found[0]}, of type {kind}, cannot be serialized ({why})"
        return f"{function} ({why})"
    except Exception:
        return function


def _in_short(error: BaseException) -> str:
    """Give type and message of an exception."""
    text, name = str(error), _name_of(type(error))
    return f"{name}: {text}"[:_WHY_NCHARS] if text else name


def _name_of(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _search(values: Iterable[tuple[str, Any]], serialize: Serialize) -> tuple[str, Any] | None:
    """Find the innermost part that cannot be serialized, as far as there is time; None: each can by itself."""
    deadline_s = time.monotonic() + _SEARCH_S
    seen: set[int] = set()

    def first_of(parts: Iterator[tuple[str, Any]]) -> tuple[str, Any] | None:
        for step, part in islice(parts, _PARTS):
            if time.monotonic() > deadline_s:
                break
            if id(part) not in seen and _fails(part, serialize):
                seen.add(id(part))
                return step, part
        return None

    found = inner = first_of(iter(values))
    while inner is not None and len(seen) < _DEPTH:
        inner = first_of(_parts_of(inner[1]))
        if found is not None and inner is not None:
            found = found[0] + inner[0], inner[1]
    return found


def _fails(part: Any, serialize: Serialize) -> bool:
    try:
        serialize(part)
    except Exception:
        return True
    return False


def _parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Give what a value consists of, as Python writes it: items, or else the attributes that pickle would take."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"[{repr(key)[:_KEY_NCHARS]}]", part
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, (set, frozenset)):
        for part in value:
            yield " (an item of it)", part
    else:
        for name, part in _attributes_of(value):
            yield f".{name}", part


def _attributes_of(value: Any) -> Iterator[tuple[str, Any]]:
    try:
        reduced = value.__reduce_ex__(5)
    except Exception:
        return
    state = reduced[2] if isinstance(reduced, tuple) and len(reduced) > 2 else None
    for each in state if isinstance(state, tuple) else (state,):
        if isinstance(each, dict):
            yield from each.items()
