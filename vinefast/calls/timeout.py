"""A timeout as users give it, and as locks take it."""

from __future__ import annotations

import time
from threading import TIMEOUT_MAX


def seconds(timeout: float | None) -> float | None:
    """Give a timeout as locks take it: no float of NumPy with fewer bits, and no more than they can count.

    Returns
    -------
    float or None
        Seconds; None for what is longer than the system can wait, `math.inf` among it.
    """
    return None if timeout is None or timeout > TIMEOUT_MAX else float(timeout)


def deadline_of(timeout: float | None) -> float | None:
    """Give the moment, on the monotonic clock in seconds, when a timeout that begins now is over; None: never."""
    left = seconds(timeout)
    return None if left is None else time.monotonic() + left


def seconds_until(deadline: float | None) -> float | None:
    """Give how long that is from now, 0 if it is over; None: for ever."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
