"""Whoever connects to the manager and says nothing, half of it, or nonsense holds up neither calls nor workers."""

import contextlib
import socket
import threading
import time

import psutil
import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.processes import command_by_hand, processes_marked, start_by_hand
from tests.helpers.waiting import wait_until
from vinefast._core import PROTOCOL
from vinefast.errors import EngineStartError

N_STRANGERS = 300
N_DRIPPING = 20
N_CALLS = 200
GREETING = b"taskvine %d host Linux machine 7.14.5\ninfo worker-id stranger\n" % PROTOCOL

# Each alone held up TaskVine for 5 s with a password, or for an hour without one.
WORDS = [
    b"",
    b"auth pass",
    b"auth password sha1\n",
    b"auth password sha1\n0123\n0123\n",
    b"auth password sha1\n0123\n0123\nok\n",
    b"taskvine 12 ho",
    GREETING + b"resou",
    GREETING + b"resources\ncores 4\n",
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 10_000,
    b"no such thing\n",
]


class Strangers:
    """Many connections, some of which say something more now and then."""

    def __init__(self, port):
        self.address = ("127.0.0.1", port)
        self.stack = contextlib.ExitStack()
        self.stop = threading.Event()
        self.dripping = threading.Thread(target=self._drip)

    def __enter__(self):
        self.dripping.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.dripping.join()
        self.stack.close()

    def come(self, n):
        for i in range(n):
            stranger = self.stack.enter_context(socket.create_connection(self.address))
            with contextlib.suppress(ConnectionError):
                stranger.sendall(WORDS[i % len(WORDS)])

    def _drip(self):
        with contextlib.ExitStack() as stack:
            drips = []
            for _ in range(N_DRIPPING):
                stranger = stack.enter_context(socket.create_connection(self.address))
                drips.append((stranger, iter(GREETING * 100)))
            while not self.stop.wait(0.05):
                for stranger, words in drips:
                    with contextlib.suppress(ConnectionError):
                        stranger.send(bytes([next(words)]))


def run_calls(executor):
    for i in range(N_CALLS):
        assert executor.submit(abs, {}, -i).result(60) == i


@pytest.mark.parametrize("has_password", [True, False], ids=["password", "open"])
def test_strangers_hold_up_neither_calls_nor_workers(make_executor, by_hand, tmp_path, has_password):
    password = tmp_path / "password"
    password.write_text("for workers only\n")
    config = TaskVineManagerConfig(port=0, project_password_file=str(password) if has_password else None)
    executor = make_executor(worker_launch_method="manual", manager_config=config, require_password=has_password)
    by_hand(executor, "--cores", "1")
    run_calls(executor)
    this = psutil.Process()
    before = this.num_fds()
    with Strangers(executor._parts.engine.port) as strangers:
        strangers.come(N_STRANGERS)
        start = time.monotonic()
        run_calls(executor)
        by_hand(executor, "--cores", "1")
        assert wait_until(lambda: executor.stats()["slots"] >= 2, 60)
        strangers.come(N_STRANGERS)
        run_calls(executor)
        # Of some hundred connections one after the other would have taken at least 5 s each.
        assert time.monotonic() - start < 100
    # The second worker has one, and what TaskVine holds for a worker it closes soon.
    assert wait_until(lambda: this.num_fds() <= before + 1, 60)
    with Strangers(executor._parts.engine.port) as strangers:
        strangers.come(N_STRANGERS)
        start = time.monotonic()
        executor.shutdown()
        assert time.monotonic() - start < 10


def test_a_worker_that_comes_with_many_strangers_is_not_taken_for_one(make_executor, tmp_path):
    """As many as can be kept aside come before it, again and again."""
    executor = make_executor(worker_launch_method="manual", require_password=False)
    future = executor.submit(abs, {}, -1)
    with Strangers(executor._parts.engine.port) as strangers:
        strangers.come(2 * N_STRANGERS)
        worker = start_by_hand(command_by_hand(executor), tmp_path)
        strangers.come(N_STRANGERS)
        assert future.result(60) == 1
        executor.shutdown()
    worker.terminate()
    worker.wait(30)


def listens_at(executor):
    """Where a manager listens, as the system says."""
    (address,) = [
        connection.laddr.ip
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == executor.port
    ]
    return address


# Executors whose workers are all here, and where these and the manager are to listen.
HERE = {
    "local": ({}, "127.0.0.1"),
    "provider": ({"worker_launch_method": "provider"}, "127.0.0.1"),
    "factory": ({"factory_config": TaskVineFactoryConfig(min_workers=1, max_workers=2, cores=1)}, "127.0.0.1"),
    "number": ({"manager_config": TaskVineManagerConfig(port=0, address="127.0.0.2")}, "127.0.0.2"),
    "any": ({"manager_config": TaskVineManagerConfig(port=0, address="0.0.0.0")}, "0.0.0.0"),
}


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        *HERE.values(),
        ({"worker_launch_method": "manual"}, "0.0.0.0"),
        (
            {"worker_launch_method": "manual", "manager_config": TaskVineManagerConfig(port=0, address="localhost")},
            "127.0.0.1",
        ),
    ],
    ids=[*HERE, "manual", "manual here"],
)
def test_the_manager_listens_where_its_workers_are(make_executor, arguments, address):
    executor = make_executor(**arguments)
    assert listens_at(executor) == address
    if executor.worker_launch_method == "factory":
        assert executor.submit(abs, {}, -1).result(60) == 1


def variable(name):
    import os

    return os.environ.get(name)


@pytest.mark.parametrize(("arguments", "address"), HERE.values(), ids=HERE)
@pytest.mark.parametrize("mode", ["IPV4", "AUTO"])
def test_workers_of_this_machine_listen_where_the_manager_does(
    make_executor, mark, monkeypatch, tmp_path, arguments, address, mode
):
    if mode == "AUTO" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    monkeypatch.setenv("CCTOOLS_IP_MODE", mode)
    monkeypatch.setenv("LD_PRELOAD", "libm.so.6")
    executor = make_executor(**arguments)
    if executor.worker_launch_method == "provider":
        executor.provider.script_dir = str(tmp_path)  # as Parsl sets it
        executor.scale_out_facade(1)
    # What the worker starts has none of it.
    assert executor.submit(variable, {}, "LD_PRELOAD").result(60) == "libm.so.6"
    assert executor.submit(variable, {}, "VINEFAST_LISTEN").result(60) is None
    found = [
        connection.laddr.ip.removeprefix("::ffff:").replace("::", "0.0.0.0")
        for process in processes_marked(mark)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port != executor.port
    ]
    assert set(found) == {address}


def test_the_manager_listens_there_with_ipv6_as_well(make_executor, monkeypatch):
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    monkeypatch.setenv("CCTOOLS_IP_MODE", "AUTO")
    executor = make_executor()
    assert listens_at(executor) == "::ffff:127.0.0.1"
    assert executor.submit(abs, {}, -1).result(60) == 1


def test_a_port_that_is_taken_at_that_address_alone_is_named(make_executor):
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        config = TaskVineManagerConfig(port=port, address="127.0.0.2")
        with pytest.raises(EngineStartError, match=f"port {port}: Address already in use"):
            make_executor(manager_config=config)
        make_executor(manager_config=TaskVineManagerConfig(port=port))
