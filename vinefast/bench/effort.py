"""How much is measured: numbers of calls, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Sizes of all measures.

    Attributes
    ----------
    target_s : float
        What one measurement of a rate is to take; the number of calls is found by trying.
    calls, apps, singles, queued, mapped : int
        At most so many no-op calls at the executor, apps, calls one at a time, calls waiting at once, items of a map.
    durations_s : tuple of float
        Durations of sleeping calls.
    sleep_s : float
        Sleeping calls are so many that they take at least this long on all slots.
    array_nbytes : tuple of int
        Sizes of arrays.
    arrays_total_nbytes : int
        At most so many bytes of arrays in one measurement.
    """

    target_s: float = 2.0
    calls: int = 200_000
    apps: int = 5_000
    singles: int = 2_000
    busy_singles: int = 200
    durations_s: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
    sleep_s: float = 10.0
    array_nbytes: tuple[int, ...] = (10**4, 10**5, 10**6, 10**7)
    arrays_total_nbytes: int = 200 * 10**6
    queued: int = 1_000_000
    mapped: int = 200_000


FULL = Effort()
QUICK = Effort(
    target_s=0.4,
    calls=20_000,
    apps=2_000,
    singles=300,
    durations_s=(0.0, 1e-3, 1e-2, 1e-1),
    sleep_s=0.8,
    arrays_total_nbytes=40 * 10**6,
    queued=100_000,
    mapped=20_000,
)
# Each measure once, for correctness and never for time.
TINY = Effort(
    target_s=0.02,
    calls=200,
    apps=50,
    singles=20,
    busy_singles=10,
    durations_s=(0.0, 1e-3),
    sleep_s=0.02,
    array_nbytes=(10**4,),
    arrays_total_nbytes=10**5,
    queued=1_000,
    mapped=200,
)
EFFORTS = {"full": FULL, "quick": QUICK, "tiny": TINY}
