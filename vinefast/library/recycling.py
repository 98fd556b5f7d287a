"""After how many calls, or how much growth, a slot gets a new process: against what calls leave in it."""

from __future__ import annotations

import gc
import os

from .functions import FunctionCache
from .memory_usage import not_of_files
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .protocol import VINEFAST_SLOT_MAX_CALLS, VINEFAST_SLOT_MAX_GROWTH_NBYTES


class Recycling:
    """What one slot's child counts, between bundles.

    Growth is that of its own memory, not of files that it has mapped, since its first bundle. That of a bundle for
    which functions or contexts were loaded is not counted: these are to stay.

    Parameters
    ----------
    max_calls:
        After so many calls it is due; 0: never.
    max_growth:
        In bytes; 0: any.
    functions:
        Those that the process has loaded.
    """

    def __init__(self, max_calls: int, max_growth: int, functions: FunctionCache) -> None:
        self._max_calls = max_calls
        self._max_growth = max_growth
        self._functions = functions
        self._n_calls = 0
        self._n_loaded = -1
        self._nbytes = 0  # after the last bundle
        self._base = 0

    @classmethod
    def chosen(cls, functions: FunctionCache) -> Recycling | None:
        """Give what users have chosen; None: nothing."""
        max_calls, max_growth = (
            int(os.environ.get(name) or 0) for name in (VINEFAST_SLOT_MAX_CALLS, VINEFAST_SLOT_MAX_GROWTH_NBYTES)
        )
        return cls(max_calls, max_growth, functions) if max_calls or max_growth else None

    def is_due(self, n_calls: int) -> bool:
        """Tell after a bundle of so many calls whether the process is to end."""
        self._n_calls += n_calls
        if self._max_calls and self._n_calls >= self._max_calls:
            return True
        return self._max_growth > 0 and self._has_grown(self._functions.n_loaded)

    def _has_grown(self, n_loaded: int) -> bool:
        nbytes = not_of_files("self")
        if n_loaded != self._n_loaded:
            self._n_loaded = n_loaded
            self._base += nbytes - self._nbytes
        elif nbytes - self._base > self._max_growth:
            gc.collect()
            nbytes = not_of_files("self")
        self._nbytes = nbytes
        return nbytes - self._base > self._max_growth
