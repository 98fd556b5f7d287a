"""What the calls of faults.py do. A module of its own: workers import it."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import time
from typing import Any


def beside(index: int) -> tuple[int, str, str | None]:
    """A call that nothing is to happen to; tells where it has run."""
    time.sleep(0.05)
    return index, os.getcwd(), os.environ.get("FAULTS")


def fine() -> str:
    """Return something."""
    return "fine"


class Unbuildable(Exception):
    """Cannot be rebuilt from what pickle keeps of it."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("no arguments")


def raise_unbuildable() -> None:
    """Raise that."""
    raise Unbuildable(1, 2)


def leave() -> None:
    """End the interpreter, as a script would."""
    sys.exit(3)


def crash() -> None:
    """Die of a fault of memory."""
    ctypes.string_at(0)


def vanish() -> None:
    """End the process without a word."""
    os._exit(0)


def close_descriptors() -> str:
    """Close what is not its own."""
    os.closerange(3, 4096)
    return "closed"


def change_surroundings() -> str:
    """Leave another directory, environment and limit behind."""
    os.environ["FAULTS"] = "left behind"
    os.chdir("/")
    return "changed"


def compute_for_ever() -> int:
    """Be in C code that does not return."""
    return sum(itertools.repeat(1, 10**15))


def return_generator() -> Any:
    """Return what cannot be pickled."""
    return (i for i in range(3))


def start_daemon() -> str:
    """Leave a process behind, in a session of its own."""
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    return "started"


def print_much() -> str:
    """Write 200 MB to standard output."""
    line = "x" * 1023 + "\n"
    for _ in range(200 * 1024):
        sys.stdout.write(line)
    return "printed"
