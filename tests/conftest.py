"""For all tests."""

import importlib
import os
import signal
import socket
from pathlib import Path

import pytest

from vinefast.workers import by_hand
from vinefast.workers.contact import Contact

INTEGRATION = Path(__file__).parent / "integration"
ROOT = Path(__file__).parent.parent


def pytest_sessionstart(session):
    """Run on the core that `make sanitize` or `make coverage` has built, or not at all.

    The sanitizers' library is left to the processes that run tests: other programs bear it badly.
    """
    directory = os.environ.get("VINEFAST_CORE")
    if directory:
        core = importlib.import_module("vinefast._core").__file__
        if ROOT / directory not in Path(core).parents:
            pytest.exit(f"the core is {core}, and not of {directory}", returncode=2)
    starts_others = getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput")
    if directory and not starts_others:
        os.environ.pop("LD_PRELOAD", None)


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


@pytest.fixture
def server():
    """What listens where a manager would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def listening(server):
    """Give its port."""
    return server.getsockname()[1]


@pytest.fixture
def announce(tmp_path, listening):
    """Do what an executor does whose workers are started by hand; give the executor's directory, in that of a run."""

    def announce(label="vinefast", password="password-x", program="vine_worker", **contact):
        directory = tmp_path / "000" / label
        directory.mkdir(parents=True)
        if password is not None:
            path = directory / password
            path.write_text("secret")
            contact["password_file"] = str(path)
        arguments = ["--cores", "2", "127.0.0.1", str(listening)]
        by_hand.announce(str(directory), program, arguments, Contact("127.0.0.1", listening, **contact))
        return directory

    return announce
