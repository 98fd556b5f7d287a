"""Functions by digest: a bounded cache in the child, and the bodies on the library's disk for all its children."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from . import parsl_side
from .context import Bound, Contexts
from .failure import Unrunnable, pack_exception
from .frame import FAILED, UNKNOWN_FUNCTION

Function = Callable[..., Any]


class FunctionCache:
    """One child's functions, least recently used first.

    A function object is kept from bundle to bundle, so that what it loaded and remembered stays warm.

    Parameters
    ----------
    directory:
        Where bodies are kept, shared by all children of the library; None: nowhere.
    capacity:
        Functions to keep.
    contexts:
        Those that are loaded already.
    """

    def __init__(self, directory: str | None, capacity: int = 512, contexts: Contexts | None = None) -> None:
        self._directory = directory
        self._contexts = contexts or Contexts()
        self._capacity = max(1, capacity)
        self._functions: dict[bytes, Function] = {}

    def resolve(self, digest: bytes, body: bytes | None) -> Function:
        """Give the function of `digest`, or an `Unrunnable` in its place."""
        if body is not None:
            self._save(digest, body)
        function = self._functions.pop(digest, None)
        if function is None:
            if body is None:
                body = self._read(digest)
            if body is None:
                return Unrunnable(UNKNOWN_FUNCTION, b"")
            try:
                function = parsl_side.deserialize(body)
                if isinstance(function, Bound):
                    function = self._contexts.bind(function)
            except Unrunnable as unrunnable:
                return unrunnable
            except BaseException as error:
                # Not kept: what was missing may be there next time.
                return Unrunnable(FAILED, pack_exception(error))
        self._functions[digest] = function
        if len(self._functions) > self._capacity:
            del self._functions[next(iter(self._functions))]
        return function

    def _save(self, digest: bytes, body: bytes) -> None:
        if self._directory is None:
            return
        path = os.path.join(self._directory, digest.hex())
        if os.path.exists(path):
            return
        draft = f"{path}.{os.getpid()}"
        try:
            os.makedirs(self._directory, exist_ok=True)
            with open(draft, "wb") as file:
                file.write(body)
            os.replace(draft, path)
        except OSError:
            # A full disk only costs a second journey of the body.
            try:
                os.unlink(draft)
            except OSError:
                pass

    def _read(self, digest: bytes) -> bytes | None:
        if self._directory is None:
            return None
        try:
            with open(os.path.join(self._directory, digest.hex()), "rb") as file:
                return file.read()
        except OSError:
            return None
