"""Contexts on the submit side: which functions get one, and how it travels with them."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import parsl.serialize.facade as parsl_serialize
from parsl.app.bash import remote_side_bash_executor
from parsl.serialize.errors import SerializationError

from vinefast import library
from vinefast.calls.main_module import Use, serialize_function
from vinefast.library import context as on_worker
from vinefast.library import unserializable
from vinefast.library.context import PARAMETER, Bound, Context
from vinefast.library.files import WORKER_PACKAGE

# As in vinefast/data/plan.py: what is pickled refers to the library as workers know it.
sys.modules.setdefault(WORKER_PACKAGE, library)
sys.modules.setdefault(f"{WORKER_PACKAGE}.context", on_worker)

_DIGEST_NBYTES = 16
_NO_LIMIT = 0xFFFFFFFF
_MAX_NAME = 200


def pack(function: Callable[[], Any]) -> Context:
    """Serialize a context function.

    Raises
    ------
    parsl.serialize.errors.SerializationError
        If that is impossible.
    """
    try:
        body, _ = serialize_function(function)
    except Exception as error:
        raise SerializationError(unserializable.described(f"the context {name_of(function)}", error)) from error
    digest = hashlib.blake2b(body, digest_size=_DIGEST_NBYTES).digest()
    return Context(name_of(function), digest, body)


def serialize_with_context(
    func: Callable[..., Any], own: Callable[[], Any] | None, default: Context | None
) -> tuple[bytes, tuple[Use, ...] | None]:
    """Serialize a function, and its context with it if it gets one.

    Parameters
    ----------
    func : callable
        As Parsl hands it over, in wrappers.
    own : callable, optional
        The context function of this function alone.
    default : Context, optional
        Of the executor.

    Returns
    -------
    bytes, tuple of Use or None
        As `serialize_function`.
    """
    body, uses = serialize_function(func)
    n_before = None if own is None and default is None else parameters_before(func)
    if n_before is None:
        return body, uses
    context = default if own is None else pack(own)
    assert context is not None
    return parsl_serialize.serialize(Bound(body, context, n_before), buffer_threshold=_NO_LIMIT), uses


def parameters_before(func: Callable[..., Any]) -> int | None:
    """Count the positional parameters before the parameter `context`; None if there is no such parameter."""
    func = inspect.unwrap(func)
    if isinstance(func, functools.partial) and func.func is remote_side_bash_executor:
        # A bash app: what Parsl puts before it takes any arguments.
        func = func.args[0]
    try:
        parameters = inspect.signature(func).parameters
    except (TypeError, ValueError):
        return None  # a builtin that does not tell
    parameter = parameters.get(PARAMETER)
    if parameter is None or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return None
    if parameter.kind is parameter.KEYWORD_ONLY:
        return sys.maxsize
    return list(parameters).index(PARAMETER)


def name_of(function: Callable[..., Any]) -> str:
    """Give the name of a function, seen through `functools.partial`; of what has none, that of its type.

    TaskVine sends it in one line, as the category, so it is short and printable whatever the function is.
    """
    while isinstance(function, functools.partial):
        function = function.func
    name = str(getattr(function, "__name__", None) or type(function).__name__)[:_MAX_NAME]
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)
