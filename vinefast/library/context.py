"""Contexts: what a function of the user's loads once, and calls get as their argument `context`."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import parsl_side
from .failure import Unrunnable, pack_exception
from .frame import FAILED

PARAMETER = "context"

# In the library's directory, if the context is to be loaded once per worker: a pickled `Context`.
FILE = "vinefast_context"


@dataclass(frozen=True)
class Context:
    """A context function on its way to workers.

    Attributes
    ----------
    name:
        Its name, for errors.
    digest:
        Of `body`.
    body:
        The function by `parsl.serialize`.
    """

    name: str
    digest: bytes
    body: bytes


@dataclass(frozen=True)
class Bound:
    """What travels in place of a function that gets a context.

    Attributes
    ----------
    function:
        The function by `parsl.serialize`.
    context:
        Its context.
    n_before:
        Positional parameters before `context`: a call with more positional arguments gives its own.
    """

    function: bytes
    context: Context
    n_before: int


@dataclass(frozen=True)
class ContextFailure:
    """What a context that cannot be loaded sends back, in place of Parsl's ``RemoteExceptionWrapper``.

    Attributes
    ----------
    name:
        Of the context function.
    reason:
        What it raised, as `pack_exception` has it.
    """

    name: str
    reason: tuple[str, str, str, bytes | None]

    def get_exception(self) -> BaseException:
        """Build the exception of the call, on the submit side: workers do not have its class."""
        from vinefast._core import rebuild_exception
        from vinefast.errors import ContextError

        type_name, message, *_ = self.reason
        error = ContextError(self.name, f"{type_name}: {message}" if message else type_name)
        error.__cause__ = rebuild_exception(self.reason)
        return error


# What is pickled on one side must name these as the other does.
for _kind in (Context, Bound, ContextFailure):
    _kind.__module__ = "vinefast_library.context"


class Contexts:
    """All contexts that one process has loaded, for all its functions."""

    def __init__(self) -> None:
        self._loaded: dict[bytes, Any] = {}

    def load(self, context: Context) -> Any:
        """Give what a context function returns; it is called once, unless it raises."""
        if context.digest not in self._loaded:
            self._loaded[context.digest] = parsl_side.deserialize(context.body)()
        return self._loaded[context.digest]

    def bind(self, bound: Bound) -> Callable[..., Any]:
        """Give a function that calls the one of `bound` with its context.

        Raises
        ------
        Unrunnable
            If the context cannot be loaded.
        """
        try:
            loaded = self.load(bound.context)
        except BaseException as error:
            raise Unrunnable(FAILED, _pack_failure(bound.context.name, error)) from None
        return _with_context(parsl_side.deserialize(bound.function), loaded, bound.n_before)


def _with_context(function: Callable[..., Any], loaded: Any, n_before: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if PARAMETER not in kwargs and len(args) <= n_before:
            kwargs[PARAMETER] = loaded
        return function(*args, **kwargs)

    return call


def _pack_failure(name: str, error: BaseException) -> bytes:
    """Payload of status FAILED."""
    reason = pickle.loads(pack_exception(error))
    wrapped = parsl_side.serialize(ContextFailure(name, reason))
    return pickle.dumps(("vinefast.errors.ContextError", f"{name}: {reason[1]}", reason[2], wrapped), 5)
