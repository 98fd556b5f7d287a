"""Apps that want more of vinefast than Parsl's decorators can say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

import parsl
from parsl.dataflow.futures import AppFuture

from vinefast.calls.context import name_of, parameters_before
from vinefast.errors import InvalidConfiguration
from vinefast.settings import rules

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from typing_extensions import Unpack

T = TypeVar("T")

# Parsl's wrappers carry a function's attributes along.
_MARK = "__vinefast__"


@dataclass(frozen=True)
class AppOptions:
    """What `mark` notes about a function.

    Attributes
    ----------
    context : callable or None
        Loads the function's own context.
    keep : bool
        The result stays on the workers; see `vinefast.Kept`.
    """

    context: Callable[[], Any] | None = None
    keep: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # A function travels with its attributes. Workers have no use for this one, nor its class.
        return type(None), ()


_NO_OPTIONS = AppOptions()


def options_of(function: Callable[..., Any]) -> AppOptions:
    """Return what a function, or an app's function in Parsl's wrappers, was marked with."""
    return getattr(function, _MARK, None) or _NO_OPTIONS


@overload
def mark(
    function: Callable[..., T], *, context: Callable[[], Any] | None = None, keep: Literal[False] = False
) -> Callable[..., T]: ...


@overload
def mark(
    function: Callable[..., Any], *, context: Callable[[], Any] | None = None, keep: bool
) -> Callable[..., Any]: ...


@overload
def mark(
    function: None = None, *, context: Callable[[], Any] | None = None, keep: Literal[False] = False
) -> Callable[[Callable[..., T]], Callable[..., T]]: ...


@overload
def mark(
    function: None = None, *, context: Callable[[], Any] | None = None, keep: bool
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...


def mark(
    function: Callable[..., Any] | None = None, *, context: Callable[[], Any] | None = None, keep: bool = False
) -> Callable[..., Any]:
    """Mark a function with how its calls are to run, for `VineFastExecutor.submit`, `map` and `submit_many`.

    Serves as a decorator, with or without arguments.

    Parameters
    ----------
    function : callable
        The function to mark, which is returned. Marks that are changed after the function was first submitted have no
        effect.
    context : callable, optional
        A plain function without arguments, which is called once per slot, before the first call there. Each call gets
        what that function returns as the keyword argument `context`, unless the caller gives one. A function's own
        context wins over the executor's context.
    keep : bool
        What a call returns stays on its worker, and its future has a `vinefast.Kept` instead.

    Raises
    ------
    InvalidConfiguration
        If `context` cannot be called without arguments, or `function` has no parameter to receive it.
    """
    if function is None:
        return lambda function: mark(function, context=context, keep=keep)
    rules.require("context", context, rules.optional(rules.CONTEXT))
    rules.require("keep", keep, rules.FLAG)
    if context is not None and parameters_before(function) is None:
        raise InvalidConfiguration(
            f"context of {name_of(function)} is {name_of(context)}, but {name_of(function)} has no parameter to "
            "receive it; accepted: a function with a parameter named 'context'"
        )
    try:
        setattr(function, _MARK, AppOptions(context, keep))
    except AttributeError:
        raise InvalidConfiguration(
            f"{name_of(function)} cannot be marked, since it takes no attributes; accepted: a function made by def or "
            "functools.partial"
        ) from None
    return function


class ParslArguments(TypedDict, total=False):
    """What else `python_app` takes, which is what Parsl's takes."""

    data_flow_kernel: DataFlowKernel | None
    cache: bool
    executors: list[str] | Literal["all"]
    ignore_for_cache: Sequence[str] | None


@overload
def python_app(
    function: Callable[..., Any],
    *,
    context: Callable[[], Any] | None = None,
    keep: bool = False,
    **parsl_arguments: Unpack[ParslArguments],
) -> Callable[..., AppFuture]: ...


@overload
def python_app(
    function: None = None,
    *,
    context: Callable[[], Any] | None = None,
    keep: bool = False,
    **parsl_arguments: Unpack[ParslArguments],
) -> Callable[[Callable[..., Any]], Callable[..., AppFuture]]: ...


def python_app(
    function: Callable[..., Any] | None = None,
    *,
    context: Callable[[], Any] | None = None,
    keep: bool = False,
    **parsl_arguments: Any,
) -> Callable[..., Any]:
    """Make an app, as `parsl.python_app` does, of a function that is marked as `mark` does.

    Parameters
    ----------
    function : callable
        The function to make an app of; left out where the decorator has arguments.
    context, keep
        As for `mark`. Executors other than `VineFastExecutor` do not look at them.
    **parsl_arguments
        As for `parsl.python_app`: executors, cache, ignore_for_cache, data_flow_kernel.

    Raises
    ------
    InvalidConfiguration
        As `mark`.
    TypeError
        If Parsl has no such argument; the message has the nearest.
    """
    known = ["context", "keep", *inspect.signature(parsl.python_app).parameters]
    rules.refuse_unknown("python_app", parsl_arguments, known)

    def decorate(function: Callable[..., Any]) -> Callable[..., AppFuture]:
        app: Callable[..., AppFuture] = parsl.python_app(mark(function, context=context, keep=keep), **parsl_arguments)
        return app

    return decorate if function is None else decorate(function)
