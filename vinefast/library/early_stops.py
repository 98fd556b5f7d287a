"""Calls that are to end before their bundle has come."""

from __future__ import annotations

# Most of them are of bundles that had left a moment before.
_MAX_BUNDLES = 4096
# TaskVine's numbers come again, after weeks.
_LIFETIME_S = 86400.0


class EarlyStops:
    """Calls that are to end, by the task ids of their bundles, which have left or are still to come."""

    def __init__(self) -> None:
        self._calls: dict[bytes, tuple[float, set[int]]] = {}

    def add(self, task_id: bytes, indices: set[int], now: float) -> None:
        """Keep them for a bundle."""
        _, before = self._calls.pop(task_id, (0.0, set()))
        self._calls[task_id] = now, before | indices
        self._drop(now)

    def take(self, task_id: bytes, now: float) -> set[int]:
        """Give those of a bundle that has come."""
        if not self._calls:
            return set()
        self._drop(now)
        return self._calls.pop(task_id, (0.0, set()))[1]

    def _drop(self, now: float) -> None:
        while self._calls:
            oldest = next(iter(self._calls))
            if len(self._calls) <= _MAX_BUNDLES and now - self._calls[oldest][0] < _LIFETIME_S:
                return
            del self._calls[oldest]
