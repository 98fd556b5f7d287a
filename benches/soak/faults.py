"""What is done to the workers, the network and the disks of a soak: from one seed, and mended after a time."""

from __future__ import annotations

import heapq
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benches.soak.books import Books, Fault
from benches.soak.fleet import Fleet, Place, fill

_TARGETS = ("worker", "library", "slot")


class Faults:
    """Does one thing after another.

    Parameters
    ----------
    fleet : Fleet
        Whose workers it harms.
    books : Books
        Where each fault is noted.
    executors : dict
        By name.
    run_disk : Path or None
        The disk of the run directory, if it is one of its own.
    rng : random.Random
        What all is chosen by.
    every_s : float
        Mean time from one fault to the next.
    longest_s : float
        How long a fault lasts at the most, of those that last.
    """

    def __init__(
        self,
        fleet: Fleet,
        books: Books,
        executors: dict[str, Any],
        run_disk: Path | None,
        rng: random.Random,
        every_s: float,
        longest_s: float,
    ) -> None:
        self._fleet = fleet
        self._books = books
        self._executors = executors
        self._run_disk = run_disk
        self._rng = rng
        self._every_s = every_s
        self._longest_s = longest_s
        self._due = time.monotonic() + min(2.0, every_s)
        self._mends: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0
        self._cut: set[int] = set()
        self._full: set[Path] = set()
        self._strangers: list[subprocess.Popen[bytes]] = []
        kinds: dict[str, tuple[float, Callable[[], bool]]] = {}
        for target, weight in zip(_TARGETS, (2, 2, 3), strict=True):
            kinds[f"{target} killed"] = (weight, lambda target=target: self._kill(target))
            kinds[f"{target} suspended"] = (weight, lambda target=target: self._suspend(target))
        if fleet.hosts is not None:
            kinds["network cut"] = (2.5, self._cut_network)
        if any(place.has_disk for place in fleet.places):
            kinds["worker's disk full"] = (1.5, self._fill_worker)
        if run_disk is not None:
            kinds["run directory's disk full"] = (1.5, self._fill_run_dir)
        for manner in ("silent", "garbage"):
            kinds[f"{manner} connections"] = (1, lambda manner=manner: self._strange(manner))
        self.kinds = kinds
        # Each once first.
        self._first = list(kinds)
        rng.shuffle(self._first)

    def turn(self) -> None:
        """Do what is due: mend, or harm."""
        now = time.monotonic()
        self._mend(now)
        if now < self._due:
            return
        self._due = now + self._rng.expovariate(1 / self._every_s)
        kind = self._first.pop() if self._first else self._any_kind()
        if not self.kinds[kind][1]() and len(self._first) < len(self.kinds):
            # There was nobody to harm just now.
            self._first.insert(0, kind)
            self._due = now + 0.5

    def _any_kind(self) -> str:
        return self._rng.choices(list(self.kinds), [weight for weight, _ in self.kinds.values()])[0]

    def mend_all(self) -> None:
        """End all faults."""
        self._mend(float("inf"))
        for process in self._strangers:
            process.kill()
            process.wait()
        self._strangers.clear()

    def _mend(self, now: float) -> None:
        while self._mends and self._mends[0][0] <= now:
            heapq.heappop(self._mends)[2]()
        ended = [process for process in self._strangers if process.poll() is not None]
        self._strangers = [process for process in self._strangers if process not in ended]

    def _begin(
        self, kind: str, group: str, seconds: float | None = None, mend: Callable[[], None] | None = None
    ) -> bool:
        fault = self._books.begin(kind, group)
        if seconds is None or mend is None:
            fault.end = fault.begin
            return True
        self._n += 1
        heapq.heappush(self._mends, (time.monotonic() + seconds, self._n, lambda: self._end(fault, mend)))
        return True

    @staticmethod
    def _end(fault: Fault, mend: Callable[[], None]) -> None:
        mend()
        fault.end = time.monotonic()

    def _seconds(self, longest_s: float) -> float:
        return self._rng.uniform(1, max(1.5, min(longest_s, self._longest_s)))

    def _victim(self, target: str) -> tuple[Place, psutil.Process] | None:
        place = self._rng.choice(self._fleet.places)
        found: Iterable[psutil.Process | None]
        if target == "worker":
            found = [place.worker()]
        elif target == "library":
            found = [place.library()]
        else:
            found = place.slots()
        processes = [process for process in found if process is not None]
        return (place, self._rng.choice(processes)) if processes else None

    def _kill(self, target: str) -> bool:
        if (victim := self._victim(target)) is None:
            return False
        place, process = victim
        # Noted before, since a call may fail of it at once.
        self._begin(f"{target} killed", place.group)
        with suppress(psutil.Error):
            process.kill()
        return True

    def _suspend(self, target: str) -> bool:
        if (victim := self._victim(target)) is None:
            return False
        place, process = victim
        try:
            process.suspend()
        except psutil.Error:
            return False

        def resume() -> None:
            with suppress(psutil.Error):
                process.resume()

        return self._begin(f"{target} suspended", place.group, self._seconds(15), resume)

    def _cut_network(self) -> bool:
        free = [place for place in self._fleet.places if place.host is not None and place.host not in self._cut]
        if not free:
            return False
        place = self._rng.choice(free)
        host = place.host
        self._fleet.hosts.cut(host)
        self._cut.add(host)

        def mend() -> None:
            self._fleet.hosts.mend(host)
            self._cut.discard(host)

        return self._begin("network cut", place.group, self._seconds(30), mend)

    def _fill_worker(self) -> bool:
        free = [place for place in self._fleet.places if place.has_disk and place.directory not in self._full]
        if not free:
            return False
        place = self._rng.choice(free)
        return self._fill("worker's disk full", place.group, place.directory)

    def _fill_run_dir(self) -> bool:
        assert self._run_disk is not None
        if self._run_disk in self._full:
            return False
        return self._fill("run directory's disk full", " ".join(self._executors), self._run_disk)

    def _fill(self, kind: str, group: str, directory: Path) -> bool:
        self._full.add(directory)

        def empty() -> None:
            (directory / "filler").unlink()
            self._full.discard(directory)

        self._begin(kind, group, self._seconds(10), empty)
        fill(directory)
        return True

    def _strange(self, manner: str) -> bool:
        name, executor = self._rng.choice(list(self._executors.items()))
        n, seconds = self._rng.randrange(1, 60), self._seconds(10)
        address = executor.manager_config.address
        numbers = executor.port, manner, n, seconds, self._rng.getrandbits(32)
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "benches.soak.strangers", address, *map(str, numbers)],
            cwd=os.environ["PYTHONPATH"].partition(os.pathsep)[0],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._strangers.append(process)
        return self._begin(f"{manner} connections", name)
