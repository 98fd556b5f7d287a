"""Who does not know the password is no worker, whatever he says, and who does ends nothing; another user reads nothing.

Strangers who only hold things up are those of test_strangers.py.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.processes import WORKER_COMMAND, command_by_hand, start_by_hand
from tests.helpers.waiting import wait_until
from vinefast._core import PROTOCOL

IDENTITY = b"auth password sha1\n"
GREETING = b"taskvine %d attacker Linux x86_64 7.14.5\ninfo worker-id attacker\n" % PROTOCOL
NOBODY = 65534
ENDED = (ConnectionError, ssl.SSLError)


class Attacker:
    """A connection to the manager, as a client of the password's procedure that may do it wrong."""

    has_tls = False

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        if self.has_tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.heard = self.socket.makefile("rb")

    def say(self, words):
        with contextlib.suppress(*ENDED):
            self.socket.sendall(words)

    def line(self):
        try:
            return self.heard.readline()
        except ENDED:
            return b""

    def is_refused(self):
        """Whether the manager hangs up; whatever it still says is read, and returned with that."""
        try:
            return self.heard.read()
        except ENDED:
            return b""
        finally:
            self.socket.close()


def answer(password, challenge):
    return hashlib.sha1(password + b" " + challenge.rstrip(b"\n")).hexdigest().encode() + b"\n"


@pytest.fixture(params=[True, False], ids=["TLS", "plain"])
def attacked(make_executor, by_hand, tmp_path, monkeypatch, request):
    """An executor with a worker, its port and its password; in the end the worker is the only one that was taken."""
    monkeypatch.setattr(Attacker, "has_tls", request.param)
    executor = make_executor(worker_launch_method="manual", ssl=request.param)
    by_hand(executor, "--cores", "1")
    assert executor.submit(abs, {}, -1).result(60) == 1
    (password,) = (tmp_path / executor.label).glob("password-*")
    yield executor, executor.port, password.read_bytes()
    assert executor.stats()["workers_joined"] == 1
    assert executor.submit(abs, {}, -2).result(60) == 2


def proven(port, password):
    """Give one that has shown that it knows the password, and has been shown the same."""
    one = Attacker(port)
    one.say(IDENTITY + b"0123\n")
    assert one.line() == IDENTITY
    one.say(answer(password, one.line()))
    assert one.line() == answer(password, b"0123") and one.line() == b"ok\n"
    return one


def test_the_procedure_as_a_worker_goes_through_it(attacked):
    """What the attackers below do, with the right password: else they would prove nothing."""
    executor, port, password = attacked
    one = proven(port, password)
    one.socket.close()


@pytest.mark.parametrize("wrong", [b"", b"wrong", None], ids=["empty", "another", "nearly"])
def test_a_wrong_password(attacked, wrong):
    executor, port, password = attacked
    one = Attacker(port)
    one.say(IDENTITY + b"0123\n")
    assert one.line() == IDENTITY
    one.say(answer(password[:-1] if wrong is None else wrong, one.line()) + b"ok\n" + GREETING)
    # The manager's own answer is for those alone that have given theirs.
    assert one.is_refused() in (b"\nfailure\n", b"\n", b"")
    assert wait_until(lambda: executor.stats()["joins_wrong_password"] == 1)


@pytest.mark.parametrize("words", [GREETING, IDENTITY + GREETING, IDENTITY + b"0123\nok\nok\n" + GREETING])
def test_no_password(attacked, words):
    executor, port, password = attacked
    one = Attacker(port)
    one.say(words)
    said = one.is_refused()
    assert answer(password, b"0123") not in said and b"ok\n" not in said


def test_a_worker_of_another_protocol_is_counted(attacked):
    executor, port, password = attacked
    one = proven(port, password)
    one.say(b"ok\n" + GREETING.replace(b"taskvine %d" % PROTOCOL, b"taskvine 99"))
    one.is_refused()
    assert wait_until(lambda: executor.stats()["joins_other_protocol"] == 1)
    assert executor.submit(abs, {}, -1).result(30) == 1


def test_a_recorded_exchange(attacked, make_executor, tmp_path):
    executor, port, password = attacked
    said = []
    with socket.create_server(("127.0.0.1", 0)) as relay:
        relay.settimeout(30)

        def pass_on(source, target, record):
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    record.append(data)
                    target.sendall(data)

        # Of another manager, which has the same password: it takes the worker.
        copy = tmp_path / "copied-password"
        copy.write_bytes(password)
        config = TaskVineManagerConfig(port=0, address="127.0.0.1", project_password_file=str(copy))
        other = make_executor(worker_launch_method="manual", manager_config=config)
        command = command_by_hand(other, "--cores", "1")
        command[2] = command[2].replace(str(other.port), str(relay.getsockname()[1]))
        worker = start_by_hand(command, tmp_path)
        try:
            from_worker, _ = relay.accept()
            to_manager = socket.create_connection(("127.0.0.1", other.port))
            for ends in ((from_worker, to_manager, said), (to_manager, from_worker, [])):
                threading.Thread(target=pass_on, args=ends, daemon=True).start()
            assert other.submit(abs, {}, -1).result(60) == 1
            other.shutdown()
            for end in (from_worker, to_manager):
                end.close()
        finally:
            worker.kill()
            worker.wait()
    recorded = b"".join(said)
    assert recorded.startswith(IDENTITY) and b"\nok\n" in recorded and b"taskvine" in recorded
    one = Attacker(port)
    one.say(IDENTITY)
    assert one.line() == IDENTITY
    one.say(recorded.removeprefix(IDENTITY))
    assert b"ok\n" not in one.is_refused()


@pytest.mark.parametrize(
    "lie",
    [
        b"cache-invalid x -1\n" + bytes(3000),
        b"transfer-hostport " + b"x" * 3000 + b" 9\n",
        b"cache-update x 1 1 -1 0 0 0 X\n",
        b"resources\ncores 9223372036854775807\nend\n",
        b"complete 0 0 9999999999 9999999999 1 2 3 3\n",
        b"worker_status\ntask_status\nalive\n",
        b"available_results\n",
        b"taskvine 99 host Linux x86_64 7.14.5\n",
    ],
    ids=lambda lie: lie[:13].decode(),
)
def test_whoever_knows_the_password_and_lies(attacked, lie):
    """TaskVine would write beside its memory, or read what it has freed; such a worker may just be a broken one."""
    executor, port, password = attacked
    for _ in range(3):
        one = Attacker(port)
        one.say(IDENTITY + b"0123\n")
        assert one.line() == IDENTITY
        one.say(answer(password, one.line()) + b"ok\n" + lie)
        assert one.line() == answer(password, b"0123") and one.line() == b"ok\n"
        one.is_refused()
        assert executor.submit(abs, {}, -3).result(60) == 3


def test_whoever_sends_back_what_he_hears(attacked):
    executor, port, _ = attacked
    one = Attacker(port)
    one.say(IDENTITY)
    heard = [one.line()]
    while heard[-1]:
        one.say(heard[-1])
        heard.append(one.line())
        assert len(heard) < 10
    assert b"ok\n" not in heard
    one.socket.close()


def test_whoever_asks_two_connections_to_answer_each_other(attacked):
    """The challenge of one is put to the other, which would have to answer before it was answered."""
    executor, port, _ = attacked
    one, other = Attacker(port), Attacker(port)
    for each in (one, other):
        each.say(IDENTITY)
        assert each.line() == IDENTITY
    challenges = one.line(), other.line()
    assert challenges[0] != challenges[1]
    one.say(challenges[1])
    other.say(challenges[0])
    for each in (one, other):
        assert each.is_refused() == b""


def test_garbage(attacked):
    executor, port, _ = attacked
    for length in (1, 100, 2000, 100_000):
        one = Attacker(port)
        one.say(secrets.token_bytes(length))
        assert b"ok\n" not in one.is_refused()


def test_half_a_line_now_and_then(attacked):
    """For as long as the password may take, and no longer."""
    executor, port, _ = attacked
    one = Attacker(port)
    began = time.monotonic()
    for byte in IDENTITY[:-1] * 20:
        one.say(bytes([byte]))
        time.sleep(0.05)
        if time.monotonic() - began > 12:
            break
    assert one.is_refused() in (b"", IDENTITY)


# ---- another user of the machine ----


@pytest.fixture
def open_place(monkeypatch):
    """A directory that everybody may enter, for runs and for temporary files: unlike those of pytest."""
    if os.geteuid() != 0:
        pytest.skip("another user needs root, to become one")
    # Not where TMPDIR says: that may lie in a closed directory.
    place = Path(tempfile.mkdtemp(prefix="vinefast-test-", dir="/tmp"))
    place.chmod(0o755)
    temporary = place / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = os.umask(0o022)
    yield place
    os.umask(before)
    shutil.rmtree(place)


def seen_by_another_user(place, test):
    done = subprocess.run(
        ["find", str(place), test], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, text=True
    )
    return {Path(line) for line in done.stdout.splitlines()}


def hold(gate):
    Path(gate).touch()
    time.sleep(60)


@pytest.mark.parametrize("method", ["factory", "scaled", "manual", "command"])
def test_another_user_reads_nothing_of_a_run(make_executor, by_hand, open_place, method):
    arguments = {"worker_launch_method": "manual" if method in ("manual", "command") else "factory"}
    if method == "scaled":
        arguments["factory_config"] = TaskVineFactoryConfig(min_workers=1, max_workers=2, cores=1)
    executor = make_executor(start=False, context=dict, context_scope="worker", **arguments)
    executor.run_dir = str(open_place / "run")
    executor.start()
    if method == "manual":
        by_hand(executor, "--cores", "1", directory=os.environ["TMPDIR"])
    if method == "command":
        worker = start_by_hand([*WORKER_COMMAND, executor.run_dir, "--cores", "1"], os.environ["TMPDIR"])
    gate = open_place / "gate"
    executor.submit(hold, {}, str(gate))
    assert wait_until(gate.exists, 100)
    directory = open_place / "run" / executor.label
    names = ("password-*", "key-*", "certificate-*", "contact.json", "context")
    secrets_of_it = {path for name in names for path in directory.glob(name)}
    assert {path.name[:8] for path in secrets_of_it} >= {"password", "context"}
    assert any(path.name.startswith("key-") for path in secrets_of_it) == (method in ("manual", "command"))
    files = {Path(path) for path, _, _ in os.walk(open_place / "tmp")} - {open_place / "tmp"}
    tops = {path for path in files if path.parent == open_place / "tmp"}
    assert any("worker-" in str(path) for path in files)
    for path in secrets_of_it:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in tops:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    readable = seen_by_another_user(open_place, "-readable")
    assert gate in readable and directory in readable  # he can look about
    assert not readable & secrets_of_it
    assert not {path for path in readable if any(top in (path, *path.parents) for top in tops)}
    assert seen_by_another_user(open_place, "-writable") == {open_place / "tmp"}
    executor.shutdown()
    if method == "command":
        assert worker.wait(30) == 0
    # What an executor leaves for the next one is as closed.
    assert wait_until(lambda: not list((open_place / "tmp").glob("*worker-*")), 30)


def test_another_user_reads_nothing_in_memory(make_executor, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("another user needs root, to become one")
    monkeypatch.delenv("TMPDIR", raising=False)
    executor = make_executor()
    assert executor.submit(bytes, {}, 1 << 20).result(60) == bytes(1 << 20)
    place = Path(executor._parts.launcher._scratch.path)
    assert [path for path in place.rglob("*") if path.is_file()]
    assert not seen_by_another_user(place, "-readable")
    assert not seen_by_another_user(place, "-writable")
