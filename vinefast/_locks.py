"""A lock that Ctrl-C leaves free where the `with` statement alone does not see to that, which is from Python 3.14 on.

Before, nothing is raised between the entry of a `with` and its body, if the entry is not in Python. From 3.14 on
KeyboardInterrupt is, as after any call of what is not in Python: the lock is held then, and nobody lets go of it. After
a function in Python it is not; so the entry is such a function there, which lets go of what it has not entered.
"""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager
from typing import Any

IS_LEFT_LOCKED = sys.version_info >= (3, 14)
"""Whether KeyboardInterrupt may come between the entry of a `with` and its body."""


def enter(self: Any) -> Any:
    """Enter what has an `RLock` for its ``_lock``: for an ``__enter__``."""
    lock = self._lock
    before = lock._recursion_count()
    try:
        return lock.__enter__()
    except BaseException:
        if lock._recursion_count() > before:
            lock.release()
        raise


class _Held:
    __slots__ = ("_lock",)
    __enter__ = enter

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock

    @property
    def __exit__(self) -> Any:
        # Itself, since a function in Python could be interrupted before it calls that.
        return self._lock.__exit__


def held(lock: Any) -> AbstractContextManager[Any]:
    """Give what holds a lock for the time of a `with`; one that is no `RLock` has to do it by itself."""
    return _Held(lock) if IS_LEFT_LOCKED and hasattr(lock, "_recursion_count") else lock
