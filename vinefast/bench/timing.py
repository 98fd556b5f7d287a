"""How rates and latencies are found."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(action: Callable[..., object], *args: object) -> float:
    """Give the seconds that `action` takes."""
    start = time.perf_counter()
    action(*args)
    return time.perf_counter() - start


def rate(run: Callable[[int], object], most: int, target_s: float, at_once: bool = False) -> tuple[int, float]:
    """Find how many calls a second `run` makes.

    Parameters
    ----------
    run : callable
        Makes the number of calls that it is given, and waits for them.
    most : int
        Never more calls than this.
    target_s : float
        The number grows until a run takes half as long as this; the runs before warm up, and there is always one.
    at_once : bool
        Do without trying: one run to warm up, then one with `most` calls.

    Returns
    -------
    tuple of int and float
        Number of calls, and calls per second, of the last run.
    """
    count = min(most, 10)
    seconds = timed(run, count)
    warm = False
    while count < most and (at_once or seconds < target_s / 2):
        count = most if at_once else min(most, int(count * min(10.0, max(2.0, 0.8 * target_s / seconds))))
        seconds = timed(run, count)
        warm = True
    if not warm:
        seconds = timed(run, count)
    return count, count / seconds


def one_at_a_time(call: Callable[[], object], most: int, longest_s: float) -> dict[str, float]:
    """Make calls one after the other; gives percentiles of the time that each took, in milliseconds.

    Parameters
    ----------
    call : callable
        Makes one call and waits for it.
    most : int
        Never more calls than this.
    longest_s : float
        After so long there are no more calls, but always ten.
    """
    call()
    end = time.monotonic() + longest_s
    trips_s: list[float] = []
    while len(trips_s) < most and (len(trips_s) < 10 or time.monotonic() < end):
        trips_s.append(timed(call))
    trips_s.sort()
    metrics = {}
    for name, share in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("max_ms", 1.0)):
        metrics[name] = 1e3 * trips_s[min(int(share * len(trips_s)), len(trips_s) - 1)]
    return metrics
