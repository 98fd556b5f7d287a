"""How often the keys of a large sample occur: shared files, many readers of each, a shuffle, and a tree of sums.

The sample lies in shared files. Each is read by several calls, which take a stripe of its keys and split them into
parts; all keys of a part meet in one call, which alone can count them; its spectrum (how many keys occur once, how many
twice, and so on) is added to the others' by twos.

What the calls make is either kept in temporary files on the workers (`by_files`), or comes back and is sent out
again, as with executors that know only arguments and results (`by_values`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import parsl

from vinefast import TempFile

Array = np.ndarray[Any, Any]

KEYS = 1 << 21
# Keys that occur more often are counted as so many.
MOST = (1 << 17) - 1


@dataclass(frozen=True)
class Size:
    """How much there is to do.

    Attributes
    ----------
    files, records : int
        Shared files, and keys in each, of 4 bytes.
    readers : int
        Calls that read each file.
    parts : int
        That the keys are split into.
    """

    files: int = 8
    records: int = 1 << 21
    readers: int = 4
    parts: int = 8


class Answer(NamedTuple):
    """What comes of it: how many keys there are, how many occur once, and the sum of squares of all counts."""

    keys: int
    singles: int
    squares: int


# What is computed.


def sample(seed: int, records: int) -> Array:
    """Draw keys, small ones more often."""
    return (KEYS * np.random.default_rng(seed).random(records, dtype=np.float32) ** 3).astype(np.uint32)


def split(keys: Array, reader: int, size: Size) -> list[Array]:
    """Split a reader's stripe of a file."""
    stripe = keys[reader :: size.readers]
    part = stripe % size.parts
    return [stripe[part == i] for i in range(size.parts)]


def spectrum(*arrays: Array) -> Array:
    """Count how many keys of a part occur n times, for each n."""
    counts = np.bincount(np.concatenate(arrays))
    return np.bincount(np.minimum(counts, MOST), minlength=MOST + 1)


def add(*spectra: Array) -> Array:
    """Add spectra."""
    total: Array = np.sum(spectra, axis=0)
    return total


def answer(found: Array) -> Answer:
    """Read the answer off the spectrum of all keys."""
    times = np.arange(1, len(found))
    return Answer(int(found[1:].sum()), int(found[1]), int((found[1:] * times * times).sum()))


def expected(size: Size) -> Answer:
    """Compute the answer in this process."""
    return answer(spectrum(*[sample(seed, size.records) for seed in range(size.files)]))


def warm_up() -> None:
    """Import what calls need, and take so long that all workers get some of these."""
    time.sleep(0.01)
    expected(Size(1, 10, 1, 1))


# The same as calls that read files and make them.


class Ran(NamedTuple):
    """Where a call ran, told by its library's pid, and the bytes that it wrote into each output."""

    place: int
    nbytes: list[int]


def _load(path: Any) -> Array:
    with open(path, "rb") as file:
        loaded: Array = np.load(file)
    return loaded


def _save(outputs: Sequence[Any], arrays: Sequence[Array]) -> Ran:
    for path, array in zip(outputs, arrays, strict=True):
        with open(path, "wb") as file:
            np.save(file, array)
    return Ran(os.getppid(), [os.path.getsize(path) for path in outputs])


def sample_file(seed: int, size: Size, inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> Ran:
    """Make a shared file."""
    return _save(outputs, [sample(seed, size.records)])


def split_file(reader: int, size: Size, inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> Ran:
    """Read a shared file, and make a reader's parts of it."""
    return _save(outputs, split(_load(inputs[0]), reader, size))


def spectrum_file(inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> Ran:
    """Read all files of a part, and make its spectrum."""
    return _save(outputs, [spectrum(*map(_load, inputs))])


def add_files(inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> Ran:
    """Read spectra, and make their sum."""
    return _save(outputs, [add(*map(_load, inputs))])


def answer_file(inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> tuple[Ran, Answer]:
    """Read the spectrum of all keys."""
    return _save((), ()), answer(_load(inputs[0]))


@dataclass
class Flow:
    """What calls made and read, and the least that had to move for it.

    Attributes
    ----------
    made : dict
        Place and bytes of each file, by its number.
    read : list of tuple
        For each call its place and the numbers of its inputs.
    """

    made: dict[int, tuple[int, int]] = field(default_factory=dict)
    read: list[tuple[int, list[int]]] = field(default_factory=list)

    def placed_nbytes(self) -> int:
        """Give the least for the calls where they ran: each file once to each place that read it, but its maker's."""
        moves = {(file, place) for place, files in self.read for file in files if place != self.made[file][0]}
        return sum(self.made[file][1] for file, _ in moves)

    def least_nbytes(self) -> int:
        """Give the least for calls that run wherever they like, when their inputs lie where they were made.

        A call that runs where most of its input is must still get the rest. What each call needs so may be added up,
        since here the files with several readers are the only input of each of these, which need nothing to move.
        """
        return sum(self._least_of(files) for _, files in self.read)

    def _least_of(self, files: Sequence[int]) -> int:
        there: dict[int, int] = {}
        for file in files:
            place, nbytes = self.made[file]
            there[place] = there.get(place, 0) + nbytes
        return sum(there.values()) - max(there.values(), default=0)


class _Program:
    """Calls with files, and what they read and made."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, list[int], list[int]]] = []
        self._n_files = 0

    def call(
        self, function: Callable[..., Any], *args: Any, inputs: Sequence[tuple[int, Any]] = (), n_outputs: int = 1
    ) -> list[tuple[int, Any]]:
        """Submit a call; gives a number and the future of each file that it makes."""
        numbers = list(range(self._n_files, self._n_files + n_outputs))
        self._n_files += n_outputs
        future = parsl.python_app(function)(
            *args, inputs=[file for _, file in inputs], outputs=[TempFile(f"{function.__name__}-{n}") for n in numbers]
        )
        self._calls.append((future, [number for number, _ in inputs], numbers))
        return list(zip(numbers, future.outputs, strict=True))

    def last(self) -> Any:
        return self._calls[-1][0].result()

    def flow(self) -> Flow:
        flow = Flow()
        for future, inputs, outputs in self._calls:
            ran = future.result()
            ran = ran if isinstance(ran, Ran) else ran[0]
            flow.read.append((ran.place, inputs))
            flow.made.update(zip(outputs, ((ran.place, nbytes) for nbytes in ran.nbytes), strict=True))
        return flow


def by_files(size: Size) -> tuple[Answer, Flow]:
    """Run it with files that stay on the workers."""
    program = _Program()
    shared = [program.call(sample_file, seed, size)[0] for seed in range(size.files)]
    parts = [
        program.call(split_file, reader, size, inputs=[file], n_outputs=size.parts)
        for file in shared
        for reader in range(size.readers)
    ]
    spectra = [program.call(spectrum_file, inputs=list(part))[0] for part in zip(*parts, strict=True)]
    program.call(answer_file, inputs=[_tree(spectra, lambda *two: program.call(add_files, inputs=two)[0])], n_outputs=0)
    _, found = program.last()
    return found, program.flow()


def by_values(size: Size) -> tuple[Answer, None]:
    """Run it with arguments and results."""
    call = {function: parsl.python_app(function) for function in (sample, split, spectrum, add, answer)}
    shared = [call[sample](seed, size.records) for seed in range(size.files)]
    parts = [call[split](keys, reader, size) for keys in shared for reader in range(size.readers)]
    spectra = [call[spectrum](*part) for part in zip(*[future.result() for future in parts], strict=True)]
    return call[answer](_tree(spectra, call[add])).result(), None


def _tree(leaves: list[Any], join: Callable[..., Any]) -> Any:
    while len(leaves) > 1:
        odd = leaves[len(leaves) // 2 * 2 :]
        leaves = [join(*two) for two in zip(leaves[::2], leaves[1::2], strict=False)] + odd
    return leaves[0]
