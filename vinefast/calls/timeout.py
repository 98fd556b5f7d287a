"""A timeout as users give it, and as locks take it."""

from __future__ import annotations

from threading import TIMEOUT_MAX


def seconds(timeout: float | None) -> float | None:
    """Give a timeout as locks take it: no float of NumPy with fewer bits, and no more than they can count.

    Returns
    -------
    float or None
        Seconds; None for what is longer than the system can wait, `math.inf` among it.
    """
    return None if timeout is None or timeout > TIMEOUT_MAX else float(timeout)
