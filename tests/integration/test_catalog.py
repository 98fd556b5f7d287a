"""The manager in TaskVine's catalog, with a catalog server on this machine."""

import getpass
import json
import random
import re
import socket
import subprocess
import sys
import time

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.waiting import wait_until
from vinefast.workers.programs import find_program


def two_free_ports():
    """It takes the next one, too."""
    while True:
        port = random.randrange(20000, 30000)
        try:
            with socket.create_server(("", port)), socket.create_server(("", port + 1)):
                return port
        except OSError:
            pass


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """A catalog that tells nobody else."""
    port = two_free_ports()
    history = tmp_path / "history"
    history.mkdir()
    server = subprocess.Popen(
        [
            find_program("catalog_server"),
            *("--port", str(port), "--interface", "127.0.0.1", "--name", "localhost"),
            *("--history", str(history), "--update-host", "127.0.0.1:1", "--single"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert wait_until(lambda: accepts(port))
    host = f"127.0.0.1:{port}"
    monkeypatch.setenv("CATALOG_HOST", host)
    yield host
    server.terminate()
    server.wait(10)


def test_a_worker_finds_the_manager_by_name(make_executor, by_hand, catalog):
    def listed():
        command = [find_program("vine_status"), "--catalog", catalog, "--project-name", "melting"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout

    assert "melting" not in listed()
    executor = make_executor(
        worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, project_name="melting")
    )
    assert executor.worker_command.endswith(f" --catalog {catalog} -M melting")
    assert wait_until(lambda: "melting" in listed())
    assert str(executor.port) in listed()
    by_hand(executor)
    assert executor.submit(abs, {}, -1).result(90) == 1


def test_status_shows_what_the_catalog_lists(make_executor, catalog):
    """A manager that no program of vinefast on this machine knows could be any other one's."""

    def look(*arguments):
        command = [sys.executable, "-c", "from vinefast.cli import main; main()", "status", "--all", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "lists no manager" in look("--once")
    executor = make_executor(
        worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, project_name="melting")
    )
    assert wait_until(lambda: json.loads(look("--json"))["managers"])
    listed = json.loads(look("--json"))
    (manager,) = listed["managers"]
    assert manager["project"] == "melting" and manager["port"] == executor.port
    assert manager["owner"] == getpass.getuser() and manager["ssl"] is True
    assert any(each["label"] == executor.label for each in listed["executors"]) and not listed["catalog_error"]
    assert "melting" in look("--once")


def test_status_says_that_the_catalog_is_not_there():
    command = [sys.executable, "-c", "from vinefast.cli import main; main()", "status", "--catalog", "127.0.0.1:1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0 and "TaskVine's catalog cannot be asked: " in ended.stdout


def test_workers_of_a_batch_system_find_the_manager_by_name(make_executor, catalog, slurm):
    executor = make_executor(
        manager_config=TaskVineManagerConfig(port=0, project_name="melting", shared_fs=True),
        factory_config=TaskVineFactoryConfig(batch_type="slurm", cores=1, memory=300, disk=300),
    )
    assert executor.submit(abs, {}, -1).result(90) == 1
    submitted, _ = slurm
    assert re.search(r"-M (melting|\"melting\")", submitted.read_text())


def test_without_a_catalog_workers_are_given_the_address(make_executor, by_hand, monkeypatch, caplog):
    monkeypatch.setenv("CATALOG_HOST", "127.0.0.1:1")
    began = time.monotonic()
    executor = make_executor(
        worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, project_name="melting")
    )
    assert time.monotonic() - began < 10
    assert "the catalog cannot be reached (127.0.0.1:1: " in caplog.text
    by_hand(executor)
    assert executor.submit(abs, {}, -1).result(90) == 1
