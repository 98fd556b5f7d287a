"""The functions that are called. Executors send them by reference, so that any of them can take them."""

from __future__ import annotations

import os
import time
from typing import Any


def noop(*args: Any) -> None:
    """Do nothing."""


def increment(number: int) -> int:
    """Add one."""
    return number + 1


def echo(value: Any) -> Any:
    """Give back what came."""
    return value


def nap(seconds: float) -> float:
    """Sleep, and tell for how long: a sleep overshoots by some 60 us, which is not the executor's doing."""
    start = time.perf_counter()
    # sleep(0) would give the core away, which a call that does nothing does not.
    if seconds:
        time.sleep(seconds)
    return time.perf_counter() - start


def hold(flag: str, name: str, limit_s: float) -> None:
    """Keep a slot busy until the file `flag` is gone, but not for ever; a file beside it tells that the call runs."""
    open(f"{flag}.{name}", "w").close()
    end = time.monotonic() + limit_s
    while os.path.exists(flag) and time.monotonic() < end:
        time.sleep(0.01)
