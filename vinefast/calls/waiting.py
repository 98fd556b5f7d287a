"""Waiting for many futures, of calls, of apps and of whatever else: what `concurrent.futures` has, with a bar.

`concurrent.futures` locks all futures at once and gives each a waiter; a call's future would have to make its lock for
that, and to be finished with it. Here each gets a callback in C, which puts it into a queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, DoneAndNotDoneFutures
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from vinefast._core import subscribe, unsubscribe
from vinefast.calls.timeout import deadline_of, seconds_until
from vinefast.display import screen
from vinefast.display.progress import Progress
from vinefast.display.state import Counts
from vinefast.settings import rules

T = TypeVar("T")
F = TypeVar("F", bound=Future[Any])


def as_completed(futures: Iterable[F], timeout: float | None = None, *, progress: bool = False) -> Iterator[F]:
    """Give futures as they are done, as `concurrent.futures.as_completed` does.

    Parameters
    ----------
    futures : iterable of concurrent.futures.Future
        Of calls, of Parsl's apps, of other executors, in any mixture. One that is there twice comes once.
    timeout : float, optional
        Seconds from this call until the last one is done.
    progress : bool
        Show a bar on standard error, if that is a terminal, or in a notebook: how many are done and have failed, how
        fast, and how long the rest will take.

    Returns
    -------
    iterator of concurrent.futures.Future
        Those that are done already come first.

    Raises
    ------
    ValueError
        If `timeout` is no number.
    TypeError
        If something else is among the futures.
    TimeoutError
        By the iterator, if not all are done in time; `concurrent.futures.TimeoutError` on Python 3.10.
    vinefast.errors.WaitInCallback, vinefast.errors.EngineStopped
        By the iterator, where nobody would finish a call: as `result` of its future.
    """
    deadline = _deadline(timeout)
    return _as_completed(_checked(futures), timeout, deadline, progress)


def _as_completed(futures: set[F], timeout: float | None, deadline: float | None, progress: bool) -> Iterator[F]:
    n_futures = len(futures)
    with _bar("as_completed", futures, timeout, progress):
        done = [future for future in futures if future.done()]
        futures.difference_update(done)
        # The user's future is not kept here while he has it.
        while done:
            yield done.pop()
        with _finished(futures, timeout) as finished:
            while futures:
                try:
                    done.append(finished.get(timeout=seconds_until(deadline)))
                except Empty:
                    raise FutureTimeout(f"{len(futures)} (of {n_futures}) futures unfinished") from None
                futures.remove(done[0])
                yield done.pop()


def wait(
    futures: Iterable[Future[T]],
    timeout: float | None = None,
    return_when: str = ALL_COMPLETED,
    *,
    progress: bool = False,
) -> DoneAndNotDoneFutures[T]:
    """Wait for futures, as `concurrent.futures.wait` does.

    Parameters
    ----------
    futures : iterable of concurrent.futures.Future
        Of calls, of Parsl's apps, of other executors, in any mixture.
    timeout : float, optional
        Seconds to wait at the most.
    return_when : str
        `ALL_COMPLETED`, `FIRST_COMPLETED` or `FIRST_EXCEPTION` of `concurrent.futures`: how many to wait for.
    progress : bool
        Show a bar, as `as_completed` does.

    Returns
    -------
    tuple of two sets
        `done` and `not_done`.

    Raises
    ------
    ValueError
        If `return_when` is something else, or `timeout` no number.
    TypeError
        If something else is among the futures.
    vinefast.errors.WaitInCallback, vinefast.errors.EngineStopped
        Where nobody would finish a call: as `result` of its future.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(
            f"return_when is {return_when!r}; accepted: {ALL_COMPLETED!r}, {FIRST_COMPLETED!r} or {FIRST_EXCEPTION!r}"
        )
    deadline = _deadline(timeout)
    not_done = _checked(futures)
    done = {future for future in not_done if future.done()}
    not_done -= done
    if not not_done or any(_ends_it(future, return_when) for future in done):
        return DoneAndNotDoneFutures(done, not_done)
    enough = False
    with _bar("wait", not_done | done, timeout, progress), _finished(not_done, timeout) as finished:
        while not_done:
            try:
                future = finished.get(timeout=seconds_until(deadline))
            except Empty:
                break
            done.add(future)
            not_done.remove(future)
            enough = enough or _ends_it(future, return_when)
            if enough and finished.empty():
                break
    return DoneAndNotDoneFutures(done, not_done)


def _deadline(timeout: float | None) -> float | None:
    rules.require("timeout", timeout, rules.optional(rules.SECONDS))
    return deadline_of(timeout)


def _checked(futures: Iterable[F]) -> set[F]:
    try:
        iterator = iter(futures)
    except TypeError:
        raise TypeError(
            f"{futures!r} is no iterable; accepted: a list, say, of what submit, or apps, have returned"
        ) from None
    found = set()
    for future in iterator:
        if not isinstance(future, Future):
            raise TypeError(f"{future!r} is no future; accepted: what submit, or an app, has returned")
        found.add(future)
    return found


def _ends_it(future: Future[Any], return_when: str) -> bool:
    """Whether nobody waits for others once this one is done."""
    return return_when == FIRST_COMPLETED or (return_when == FIRST_EXCEPTION and _has_failed(future))


# The public methods would do, but lock, and so have the future of a call make its lock.


def _has_failed(future: Any) -> bool:
    """Whether one that is done has an exception."""
    return future._exception is not None


def _is_cancelled(future: Any) -> bool:
    return future._state in (CANCELLED, CANCELLED_AND_NOTIFIED)


@contextmanager
def _finished(futures: set[F], timeout: float | None = None) -> Iterator[SimpleQueue[F]]:
    """Give a queue into which each of the futures comes when it is done."""
    finished: SimpleQueue[F] = SimpleQueue()
    put = finished.put
    try:
        subscribe(futures, put, timeout)
        yield finished
    finally:
        # Whoever asks again and again with a timeout leaves nothing behind each time.
        unsubscribe(futures, put)


@contextmanager
def _bar(title: str, futures: set[F], timeout: float | None, progress: bool) -> Iterator[None]:
    if not progress or not screen.is_there():
        yield
        return
    pending = set(futures)
    with _finished(pending, timeout) as finished, Progress(title, _Tally(pending, finished).count):
        yield


class _Tally:
    """Counts what comes into a queue, when somebody asks, and then lets go of it."""

    def __init__(self, pending: set[Any], finished: SimpleQueue[Any]) -> None:
        self._pending = pending
        self._total = len(pending)
        self._finished = finished
        self._done = self._failed = self._cancelled = 0

    def count(self) -> Counts:
        # Bounded, so that a bar does not run behind those who finish futures.
        for _ in range(self._finished.qsize()):
            future = self._finished.get_nowait()
            self._pending.discard(future)
            self._done += 1
            self._failed += _has_failed(future)
            self._cancelled += _is_cancelled(future)
        return Counts(self._total, self._done, self._failed, self._cancelled)
