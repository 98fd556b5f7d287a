"""``vinefast worker``: what it finds, refuses, and becomes. Real workers: integration/test_by_hand.py."""

import contextlib
import importlib
import json
import os
import socket
import stat
import threading

import click
import pytest
from click.testing import CliRunner

from vinefast.cli import main
from vinefast.workers import by_hand
from vinefast.workers.programs import START_SCRIPT, find_program

# The command in vinefast.cli has the module's name.
worker = importlib.import_module("vinefast.cli.worker")


@pytest.fixture
def run(monkeypatch):
    """Run the command as far as it becomes a worker; gives the worker's command, or the error."""
    became = []
    monkeypatch.setattr(worker, "_become", became.append)

    def run(*arguments):
        became.clear()
        result = CliRunner().invoke(main, ["worker", *map(str, arguments)])
        assert all(command[:2] == ["/bin/sh", START_SCRIPT] for command in became)
        return became[0][2:] if result.exit_code == 0 and became else result.output

    return run


def test_a_run_directory_says_it_all(announce, run, listening):
    directory = announce()
    password = ["--password", str(directory / "password-x")]
    command = [find_program("vine_worker"), "--parent-death", *password, "--cores", "2", "127.0.0.1", str(listening)]
    for place in (directory, directory.parent, os.path.relpath(directory.parent)):
        assert run(place, "--gpus", "0") == [*command, "--gpus", "0"]


def test_what_it_finds_is_for_the_owner_alone_and_moves_with_the_directory(announce, run, tmp_path):
    directory = announce()
    assert stat.S_IMODE((directory / by_hand.NAME).stat().st_mode) == 0o600
    assert {path.name for path in directory.iterdir()} == {by_hand.NAME, "password-x"}
    (tmp_path / "000").rename(tmp_path / "elsewhere")
    assert str(tmp_path / "elsewhere" / "vinefast" / "password-x") in run(tmp_path / "elsewhere")


def test_a_password_of_the_users_own_stays_where_it_is(announce, run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    assert run(announce(password=None, password_file=str(secret)))[2:4] == ["--password", str(secret)]


def test_a_manager_without_a_password_gets_none(announce, run):
    assert "--password" not in run(announce(password=None))


def test_a_worker_that_goes_by_name_does_not_ask_the_address(announce, run, tmp_path):
    directory = announce(project_name="melting")
    contact = json.loads((directory / by_hand.NAME).read_text())
    contact["port"] = 1
    (directory / by_hand.NAME).write_text(json.dumps(contact))
    assert isinstance(run(directory), list)


def test_help_and_options_of_vine_worker(run, announce):
    assert "RUN_DIR|HOST:PORT" in run("--help")
    assert run(announce(), "--help")[-1] == "--help"


def test_a_run_that_is_over(announce, run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"no {by_hand.NAME}" in run(tmp_path / "empty") and "the run is over" in run(tmp_path / "empty")
    directory = announce()
    (directory / "password-x").unlink()
    assert "password-x" in run(directory) and "is gone: the run is over" in run(directory)


def test_a_program_that_was_killed(announce, run):
    directory = announce()
    contact = json.loads((directory / by_hand.NAME).read_text())
    with socket.create_server(("127.0.0.1", 0)) as server:
        contact["port"] = server.getsockname()[1]
    (directory / by_hand.NAME).write_text(json.dumps(contact))
    assert f"is over: nobody listens at 127.0.0.1, port {contact['port']}" in run(directory)


def test_several_executors(announce, run):
    one, other = announce("one"), announce("other")
    assert f"name one: {one}, {other}" in run(one.parent)
    assert isinstance(run(other), list)


def test_the_directory_of_all_runs(announce, run, tmp_path):
    announce("one"), announce("other")
    (tmp_path / "000").rename(tmp_path / "001")
    announce("one")
    output = run(tmp_path)
    assert f"has the directories of runs; name one: {tmp_path / '000'}, {tmp_path / '001'}\n" in output


def test_no_worker_program(announce, run):
    assert "There is no program '/no/such/worker'" in run(announce(program="/no/such/worker"))


def test_what_others_can_write_is_not_run(announce, run):
    directory = announce()
    contact = directory / by_hand.NAME
    for path, mode in ((contact, 0o620), (contact, 0o602), (directory, 0o777), (directory, 0o1777)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert f"{path} can be written to by others (its mode is {mode:o})" in run(directory)
        path.chmod(before)
    directory.chmod(0o775)
    assert isinstance(run(directory), list)


@pytest.mark.parametrize("which", ["the file", "the directory"])
def test_what_belongs_to_somebody_else_is_not_run(announce, run, which):
    directory = announce()
    path = directory if which == "the directory" else directory / by_hand.NAME
    if os.geteuid():
        pytest.skip("needs root, to give a file away")
    os.chown(path, 54321, -1)
    output = run(directory)
    assert f"{path} belongs to user 54321" in output and "--password FILE" in output
    os.chown(path, 0, -1)
    assert isinstance(run(directory), list)


def test_an_unreadable_contact(announce, run):
    directory = announce()
    (directory / by_hand.NAME).write_text("{")
    assert "is not by this version" in run(directory)


@pytest.fixture
def without_tls(monkeypatch):
    monkeypatch.setattr(worker, "speaks_tls", lambda host, port: False)


@pytest.mark.parametrize("option", ["--password=/secret", "-P/secret"])
def test_an_address_needs_a_password(run, option, without_tls):
    assert run("head:9123", "--cores", "1", option)[2:] == [
        "--connect-timeout=60",
        "head",
        "9123",
        "--cores",
        "1",
        option,
    ]
    assert run("[::1]:9123", option)[3:5] == ["::1", "9123"]
    assert "No password is given for head:9123: --password FILE" in run("head:9123")
    assert run("--no-password", "head:9123")[3:] == ["head", "9123"]
    assert run("head:9123", "--cores", "1", "--no-password")[3:] == ["head", "9123", "--cores", "1"]


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_that_none_can_have(run, port):
    assert f"the port of head:{port} is {port}; accepted: 1 to 65535" in run(f"head:{port}", "--no-password")


@pytest.fixture
def answering():
    """A manager's place, where each one that has spoken hears the same; gives its address."""
    with contextlib.ExitStack() as stack:

        def answer(words):
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve():
                with server.accept()[0] as connection:
                    connection.recv(100)
                    connection.sendall(words)

            thread = threading.Thread(target=serve)
            thread.start()
            stack.callback(thread.join)
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield answer


def test_whether_there_is_tls_is_asked_at_an_address(run, answering):
    """Real managers: integration/test_tls.py."""
    assert run(answering(b"\x15\x03\x01\x00\x02\x02\x0a"), "--no-password")[3] == "--ssl"
    assert run(answering(b""), "--no-password")[3] == "127.0.0.1"
    assert run(answering(b"auth password sha1\n"), "--no-password")[3] == "127.0.0.1"


def test_whether_there_is_tls_is_not_asked_where_that_is_said(run, listening):
    assert run(f"127.0.0.1:{listening}", "--no-password", "--ssl")[3:] == ["127.0.0.1", str(listening), "--ssl"]


def test_a_manager_that_is_not_there_yet_is_taken_for_one_with_tls(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert run(f"127.0.0.1:{port}", "--no-password")[3:5] == ["--ssl", "127.0.0.1"]


@pytest.mark.parametrize("where", ["/no/such/directory", "head", ":9123", "a:b:c", "head:http"])
def test_what_is_neither(run, where):
    assert "accepted: the directory of a run, or HOST:PORT" in run(where, "-P", "/secret")


def test_a_program_that_cannot_be_run(tmp_path):
    with pytest.raises(click.ClickException, match="cannot be run"):
        worker._become([str(tmp_path)])
