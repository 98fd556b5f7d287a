"""Many calls of one function at a time: `VineFastExecutor.submit_many` and `VineFastExecutor.map`."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import islice
from typing import Any

from vinefast._core import CallFuture, rebuild_exception

# Run time of a chunk that `map` aims at, and how fast it comes there. Chunks share bundles, so they need not be long;
# they need to cost many times what a call costs.
_CHUNK_NS = 5_000_000
_CHUNK_GROWTH = 8
_CHUNK_MAX_ITEMS = 4096


class CallsAhead(Iterator[CallFuture]):
    """Futures of calls, in order, submitted before they are asked for, but not all at once.

    Parameters
    ----------
    submit : callable
        Takes an item, gives a future.
    items : iterator
        Read as far as needed.
    ahead : int
        Calls to submit at once, and to keep unfinished at the most: once half of them have been taken, the next are
        submitted, but not before those are done.
    """

    def __init__(self, submit: Callable[[Any], CallFuture], items: Iterator[Any], ahead: int) -> None:
        self._submit = submit
        self._items = items
        self._ahead = ahead
        self._futures: deque[CallFuture] = deque()
        self._taken: list[CallFuture] = []
        self._exhausted = False
        try:
            self._fill()
        except BaseException:
            self.cancel()
            raise

    def _fill(self) -> None:
        self._futures.extend(map(self._submit, islice(self._items, self._ahead - len(self._futures))))
        self._exhausted = len(self._futures) < self._ahead

    def __next__(self) -> CallFuture:
        if not self._exhausted and len(self._futures) <= self._ahead // 2:
            for future in self._taken:
                with suppress(CancelledError):
                    future.exception()
            self._taken.clear()
            self._fill()
        if not self._futures:
            raise StopIteration
        future = self._futures.popleft()
        if not self._exhausted:
            self._taken.append(future)
        return future

    def cancel(self) -> None:
        """Cancel what was submitted and has not been asked for."""
        for future in self._futures:
            future.cancel()
        self._futures.clear()


class Chunks:
    """Cuts iterables into chunks, which `size` says the length of at each moment.

    Parameters
    ----------
    iterables : tuple of iterables
        As many as the function has arguments; the shortest ends them all.
    chunksize : int or None
        Items of each chunk; None: as many as run for some milliseconds, found out on the way.
    most : int
        Items of a chunk at the most, while the size is found out.
    """

    def __init__(self, iterables: tuple[Any, ...], chunksize: int | None, most: int) -> None:
        self._rows: Iterator[Any] = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
        self._one_column = len(iterables) == 1
        self._adapts = chunksize is None
        self._most = max(1, min(most, _CHUNK_MAX_ITEMS))
        self.size = chunksize or 1

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Give each chunk by columns, one per argument."""
        while rows := list(islice(self._rows, self.size)):
            yield (rows,) if self._one_column else tuple(map(list, zip(*rows, strict=True)))

    def learn(self, n_items: int, duration_ns: int) -> None:
        """A chunk of so many items took so long."""
        if self._adapts and n_items:
            wanted = n_items * _CHUNK_NS // max(duration_ns, 1)
            self.size = max(1, min(wanted, _CHUNK_GROWTH * self.size, self._most))


def results_in_order(calls: CallsAhead, chunks: Chunks | None, timeout: float | None) -> Iterator[Any]:
    """Give the results of chunks, or of single calls, one by one; what an item raised is raised in its place.

    That ends the rest.

    Raises
    ------
    TimeoutError
        When a result has not come `timeout` seconds after this began.
    """
    deadline = None if timeout is None else time.monotonic() + timeout

    def results() -> Iterator[Any]:
        try:
            for future in calls:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                found = future.result(left)
                if chunks is None:
                    yield found
                    continue
                failure = None
                if type(found) is tuple:
                    found, failure = found
                chunks.learn(len(found), future.duration_ns)
                # What the user has taken is not kept here, so that large results do not pile up.
                found.reverse()
                while found:
                    yield found.pop()
                if failure is not None:
                    raise rebuild_exception(pickle.loads(failure))
        finally:
            calls.cancel()

    return results()
