"""For all tests."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """A shell that starts tests in the background has them ignore SIGINT, which programs under test would inherit."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
