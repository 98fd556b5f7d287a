"""``vinefast status HOST:PORT``: a manager of TaskVine, as that describes itself."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.helpers.waiting import wait_until
from vinefast.cli import main
from vinefast.cli.status_managers import draw_catalog
from vinefast.errors import EngineStartError
from vinefast.workers import managers

STATUS = [sys.executable, "-c", "from vinefast.cli import main; main()", "status"]


def run(*arguments):
    ended = subprocess.run([*STATUS, *arguments], capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("has_tls", [True, False], ids=["TLS", "plain"])
def test_a_manager_without_a_password(make_executor, by_hand, has_tls):
    executor = make_executor(worker_launch_method="manual", require_password=False, ssl=has_tls)
    where = f"127.0.0.1:{executor.port}"
    code, output, errors = run(where, "--json")
    assert (code, errors) == (0, "")
    manager = json.loads(output)
    assert manager["connected"] == [] and manager["workers"] == 0 and manager["ssl"] is has_tls
    assert manager["port"] == executor.port and manager["protocol"] > 0 and manager["version"]
    by_hand(executor, "--cores", "1")
    assert executor.submit(abs, {}, -1).result(60) == 1
    code, output, errors = run(where, "--json")
    (worker,) = json.loads(output)["connected"]
    assert worker["host"] == socket.gethostname() and worker["cores"] == 1 and worker["done"] >= 1
    code, output, errors = run(where)
    assert (code, errors) == (0, "") and f"manager at {where}" in output and socket.gethostname() in output
    assert executor.submit(abs, {}, -2).result(60) == 2
    stats = executor.stats()
    assert stats["joins_with_ssl"] == stats["joins_without_ssl"] == 0


def test_a_manager_with_a_password_says_nothing(make_executor):
    executor = make_executor(worker_launch_method="manual")
    code, output, errors = run(f"127.0.0.1:{executor.port}")
    assert (code, output) == (1, "")
    assert "A manager that has a password answers its workers alone" in errors.replace("\n", " ")


def test_calls_that_run_are_no_hindrance(make_executor):
    """Their bundles are in what a manager says of its workers, in characters that TaskVine's own program refuses."""
    executor = make_executor(require_password=False)
    futures = [executor.submit(time.sleep, {}, 3) for _ in range(6)]
    assert wait_until(futures[0].running, 60)
    code, output, errors = run(f"127.0.0.1:{executor.port}", "--json")
    assert (code, errors) == (0, "")
    (worker,) = json.loads(output)["connected"]
    assert worker["running"] > 1  # the library, too
    assert [future.result(60) for future in futures] == [None] * 6


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"[", b"{}", b"[1, 2]", b"[" * 100_000),
        b'[{"owner": 5, "port": "x", "starttime": Infinity}]',
        b'[{"owner": 5, "port": %s, "workers": NaN, "starttime": -1e300}]' % (b"9" * 4000),
    ],
)
def test_what_is_no_manager(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve():
            for _ in range(3):  # whether it speaks TLS, and two questions
                connection, _ = server.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 200 OK\nContent-type: text/plain\n\n" + answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        code, output, errors = run(f"127.0.0.1:{port}", "--json")
    if b"owner" in answer:
        assert code == 0 and json.loads(output)["owner"] == "5"
    else:
        assert code == 1 and f"the manager at 127.0.0.1:{port} does not say how it is with it" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize("answer", [b"HTTP/1.1 100 Continue\n\n", b"HTTP/1.1 200 OK\n\n ", b"H"], ids=repr)
def test_an_answer_that_goes_on_for_ever(monkeypatch, answer):
    """It is never silent for long."""
    monkeypatch.setattr(managers, "_LOOK_S", 1)
    began_s = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(100)
                while time.monotonic() < began_s + 20:
                    connection.sendall(answer)
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(EngineStartError, match="no whole answer in 1 s"):
            managers.ask("127.0.0.1", server.getsockname()[1], False)
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize("command", ["status", "info"])
@pytest.mark.parametrize("where", ["a" * 70 + ":80", "..:80", "a b:80", "127.0.0.1:99999", "na\udce9:80"])
def test_an_address_that_cannot_be_one(command, where):
    ended = CliRunner().invoke(main, [command, where])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    said = " ".join(ended.output.split())
    assert "does not say how it is with it" in said if command == "status" else "answers no: " in said


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 4711"), OSError("No username set")], ids=repr)
def test_a_user_who_has_a_number_alone(monkeypatch, error):
    """As in some containers; the error is another one from Python 3.13 on."""

    class Listed(managers.Catalog):
        def look(self, wait=False):
            return [managers.ManagerState("melting", "4711", "node7", 9123, "7", 1, True, 0.0, 0, 0, 0, 0)]

    def user():
        raise error

    monkeypatch.setattr("getpass.getuser", user)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(draw_catalog(Listed()))
    assert "melting" in console.export_text()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, _, errors = run(f"127.0.0.1:{port}")
    assert code == 1 and "Connection refused" in errors


def test_nowhere(tmp_path):
    code, _, errors = run(str(tmp_path / "none"))
    assert code == 2 and "accepted: the directory of a run, or HOST:PORT" in errors.replace("\n", " ")
    code, _, errors = run(str(tmp_path), "--all")
    assert code == 2 and "give neither RUN_DIR nor HOST:PORT" in errors.replace("\n", " ")


def test_a_program_that_is_not_there(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("VINEFAST_TASKVINE_PREFIX", raising=False)
    monkeypatch.setattr("vinefast.workers.programs._built_with", lambda: None)
    ended = CliRunner().invoke(main, ["status", "--all", "--json"])
    assert ended.exit_code == 0 and "There is no program 'vine_status'" in json.loads(ended.output)["catalog_error"]


def test_a_user_with_lower_limits(tmp_path):
    """As on the login node of a cluster; the catalog is asked within them."""
    program = tmp_path / "bin" / "vine_status"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nsleep 1\necho "[{\\"project\\": \\"$(ulimit -Hf) $(ulimit -Hv)\\"}]"\n')
    program.chmod(0o755)
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh", *STATUS, "--all", "--json"],
        env={**os.environ, "VINEFAST_TASKVINE_PREFIX": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    (manager,) = json.loads(ended.stdout)["managers"]
    assert manager["project"] == "1000 1048576"
