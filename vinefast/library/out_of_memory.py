"""Why memory has cost a call its process; and whether the kernel has ended one because no memory was left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from .protocol import VINEFAST_OOM_EVENTS

_COUNTED = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)

# Half the age that the count may have with which a death is compared. Other programs' processes may be counted too.
_READ_AGAIN_S = 10.0


class Cause(NamedTuple):
    """Why memory has cost a call its process; sizes are in bytes.

    Attributes
    ----------
    limit:
        What it might take; 0: the kernel had no memory left.
    peak:
        The most that was seen.
    """

    limit: int
    peak: int


class OomKills:
    """How many processes the kernel has ended because no memory was left: in our cgroup, or else on this machine."""

    def __init__(self, paths: list[str] | None = None) -> None:
        self._path = next((path for path in paths or _paths() if _read(path) is not None), None)
        self._seen = 0
        self._count = self._next = self._read()
        self._read_at = 0.0

    def refresh(self, now: float) -> None:
        """Forget, now and then, what has happened before a call began."""
        if now >= self._read_at:
            self._read_at = now + _READ_AGAIN_S
            # Not what has just been read: a death may have been counted of which we have yet to hear.
            self._count, self._next = self._next, self._read()

    def have_risen(self) -> bool:
        """Whether there have been more since the last look."""
        before, self._count = self._count, self._read()
        self._next = self._count
        return self._count > before

    def _read(self) -> int:
        """Give the count; as it was seen last, if it cannot be read now, for lack of a descriptor, say."""
        count = _read(self._path) if self._path is not None else None
        if count is not None:
            self._seen = count
        return self._seen


def _paths() -> Iterator[str]:
    chosen = os.environ.get(VINEFAST_OOM_EVENTS)
    if chosen:
        yield chosen
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    # In a container, what is mounted may begin where our cgroup is.
    for line in lines:
        _, controllers, group = line.split(":", 2)
        for path in (group, "/"):
            if not controllers:
                yield f"/sys/fs/cgroup{path}/memory.events"
            elif "memory" in controllers.split(","):
                yield f"/sys/fs/cgroup/memory{path}/memory.oom_control"
    yield "/proc/vmstat"


def _read(path: str) -> int | None:
    try:
        with open(path, "rb") as file:
            found = _COUNTED.search(file.read())
    except OSError:
        return None
    return None if found is None else int(found[1])
