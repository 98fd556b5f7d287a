"""A slot's child notes when each call begins whose time is limited, for `time_limit`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from . import memory as layout
from .memory import SlotMemory
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401


class Timed:
    """Takes the place of a function in the hot loop, which then costs nothing more where there is no limit.

    Parameters
    ----------
    function:
        What to call.
    memory:
        Where the supervisor reads when that has begun.
    """

    def __init__(self, function: Callable[..., Any], memory: SlotMemory) -> None:
        self._function = function
        self._counters = memory.counters
        self._pid = os.getpid()
        self.__name__: str = getattr(function, "__name__", None) or type(function).__name__

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        self._counters[layout.CALL_NS] = time.monotonic_ns()
        try:
            return self._function(*args, **kwargs)
        finally:
            # What a call has forked comes here as well, with the same memory.
            if os.getpid() == self._pid:
                self._counters[layout.CALL_NS] = 0
