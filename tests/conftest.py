"""For all tests."""

import signal
from pathlib import Path

import pytest

INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items):
    """Mark what starts workers or libraries; others that are not for ``make unit`` are marked where they are."""
    for item in items:
        if INTEGRATION in item.path.parents or "start_worker" in item.fixturenames:
            item.add_marker(pytest.mark.processes)


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """A shell that starts tests in the background has them ignore SIGINT, which programs under test would inherit."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
