"""Contexts: what a function of the user's loads once, and calls get as their argument `context`."""

from __future__ import annotations

import faulthandler
import functools
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from . import parsl_side
from .failure import Unrunnable, pack_exception
from .protocol import STATUS_EXCEPTION, VINEFAST_CONTEXT_TIMEOUT_S

PARAMETER = "context"

# In the library's directory, if the context is to be loaded once per worker: a pickled `Context`.
FILE = "vinefast_context"
# There, too: the digest of a context for which the fork server has waited too long.
GIVEN_UP = "vinefast_context.given_up"

_WARN_S = 60.0
# For code that does not return to the interpreter, which alone can raise an exception there.
_DEAF_S = 10.0


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
    reason: tuple[str, str, str, bytes | None, int]

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
    """Contexts that one process has loaded, for all its functions, least recently used first.

    Parameters
    ----------
    capacity:
        How many to keep, besides those that are shared.

    Attributes
    ----------
    given_up:
        Path of `GIVEN_UP`, if somebody else may have waited already.
    """

    def __init__(self, capacity: int = 16) -> None:
        self.capacity = capacity
        self.given_up: str | None = None
        self._loaded: dict[bytes, Any] = {}
        self._shared: dict[bytes, Any] = {}
        self._forgotten: list[bytes] = []

    def load(self, context: Context) -> Any:
        """Give what a context function returns; it is called once, unless it raises or has been forgotten."""
        digest = context.digest
        if digest in self._shared:
            return self._shared[digest]
        if digest not in self._loaded:
            if self.given_up is not None and _content(self.given_up) == digest:
                raise TimeoutError("it took too long once already, see fork-server.log of the library")
            with watched(context.name):
                self._loaded[digest] = parsl_side.deserialize_function(context.body)()
            if len(self._loaded) > self.capacity:
                oldest = next(iter(self._loaded))
                del self._loaded[oldest]
                self._forgotten.append(oldest)
        self.touch(digest)
        return self._loaded[digest]

    def share(self) -> None:
        """Keep for ever what is loaded: what processes share by fork, one of them cannot free."""
        self._shared.update(self._loaded)
        self._loaded.clear()

    def touch(self, digest: bytes) -> None:
        """Note that a context is in use."""
        if digest in self._loaded:
            self._loaded[digest] = self._loaded.pop(digest)

    def forgotten(self) -> list[bytes]:
        """Give those that were dropped since the last time; whoever holds them lets go."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

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
            raise Unrunnable(STATUS_EXCEPTION, _pack_failure(bound.context.name, error)) from None
        return _with_context(parsl_side.deserialize_function(bound.function), loaded, bound.n_before)


@contextmanager
def watched(name: str) -> Iterator[None]:
    """Say where a context that takes long is, and end what takes too long (``context-timeout``) by a TimeoutError."""
    limit_s = int(os.environ.get(VINEFAST_CONTEXT_TIMEOUT_S) or 0)
    start_s = time.monotonic()

    def look(number: int, frame: FrameType | None) -> None:
        took_s = time.monotonic() - start_s
        print(f"vinefast: the context {name} has been loading for {took_s:.0f} s, and is here:", flush=True)
        traceback.print_stack(frame)
        if limit_s and took_s >= limit_s:
            raise TimeoutError(f"it was not loaded within {limit_s} s (context-timeout)")
        wait()

    def wait() -> None:
        left_s = start_s + limit_s - time.monotonic() if limit_s else _WARN_S
        signal.setitimer(signal.ITIMER_REAL, max(0.001, min(_WARN_S, left_s)))

    before = signal.signal(signal.SIGALRM, look)
    if limit_s:
        faulthandler.dump_traceback_later(limit_s + _DEAF_S, exit=True)
    wait()
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        # Unless the context has taken the signal for itself.
        if signal.getsignal(signal.SIGALRM) is look:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _with_context(function: Callable[..., Any], loaded: Any, n_before: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if PARAMETER not in kwargs and len(args) <= n_before:
            kwargs[PARAMETER] = loaded
        return function(*args, **kwargs)

    return call


def _pack_failure(name: str, error: BaseException) -> bytes:
    """Payload of status STATUS_EXCEPTION."""
    reason = pickle.loads(pack_exception(error))
    wrapped = parsl_side.serialize(ContextFailure(name, reason))
    return pickle.dumps(("vinefast.errors.ContextError", f"{name}: {reason[1]}", reason[2], wrapped, reason[4]), 5)
