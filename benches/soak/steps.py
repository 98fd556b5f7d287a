"""What the steps of a program do that is killed and started anew. A module of its own: workers import it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_NBYTES = 1 << 20
_PIECE_NBYTES = 1 << 17


def value_of(number: int, before: Sequence[int]) -> int:
    """Give what a step makes of the values of earlier ones."""
    return int.from_bytes(hashlib.sha256(f"{number} {list(before)}".encode()).digest()[:6], "big")


def content_of(number: int) -> bytes:
    """Give what the step with that number writes."""
    rng = random.Random(number)
    return rng.randbytes(rng.randrange(1, MAX_NBYTES))


def n_runs(runs: str, number: int) -> int:
    """Count how often a step has run."""
    try:
        return os.stat(os.path.join(runs, str(number))).st_size
    except FileNotFoundError:
        return 0


def _note(runs: str, number: int) -> None:
    with open(os.path.join(runs, str(number)), "ab", buffering=0) as file:
        file.write(b".")


def compute(number: int, runs: str, seconds: float, *before: int) -> int:
    """Take time."""
    _note(runs, number)
    time.sleep(seconds)
    return value_of(number, before)


def write(number: int, runs: str, seconds: float, *before: int, outputs: list[Any] = ()) -> int:  # type: ignore[assignment]
    """Write an output, piece by piece."""
    _note(runs, number)
    content = content_of(number)
    with open(outputs[0].filepath, "wb", buffering=0) as file:
        for at in range(0, len(content), _PIECE_NBYTES):
            file.write(content[at : at + _PIECE_NBYTES])
            time.sleep(seconds / 8)
    return value_of(number, before)


def abandon(number: int, runs: str, seconds: float, *before: int, leaves: bool = True) -> int:
    """Leave a process behind, in a session of its own."""
    _note(runs, number)
    if leaves:
        subprocess.Popen(["sleep", "10000"], start_new_session=True)
    time.sleep(seconds)
    return value_of(number, before)


def record(number: int, outputs: list[Any] = ()) -> None:  # type: ignore[assignment]
    """Make a temporary file."""
    with open(outputs[0].filepath, "wb") as file:
        file.write(content_of(number))


def read_back(number: int, runs: str, *before: int, inputs: list[Any] = ()) -> int:  # type: ignore[assignment]
    """Read a temporary file."""
    _note(runs, number)
    with open(inputs[0].filepath, "rb") as file:
        whole = file.read() == content_of(number)
    return value_of(number, before) if whole else -1


def make(number: int, n: int) -> np.ndarray:
    """Make a value that is to stay on its worker; it is marked for that where it is submitted."""
    return np.full(n, number, dtype=np.int32)


def total(number: int, runs: str, *before: int, kept: np.ndarray | None = None) -> int:
    """Read such a value."""
    _note(runs, number)
    return value_of(number, before) if kept is not None and (kept == number).all() else -1
