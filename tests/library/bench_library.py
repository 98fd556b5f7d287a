"""What the library costs: ``python -m tests.library.bench_library`` (not a test, nothing is asserted).

Per call: the hot loop and all around it within a child, for a bundle of 2000 calls, the best of many runs.
Per bundle: the round trip between an emulated worker and the library, for bundles of one call.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vinefast.library.frame import Origin
from vinefast.library.functions import FunctionCache
from vinefast.library.memory import SlotMemory
from vinefast.library.run import Runner

from .encode import Call, encode_command, encode_frame
from .worker import Worker

N_CALLS = 2000
HUNDRED_BYTES = b"x" * 100


def noop(*args: Any) -> None:
    return None


def same(value: Any) -> Any:
    return value


def hundred_bytes(value: Any) -> bytes:
    return b"x" * 100


def fails() -> None:
    raise ValueError("no")


CASES: dict[str, tuple[Callable[..., Any], Callable[[int], tuple]]] = {
    "no-op, no arguments": (noop, lambda i: ()),
    "no-op, (i,)": (noop, lambda i: (i,)),
    "(i,) -> i": (same, lambda i: (i,)),
    "(i,) -> 100 bytes": (hundred_bytes, lambda i: (i,)),
    "no arguments -> 100 bytes": (lambda: b"x" * 100, lambda i: ()),
}


def bench_calls(directory: Path) -> None:
    """Print ns per call, everything in the child included."""
    runner = Runner(SlotMemory(), FunctionCache(None), os.fsencode(directory), Origin(0, os.getpid(), 1))
    home = os.getcwd()
    for name, (function, arguments) in CASES.items():
        frame = encode_frame([Call(function, arguments(i)) for i in range(N_CALLS)])
        message = b"%s %s %s" % (encode_command(frame), os.fsencode(directory), os.fsencode(directory / "out"))
        best = float("inf")
        for _ in range(50):
            runner._memory.reset()
            start = time.perf_counter_ns()
            runner.run_bundle(message, time.monotonic_ns())
            best = min(best, time.perf_counter_ns() - start)
        print(f"{name:28} {best / N_CALLS:7.0f} ns/call")
    os.chdir(home)


def bench_bundles(directory: Path) -> None:
    """Print the round trip of bundles of one call."""
    worker = Worker(directory)
    try:
        command = encode_command(encode_frame([Call(noop)]))
        worker.run([Call(noop)])
        trips, runs, waits = [], [], []
        for _ in range(2000):
            start = time.perf_counter_ns()
            worker.send_raw(command, 99)
            result = worker.collect()[1]
            trips.append(time.perf_counter_ns() - start)
            runs.append(result.run_ns)
            waits.append(result.wait_ns)
        for name, times in (("round trip", trips), ("wait", waits), ("run", runs)):
            median_us, max_us = statistics.median(times) / 1000, max(times) / 1000
            print(f"bundle of one no-op, {name:10}: median {median_us:6.0f} us, max {max_us:6.0f} us")
    finally:
        worker.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as path:
        bench_calls(Path(path))
        bench_bundles(Path(path))
