"""Executors to measure, one at a time; with --benchmark-disable few and tiny, to see that every benchmark works."""

import os

import pytest

from vinefast.bench.effort import QUICK, TINY
from vinefast.bench.measures import warm_up
from vinefast.bench.peers import PEERS

CHEAP = ("vinefast", "floor", "threads", "processpool")


def is_check(config):
    return config.getoption("benchmark_disable")


def pytest_generate_tests(metafunc):
    if "peer" in metafunc.fixturenames:
        names = CHEAP if is_check(metafunc.config) else [name for name in PEERS if not PEERS[name].why_missing()]
        metafunc.parametrize("peer", names, indirect=True, scope="module")


@pytest.fixture(scope="session")
def effort(request):
    """Give the sizes of measures."""
    return TINY if is_check(request.config) else QUICK


@pytest.fixture(scope="module")
def peer(request, effort, tmp_path_factory):
    """Give one executor that runs, its slots warm; as many as the machine has cores."""
    peer = PEERS[request.param](os.cpu_count(), str(tmp_path_factory.mktemp(request.param)))
    peer.start()
    try:
        warm_up(peer, effort)
        yield peer
    finally:
        peer.stop()
