"""The `walltime` of Parsl's Python apps, which Parsl's own wrapper of the function cannot enforce on C code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import update_wrapper
from inspect import unwrap
from types import CellType, FunctionType
from typing import Any

from parsl.app.python import timeout

from vinefast.settings.rules import is_number

# All functions that Parsl has wrapped so have this code in common.
_CODE = timeout(abs, 1.0).__code__
_SECONDS = _CODE.co_freevars.index("seconds")
_FUNCTION = _CODE.co_freevars.index("f")
# Wrappers within each other; a function may have itself in its closure.
_DEEPEST = 8


def walltime_of(function: Callable[..., Any]) -> float | None:
    """Give the seconds that Parsl lets the function of an app run; None: as long as it takes, or not a number above 0.

    Parameters
    ----------
    function : callable
        As Parsl hands it to an executor, in wrappers of Parsl's.
    """
    for wrapper in (function, *_enclosed(function)):
        with suppress(ValueError):  # it says that it wraps itself, or is a proxy that has whatever one asks it for
            wrapper = unwrap(wrapper, stop=_is_timeout)
        if _is_timeout(wrapper):
            seconds = wrapper.__closure__[_SECONDS].cell_contents
            return float(seconds) if is_number(seconds) and seconds > 0 else None
    return None


def without_walltime(function: Callable[..., Any]) -> tuple[Callable[..., Any], float | None]:
    """Give the function that Parsl's timer surrounds, for us to end in its place, and after how many seconds.

    Parsl's timer and ours would strike at the same moment, and a call that is to tidy up would see now the exception of
    the one, now that of the other.

    Parameters
    ----------
    function : callable
        As Parsl hands it to an executor, in wrappers of Parsl's, which stay: of monitoring, of staging.
    """
    seconds = walltime_of(function)
    return (function, None) if seconds is None else (_without_timer(function), seconds)


def _without_timer(function: Any, depth: int = 0) -> Any:
    """Give a function without the timer that it is, or that a wrapper of Parsl's has in its closure."""
    if _is_timeout(function):
        return function.__closure__[_FUNCTION].cell_contents
    if not isinstance(function, FunctionType) or depth == _DEEPEST:
        return function
    for index, cell in enumerate(function.__closure__ or ()):
        with suppress(ValueError):  # it is empty
            inner = _without_timer(cell.cell_contents, depth + 1)
            if inner is not cell.cell_contents:
                return _around(function, index, inner)
    return function


def _around(wrapper: FunctionType, index: int, function: Any) -> FunctionType:
    """Make a wrapper that has another function in a cell of its closure."""
    cells = list(wrapper.__closure__ or ())
    wrapped, cells[index] = cells[index].cell_contents, CellType(function)
    made = FunctionType(wrapper.__code__, wrapper.__globals__, wrapper.__name__, wrapper.__defaults__, tuple(cells))
    update_wrapper(made, wrapper)
    made.__kwdefaults__ = wrapper.__kwdefaults__
    del made.__wrapped__  # type: ignore[attr-defined]
    if getattr(wrapper, "__wrapped__", None) is wrapped:
        made.__wrapped__ = function  # type: ignore[attr-defined]
    return made


def _enclosed(function: Any) -> Iterator[Any]:
    """Give the functions that another one has in its closure: Parsl's staging wraps those of apps so."""
    closure = getattr(function, "__closure__", None)
    for cell in closure if isinstance(closure, tuple) else ():
        with suppress(ValueError):  # it is empty
            if callable(cell.cell_contents):
                yield cell.cell_contents


def _is_timeout(function: Callable[..., Any]) -> bool:
    return getattr(function, "__code__", None) is _CODE
