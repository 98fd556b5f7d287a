"""The standard library's own tests of futures, with `CallFuture` in the place of `Future`."""

import importlib.util
import subprocess
import sys

import pytest

# Before the tests are imported, which make futures at once. One that is derived is as good, and its repr is what the
# tests look for. Pools of threads then work with such futures as well.
PROGRAM = """
import concurrent.futures
import sys
import unittest
from vinefast._core import CallFuture

class Future(CallFuture):
    __slots__ = ()

concurrent.futures.Future = concurrent.futures._base.Future = Future
unittest.main(module=None, argv=["unittest", "-k", "FutureTests", "-k", "ThreadPool*Wait", "-k", "ThreadPool*Completed",
    "-k", "ThreadPoolExecutorTest", *sys.argv[1:]])
"""

# One file up to 3.11, then a package.
PARTS = (
    "test.test_concurrent_futures.test_future",
    "test.test_concurrent_futures.test_wait",
    "test.test_concurrent_futures.test_as_completed",
    "test.test_concurrent_futures.test_thread_pool",
)


def test_they_pass():
    try:
        parts = [part for part in PARTS if importlib.util.find_spec(part)]
    except ModuleNotFoundError:  # its parent is a file
        parts = []
    whole = "test.test_concurrent_futures"
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(whole) is None:
        pytest.skip("this Python comes without its tests (the package `test.test_concurrent_futures`)")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(parts or [whole])], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 0 tests" not in done.stderr
