"""What the calls of the soak do. A module of its own: workers import it."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import sys
import time
from typing import Any

import numpy as np


class Refusal(Exception):
    """What a call raises that is to raise something."""


def same(number: int) -> int:
    """Do nothing."""
    return number


def twice(number: int, array: np.ndarray) -> tuple[int, np.ndarray]:
    """Take an array and give another one."""
    return number, 2 * array


def refuse(number: int) -> None:
    """Raise an exception."""
    raise Refusal(number)


def nap(number: int, seconds: float) -> int:
    """Sleep."""
    time.sleep(seconds)
    return number


def compute(number: int) -> int:
    """Be in C code that does not return."""
    return sum(itertools.repeat(number, 10**15))


def leave(status: int) -> None:
    """End the process with a status."""
    os._exit(status)


def fall(number: int) -> None:
    """End the process by a signal."""
    os.kill(os.getpid(), number)
    time.sleep(60)


def speak(number: int, nbytes: int) -> int:
    """Write to standard output."""
    line = f"{number} ".ljust(99, "x") + "\n"
    for _ in range(nbytes // len(line) + 1):
        sys.stdout.write(line)
    return number


def digest(number: int, file: Any) -> tuple[int, str]:
    """Read an input."""
    with open(file.filepath, "rb") as stream:
        return number, hashlib.sha256(stream.read()).hexdigest()


def content_of(number: int, nbytes: int) -> bytes:
    """Make what a call with that number writes."""
    return f"{number}\n".encode() * (nbytes // (len(str(number)) + 1) + 1)


def write(number: int, nbytes: int, outputs: list[Any] = ()) -> int:  # type: ignore[assignment]
    """Write an output."""
    with open(outputs[0].filepath, "wb") as stream:
        stream.write(content_of(number, nbytes))
    return number


def make(number: int, n: int) -> np.ndarray:
    """Make what is to stay on a worker; it is marked for that where it is submitted."""
    return np.full(n, number, dtype=np.int64)


def total(number: int, kept: np.ndarray) -> tuple[int, int]:
    """Read what stayed on a worker."""
    return number, int(kept.sum())


SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)
