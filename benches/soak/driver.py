"""Which calls a soak submits, when, and what each is to end as: all of it from one seed."""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import parsl
from parsl.data_provider.files import File

import vinefast
from benches.soak import calls
from benches.soak.books import Books, Call
from vinefast.errors import CallDied, CallTimedOut

# So many calls that have not ended are enough: workers may be out of reach.
MOST_LIVE = 4000
_N_INPUTS = 20
_SOON_S = 60.0
# How long an input stays after the last call was submitted that reads it.
_INPUT_S = 900.0
_make = vinefast.mark(calls.make, keep=True)


def _has(number: Any) -> Callable[[Any], bool]:
    return lambda value: value == number


class Driver:
    """Submits calls to executors, a group of workers each.

    Parameters
    ----------
    executors : dict
        By name.
    books : Books
        Where each call is entered.
    inputs, outputs : Path
        Directories, relative to the current one.
    rng : random.Random
        What all is chosen by.
    rate : float
        Calls a second.
    """

    def __init__(
        self,
        executors: dict[str, Any],
        books: Books,
        inputs: Path,
        outputs: Path,
        rng: random.Random,
        rate: float,
    ) -> None:
        self._executors = executors
        self._books = books
        self._inputs_dir = inputs
        self._outputs_dir = outputs
        self._rng = rng
        self._rate = rate
        self._number = 0
        self._due = time.monotonic()
        # When, a number that tells them apart, what, and whether a call is owed thereby.
        self._later: list[tuple[float, int, Callable[[], None], bool]] = []
        self._inputs: list[tuple[str, str]] = []
        self._apps = {name: parsl.python_app(calls.same, executors=[name]) for name in executors}
        self._kinds: dict[str, tuple[float, Callable[[str, int], Future[Any]]]] = {
            "nothing": (55, self._nothing),
            "array": (12, self._array),
            "raises": (6, self._raises),
            "sleeps": (9, self._sleeps),
            "prints": (4, self._prints),
            "reads an input": (5, self._reads),
            "writes an output": (3, self._writes),
            "keeps a value": (2, self._keeps),
            "app": (4, self._app),
            "cancelled": (2, self._cancelled),
            "dies": (1, self._dies),
            "over its time": (0.5, self._over_time),
        }

    def is_owing(self) -> bool:
        """Whether calls are to be cancelled, or kept values to be read, soon."""
        soon = time.monotonic() + _SOON_S
        return any(when < soon and is_owed for when, _, _, is_owed in self._later)

    def turn(self, submitting: bool = True) -> None:
        """Do what is due."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
        while submitting and self._due <= now:
            self._due += self._rng.expovariate(self._rate)
            if len(self._books.live) < MOST_LIVE:
                self._submit()

    def each_kind(self) -> None:
        """Submit a call of each kind to each executor."""
        for group in self._executors:
            for kind in self._kinds:
                self._submit(kind, group)

    def _submit(self, kind: str | None = None, group: str | None = None) -> None:
        kind = kind or self._rng.choices(list(self._kinds), [weight for weight, _ in self._kinds.values()])[0]
        group = group or self._rng.choice(list(self._executors))
        self._number += 1
        self._kinds[kind][1](group, self._number)

    def _enter(
        self,
        kind: str,
        group: str,
        number: int,
        future: Future[Any],
        is_right: Callable[[Any], bool] | None,
        is_right_error: Callable[[BaseException], bool] | None = None,
        after: Callable[[], None] | None = None,
    ) -> Future[Any]:
        self._books.enter(Call(number, kind, group, future, time.monotonic(), is_right, is_right_error, after))
        return future

    def _after(self, seconds: float, what: Callable[[], None], is_owed: bool = True) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, self._number, what, is_owed))

    def _nothing(self, group: str, number: int) -> Future[Any]:
        future = self._executors[group].submit(calls.same, {}, number)
        return self._enter("nothing", group, number, future, _has(number))

    def _array(self, group: str, number: int) -> Future[Any]:
        n, seed = int(math.exp(self._rng.uniform(0, 12))), self._rng.getrandbits(32)

        def made() -> np.ndarray:
            return np.random.default_rng(seed).random(n)

        def is_right(value: Any) -> bool:
            return value[0] == number and np.array_equal(value[1], 2 * made())

        future = self._executors[group].submit(calls.twice, {}, number, made())
        return self._enter("array", group, number, future, is_right)

    def _raises(self, group: str, number: int) -> Future[Any]:
        def is_right(error: BaseException) -> bool:
            return isinstance(error, calls.Refusal) and error.args == (number,)

        future = self._executors[group].submit(calls.refuse, {}, number)
        return self._enter("raises", group, number, future, None, is_right)

    def _sleeps(self, group: str, number: int) -> Future[Any]:
        future = self._executors[group].submit(calls.nap, {}, number, self._rng.expovariate(1 / 0.15))
        return self._enter("sleeps", group, number, future, _has(number))

    def _prints(self, group: str, number: int) -> Future[Any]:
        future = self._executors[group].submit(calls.speak, {}, number, int(math.exp(self._rng.uniform(4, 12))))
        return self._enter("prints", group, number, future, _has(number))

    def _reads(self, group: str, number: int) -> Future[Any]:
        """Read one of some inputs, each of which is replaced by another now and then, under a new name."""
        if len(self._inputs) < _N_INPUTS or self._rng.random() < 0.1:
            self._new_input(number)
        path, digest = self._rng.choice(self._inputs)
        future = self._executors[group].submit(calls.digest, {}, number, File(path))
        return self._enter("reads an input", group, number, future, _has((number, digest)))

    def _new_input(self, number: int) -> None:
        content = self._rng.randbytes(int(math.exp(self._rng.uniform(0, 11))))
        path = str(self._inputs_dir / f"input-{number}")
        with open(path, "wb") as stream:
            stream.write(content)
        self._inputs.append((path, hashlib.sha256(content).hexdigest()))
        if len(self._inputs) > _N_INPUTS:
            old, _ = self._inputs.pop(0)
            # Calls that were submitted may still read it.
            self._after(_INPUT_S, lambda: os.unlink(old), is_owed=False)

    def _writes(self, group: str, number: int) -> Future[Any]:
        path = str(self._outputs_dir / f"output-{number}")
        nbytes = int(math.exp(self._rng.uniform(0, 12)))

        def is_right(value: Any) -> bool:
            try:
                with open(path, "rb") as stream:
                    return value == number and stream.read() == calls.content_of(number, nbytes)
            except FileNotFoundError:
                return False

        def after() -> None:
            if os.path.exists(path):
                os.unlink(path)

        future = self._executors[group].submit(calls.write, {}, number, nbytes, outputs=[File(path)])
        return self._enter("writes an output", group, number, future, is_right, after=after)

    def _keeps(self, group: str, number: int) -> Future[Any]:
        """Keep a value on a worker, and read it a little later, maybe from another one."""
        n = int(math.exp(self._rng.uniform(0, 11)))
        delay_s = self._rng.expovariate(1 / 3)

        def read(kept: Any) -> None:
            self._number += 1
            reader = self._number
            future = self._executors[group].submit(calls.total, {}, reader, kept)
            self._enter("reads a kept value", group, reader, future, _has((reader, number * n)))

        def is_right(kept: Any) -> bool:
            self._after(delay_s, lambda: read(kept))
            return isinstance(kept, vinefast.Kept)

        future = self._executors[group].submit(_make, {}, number, n)
        return self._enter("keeps a value", group, number, future, is_right)

    def _app(self, group: str, number: int) -> Future[Any]:
        return self._enter("app", group, number, self._apps[group](number), _has(number))

    def _cancelled(self, group: str, number: int) -> Future[Any]:
        executor = self._executors[group]
        endless = self._rng.random() < 0.2
        future = executor.submit(calls.compute, {}, number) if endless else executor.submit(calls.nap, {}, number, 600)
        self._after(self._rng.uniform(0, 1.5), lambda: executor.cancel(future))
        return self._enter("cancelled", group, number, future, None, lambda error: isinstance(error, CancelledError))

    def _dies(self, group: str, number: int) -> Future[Any]:
        status = self._rng.choice([0, 1, 77, None, None])
        if status is None:
            sign = self._rng.choice(calls.SIGNALS)
            future = self._executors[group].submit(calls.fall, {}, int(sign))
        else:
            future = self._executors[group].submit(calls.leave, {}, status)

        def is_right(error: BaseException) -> bool:
            if not isinstance(error, CallDied):
                return False
            return error.exit_code == status if status is not None else error.signal_number == sign

        return self._enter("dies", group, number, future, None, is_right)

    def _over_time(self, group: str, number: int) -> Future[Any]:
        limit_s = round(self._rng.uniform(0.2, 1.0), 2)
        wanted = {"running_time_max": limit_s}
        if self._rng.random() < 0.3:
            future = self._executors[group].submit(calls.compute, wanted, number)
        else:
            future = self._executors[group].submit(calls.nap, wanted, number, 600)

        def is_right(error: BaseException) -> bool:
            return isinstance(error, CallTimedOut) and error.limit_s == limit_s

        return self._enter("over its time", group, number, future, None, is_right)
