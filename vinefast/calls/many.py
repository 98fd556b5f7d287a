"""Many calls of one function at a time: `VineFastExecutor.submit_many` and `VineFastExecutor.map`."""

from __future__ import annotations

import pickle
import sys
from asyncio import CancelledError as CancelledTask
from asyncio import sleep
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from vinefast._core import CallFuture, done_within, rebuild_exception
from vinefast.calls.timeout import deadline_of, seconds_until

if TYPE_CHECKING:
    from typing_extensions import Self

    from vinefast.settings.resources import ResourceSpecification

T = TypeVar("T")

# Run time of a chunk that `map` aims at, and how fast it comes there. Chunks share bundles, so they need not be long;
# they need to cost many times what a call costs.
_CHUNK_NS = 5_000_000
_CHUNK_GROWTH = 8
_CHUNK_MAX_ITEMS = 4096
# Chunks that are ahead of the results taken, per slot, and chunks of an iterable of known length, per slot.
_CHUNKS_AHEAD = 16
_CHUNKS_PER_SLOT = 4
# Items, if each result stays on a worker.
_KEPT_AHEAD = 1024


class MapOptions(TypedDict, total=False):
    """The keywords of `VineFastExecutor.map`, for type checkers: it says what they mean."""

    timeout: float | None
    chunksize: int | None
    resource_specification: ResourceSpecification | None


def results_of_chunks(
    submit: Callable[[tuple[Any, ...]], CallFuture[Any]],
    iterables: tuple[Iterable[Any], ...],
    chunksize: int | None,
    slots: int,
    timeout: float | None,
) -> Results[Any]:
    """Give what `VineFastExecutor.map` returns, by calls for chunks of items.

    Parameters
    ----------
    submit : callable
        Submits a chunk, which it takes by columns.
    iterables, chunksize, timeout
        As `map` takes them.
    slots : int
        Of the workers that there are.
    """
    slots = max(1, slots)
    n_items = min((len(iterable) for iterable in iterables if isinstance(iterable, Sized)), default=None)
    # A few chunks per slot at least, so that all slots end at the same time.
    most = sys.maxsize if n_items is None else n_items // (_CHUNKS_PER_SLOT * slots)
    chunks = Chunks(iterables, chunksize, most)
    return Results(CallsAhead(submit, iter(chunks), _CHUNKS_AHEAD * (slots + 1)), chunks, timeout)


def results_of_items(
    submit: Callable[[tuple[Any, ...]], CallFuture[Any]], iterables: tuple[Iterable[Any], ...], timeout: float | None
) -> Results[Any]:
    """Give what `VineFastExecutor.map` returns, by a call for each item: its value is a file of its own."""
    return Results(CallsAhead(submit, zip(*iterables, strict=False), _KEPT_AHEAD), None, timeout)


class CallsAhead(Iterator["CallFuture[T]"], AsyncIterator["CallFuture[T]"]):
    """Futures of calls, in order, submitted before they are asked for, but not all at once.

    ``async for`` takes them as well, and does not stop the event loop while calls are to be done before others.

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

    def __init__(self, submit: Callable[[Any], CallFuture[T]], items: Iterator[Any], ahead: int) -> None:
        self._submit = submit
        self._items = items
        self._ahead = ahead
        self._futures: deque[CallFuture[T]] = deque()
        self._taken: list[CallFuture[T]] = []
        self._exhausted = False
        try:
            self._fill()
        except BaseException:
            self.cancel()
            raise

    def _fill(self) -> None:
        self._futures.extend(map(self._submit, islice(self._items, self._ahead - len(self._futures))))
        self._exhausted = len(self._futures) < self._ahead

    def _is_low(self) -> bool:
        return not self._exhausted and len(self._futures) <= self._ahead // 2

    def __next__(self) -> CallFuture[T]:
        if self._is_low():
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

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CallFuture[T]:
        if self._is_low():
            # As they are now: another task may be here meanwhile.
            for future in list(self._taken):
                await done_within(future, None)
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

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
        self.size: int = chunksize or 1

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Give each chunk by columns, one per argument."""
        while rows := list(islice(self._rows, self.size)):
            yield (rows,) if self._one_column else tuple(map(list, zip(*rows, strict=True)))

    def learn(self, n_items: int, duration_ns: int) -> None:
        """A chunk of so many items took so long."""
        if self._adapts and n_items:
            wanted = n_items * _CHUNK_NS // max(duration_ns, 1)
            self.size = max(1, min(wanted, _CHUNK_GROWTH * self.size, self._most))


class Results(Iterator[T], AsyncIterator[T]):
    """The results of chunks, or of single calls, one by one and in order: for ``for``, and for ``async for``.

    What an item raised is raised in its place; that, and closing this, ends the rest. One may change between the two
    ways, but not use both at the same time.

    Parameters
    ----------
    calls : CallsAhead
    chunks : Chunks or None
        None: each call gives one result.
    timeout : float, optional
        Seconds from now until the last result is taken.
    """

    def __init__(self, calls: CallsAhead[Any], chunks: Chunks | None, timeout: float | None) -> None:
        self._source: _Source[T] = _Source(calls, chunks, timeout)
        self._generator = self._source.results()

    def __iter__(self) -> Iterator[T]:
        """Give a generator: a loop takes an item from that at half the cost."""
        return self._generator

    def __next__(self) -> T:
        return next(self._generator)

    def close(self) -> None:
        """Cancel what has not been sent, and end."""
        self._generator.close()
        self._source.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._source.items:
            return self._source.items.pop()
        return await self._source.next_item()

    async def aclose(self) -> None:
        """Do what `close` does, for ``contextlib.aclosing``."""
        self.close()


class _Source(Generic[T]):
    """What a generator and a coroutine have in common, which must not know the `Results` that hold it."""

    def __init__(self, calls: CallsAhead[Any], chunks: Chunks | None, timeout: float | None) -> None:
        self.items: list[T] = []  # of the chunk that is being given, the last one first
        self._failure: bytes | None = None  # in the place of the item after these
        self._calls = calls
        self._chunks = chunks
        self._deadline = deadline_of(timeout)
        self._ended = self._is_awaited = False

    def end(self) -> None:
        self._ended = True
        self.items = []
        self._calls.cancel()

    def results(self) -> Generator[T, None, None]:
        try:
            while True:
                # What the user has taken is not kept here, so that large results do not pile up.
                items = self.items
                while items:
                    yield items.pop()
                if self.items is not items:  # a coroutine has been here meanwhile
                    continue
                future = self._next_call()
                if future is None:
                    return
                self._unpack(future, future.result(seconds_until(self._deadline)))
        finally:
            self.end()

    async def next_item(self) -> T:
        if self._is_awaited:
            raise RuntimeError("another task waits for the next result already; one can at a time")
        self._is_awaited = True
        try:
            while not self.items:
                future = self._next_call()
                if future is None:
                    raise StopAsyncIteration
                self._unpack(future, await self._result(future))
            return self.items.pop()
        except BaseException:
            self.end()
            raise
        finally:
            self._is_awaited = False

    def _next_call(self) -> CallFuture[Any] | None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise rebuild_exception(pickle.loads(failure))
        return None if self._ended else next(self._calls, None)

    def _unpack(self, future: CallFuture[Any], found: Any) -> None:
        if self._chunks is None:
            self.items = [found]
            return
        if type(found) is tuple:
            found, self._failure = found
        self._chunks.learn(len(found), future.duration_ns)
        found.reverse()
        self.items = found

    async def _result(self, future: CallFuture[Any]) -> Any:
        left = seconds_until(self._deadline)
        if future.done():
            # Else a loop over what is all there would let no other task run.
            await sleep(0)
        elif left is not None:
            try:
                await done_within(future, left)
            except CancelledTask:
                future.cancel()
                raise
        return await future
