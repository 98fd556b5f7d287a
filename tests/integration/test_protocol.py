"""Workers of another release of TaskVine, which speak another protocol than the manager."""

import os
import socket

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.processes import command_by_hand, end_by_hand, start_by_hand
from tests.helpers.waiting import wait_until
from vinefast._build_info import TASKVINE_VERSION
from vinefast._core import PROTOCOL
from vinefast.errors import EngineStartError
from vinefast.workers.programs import find_program, program_version, protocol_of

OTHER = os.environ.get("VINEFAST_OTHER_TASKVINE")
OTHER_WORKER = os.path.join(OTHER or "", "bin", "vine_worker")
needs_other = pytest.mark.skipif(
    not OTHER, reason="VINEFAST_OTHER_TASKVINE names no prefix with a TaskVine of another protocol"
)


def greeting(protocol, host):
    return (
        f"taskvine {protocol} {host} Linux x86_64 9.9.9\ninfo worker-id {host}\ninfo worker-end-time 0\n"
        "resources\ncores 1\nmemory 1000\ndisk 1000\ngpus 0\nworkers 1\ntag 0\nend\n"
    ).encode()


def is_refused(port, protocol, host):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as worker:
        worker.sendall(greeting(protocol, host))
        try:
            return worker.recv(1 << 16) == b""
        except ConnectionError:
            return True


@pytest.fixture
def executor(make_executor):
    return make_executor(
        worker_launch_method="manual",
        require_password=False,
        ssl=False,
        manager_config=TaskVineManagerConfig(port=0),
        factory_config=TaskVineFactoryConfig(cores=1),
    )


def told(caplog):
    return [text for text in caplog.messages if "of another release of TaskVine" in text]


def test_the_protocol_of_the_build_is_that_of_its_release():
    assert protocol_of(TASKVINE_VERSION) == PROTOCOL


@pytest.mark.parametrize("protocol", [PROTOCOL - 1, PROTOCOL + 1])
def test_whoever_speaks_another_is_told_of_at_once_and_leaves_its_host_to_others(executor, by_hand, caplog, protocol):
    for host in ("node1", "node1", "node2"):
        assert is_refused(executor.port, protocol, host)
    assert wait_until(lambda: len(told(caplog)) == 2)
    first, second = told(caplog)
    assert f"vine_worker 9.9.9 on node1 speaks version {protocol} of TaskVine's protocol" in first
    assert f"TaskVine {TASKVINE_VERSION}, version {PROTOCOL}" in first and "build vinefast with" in first
    assert "on node2 speaks" in second
    assert executor.stats()["joins_other_protocol"] == 3 and executor.stats()["workers_connected"] == 0
    by_hand(executor)
    assert executor.submit(abs, {}, -7).result(60) == 7


@needs_other
def test_a_real_one_is_told_of_with_its_release(executor, by_hand, caplog, tmp_path):
    release = program_version(OTHER_WORKER)
    assert protocol_of(release) not in (None, PROTOCOL)
    call = executor.submit(abs, {}, -7)
    shell, option, command = command_by_hand(executor)[:3]
    assert find_program("vine_worker") in command
    other = start_by_hand([shell, option, command.replace(find_program("vine_worker"), OTHER_WORKER)], tmp_path)
    try:
        assert wait_until(lambda: told(caplog), 30)
    finally:
        end_by_hand(other)
    (text,) = told(caplog)
    assert f"vine_worker {release} on " in text and f"version {protocol_of(release)} of TaskVine's protocol" in text
    by_hand(executor)
    assert call.result(60) == 7


@needs_other
def test_one_of_this_machine_is_not_even_started(make_executor):
    executor = make_executor(start=False, factory_config=TaskVineFactoryConfig(worker_executable=OTHER_WORKER))
    with pytest.raises(EngineStartError, match=f"vinefast is built with TaskVine {TASKVINE_VERSION}, which speaks"):
        executor.start()
