"""Time that something is given to end by itself, which does not run while nobody has it."""

from __future__ import annotations

_N_LOOKS = 4
_LONGEST_LOOK_S = 1.0


class Grace:
    """Such a time, which is looked at now and then.

    No look counts for more than the time between two of them: what is beyond that, nobody may have had, for all of a
    worker was suspended. It may also be that the machine is too busy for looks; so each of them counts for something,
    and in the end it is over.

    Parameters
    ----------
    seconds:
        How long.
    now:
        Monotonic time in seconds.

    Attributes
    ----------
    look_at:
        When to look next, at the latest.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self._left_s = seconds
        self._look_s = min(seconds / _N_LOOKS, _LONGEST_LOOK_S)
        self._looked_at = now
        self.look_at: float = now + self._look_s

    def look(self, now: float) -> bool:
        """Count what has gone by since the last look; tells whether it is over."""
        self._left_s -= min(now - self._looked_at, self._look_s)
        self._looked_at = now
        self.look_at = now + min(max(0.0, self._left_s), self._look_s)
        return self.is_over()

    def is_over(self) -> bool:
        """Tell whether it was over at the last look."""
        return self._left_s <= 0
