"""TLS between the program and its workers: where it is on, what it hides, and that all goes on as without it."""

import contextlib
import errno
import logging
import operator
import os
import select
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import parsl
import pytest
from parsl.data_provider.files import File
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.processes import command_by_hand, is_alive, left_of, start_by_hand
from tests.helpers.waiting import wait_until
from vinefast import EngineStartError, InvalidConfiguration, VineFastExecutor, _core

COMMAND = [sys.executable, "-c", "from vinefast.cli import main; main()", "worker"]
N_CALLS = 200
N_SILENT = 100

# Of a key of nobody's, with the password "secret".
ENCRYPTED = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgmfF2vLnCVoQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEMT5wIG2WJN4XGCSSIoiUBIEgZCi
TZm1XbevdHfB3pCM0DAqeHBQ/juVDa8Pi7an0VPvAqBHX8spt/h19ZDWIrGVlXm1
ozD9gzWfYDCaMH8etQlF5fSFNek8YPu3yPOu/7e8WjDaIPW2sMJwnfEyM/hO/DpP
DFOKVOFNumpE0dgzClBN1muQFQ/Jb35gxMyxZ/IY5f7z+PBqI1oEgL5d4ZKW0r8=
-----END ENCRYPTED PRIVATE KEY-----
"""

# On the curve secp256k1, of nobody's: they can be loaded, and TLS 1.3 has no use for them.
UNUSABLE_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgJUn97KQ3L4f/4I+aAvdf
ebvL/5W2ZhG+C0UE+iXQGYShRANCAAS9jtFFKF25G08uEci6Ddk88qnIH4i9bZ2b
kKIDVrl+2+Ltc9Qu+gWH+IxiLNl4XMLuHaELTMcMEAbcT0/jtlqs
-----END PRIVATE KEY-----
"""
UNUSABLE_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdjCCARygAwIBAgIUeX+gCGJ/omh+rgXKPzBJN6JTO1owCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyOTA5MzEzM1oYDzIxMjYxMTA1MDkz
MTMzWjARMQ8wDQYDVQQDDAZub2JvZHkwVjAQBgcqhkjOPQIBBgUrgQQACgNCAAS9
jtFFKF25G08uEci6Ddk88qnIH4i9bZ2bkKIDVrl+2+Ltc9Qu+gWH+IxiLNl4XMLu
HaELTMcMEAbcT0/jtlqso1MwUTAdBgNVHQ4EFgQUkmPnwSkSeO+1q+ljrKMJ1ATs
0zwwHwYDVR0jBBgwFoAUkmPnwSkSeO+1q+ljrKMJ1ATs0zwwDwYDVR0TAQH/BAUw
AwEB/zAKBggqhkjOPQQDAgNIADBFAiBkKS9Oqha1IxFqHItk3fOgJAmttI7xYGSM
8fNLjdrn0QIhAIQ3uH9ZLmLKun3OUUVtjdUYJ/eCoVKL0V7AtQfrwg8P
-----END CERTIFICATE-----
"""


def client_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def certificate_of(executor):
    """The certificate that a manager shows; None: it speaks no TLS."""
    with socket.create_connection(("127.0.0.1", executor.port), timeout=20) as plain:
        try:
            with client_context().wrap_socket(plain) as encrypted:
                return encrypted.getpeercert(binary_form=True)
        except (ssl.SSLError, ConnectionError):
            return None


def own_files(tmp_path, name="own"):
    paths = [tmp_path / f"{name}-{what}.pem" for what in ("key", "certificate")]
    for path, content in zip(paths, _core.make_certificate(), strict=True):
        path.write_bytes(content)
    return tuple(map(str, paths))


def left_in(executor, tmp_path):
    """The secrets of a run that are on disk."""
    directory = tmp_path / executor.label
    return [path for name in ("key-*", "certificate-*", "password-*") for path in directory.glob(name)]


# ---- where it is on ----


@pytest.mark.parametrize(
    ("arguments", "is_on"),
    [
        ({}, False),
        ({"worker_launch_method": "provider"}, False),
        ({"factory_config": TaskVineFactoryConfig(min_workers=1, max_workers=2, cores=1)}, False),
        ({"worker_launch_method": "manual"}, True),
        (
            {"worker_launch_method": "manual", "manager_config": TaskVineManagerConfig(port=0, address="localhost")},
            False,
        ),
        ({"manager_config": TaskVineManagerConfig(port=0, address="0.0.0.0")}, True),
        ({"worker_launch_method": "manual", "ssl": False}, False),
        ({"ssl": True}, True),
        ({"ssl": True, "require_password": False}, True),
    ],
    ids=["local", "provider", "factory", "manual", "manual here", "anywhere", "off", "on", "open"],
)
def test_where_it_is_on(make_executor, tmp_path, arguments, is_on):
    executor = make_executor(**arguments)
    assert (certificate_of(executor) is not None) == is_on
    assert ("--ssl" in executor.worker_command.split()) == is_on
    made = [path for path in left_in(executor, tmp_path) if not path.name.startswith("password")]
    assert len(made) == (2 if is_on else 0)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in made)
    executor.shutdown()
    assert not left_in(executor, tmp_path)


def test_each_run_has_a_key_of_its_own(make_executor):
    one, other = make_executor(ssl=True), make_executor(ssl=True)
    assert certificate_of(one) and certificate_of(one) != certificate_of(other)
    assert [executor.submit(abs, {}, -1).result(60) for executor in (one, other)] == [1, 1]


def by_provider(executor, tmp_path):
    executor.provider.script_dir = str(tmp_path)  # as Parsl sets it
    executor.scale_out_facade(1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"require_password": False},
        {"worker_launch_method": "provider"},
        {"factory_config": TaskVineFactoryConfig(min_workers=1, max_workers=2, cores=1)},
        {"function_exec_mode": "regular"},
    ],
    ids=["local", "open", "provider", "factory", "regular"],
)
def test_all_workers_that_we_start_speak_it(make_executor, tmp_path, arguments):
    executor = make_executor(ssl=True, **arguments)
    if executor.worker_launch_method == "provider":
        by_provider(executor, tmp_path)
    assert executor.submit(abs, {}, -1).result(60) == 1
    assert certificate_of(executor)


def test_workers_by_hand(make_executor, by_hand, tmp_path):
    executor = make_executor(worker_launch_method="manual")
    by_hand(executor, "--cores", "1")
    (password,) = (tmp_path / executor.label).glob("password-*")
    by_directory = start_by_hand([*COMMAND, str(tmp_path), "--cores", "1"], tmp_path)
    address = [f"localhost:{executor.port}", "--password", str(password), "--cores", "1"]
    by_address = start_by_hand([*COMMAND, *address], tmp_path)
    assert wait_until(lambda: executor.stats()["workers_joined"] == 3, 60)
    assert [executor.submit(abs, {}, -i).result(60) for i in range(N_CALLS)] == list(range(N_CALLS))
    assert not executor.stats()["joins_without_ssl"]
    executor.shutdown()
    for worker in (by_directory, by_address):
        worker.terminate()
        worker.wait(30)


def test_by_address_where_there_is_none(make_executor, tmp_path):
    executor = make_executor(worker_launch_method="manual", ssl=False)
    (password,) = (tmp_path / executor.label).glob("password-*")
    address = [f"localhost:{executor.port}", "--password", str(password), "--cores", "1", "--single-shot"]
    worker = start_by_hand([*COMMAND, *address], tmp_path)
    assert executor.submit(abs, {}, -1).result(60) == 1
    assert not executor.stats()["joins_with_ssl"]
    executor.shutdown()
    assert worker.wait(30) == 0


# ---- what it hides ----


class Relay:
    """Passes on what a worker and its manager say to each other, and keeps it."""

    def __init__(self, port):
        self.port = port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.said = bytearray()
        self.ends = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._accept)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        for end in [*self.ends, self.listening]:
            end.close()

    def _accept(self):
        while not self.stopped.is_set():
            if select.select([self.listening], [], [], 0.05)[0]:
                worker = self.listening.accept()[0]
                manager = socket.create_connection(("127.0.0.1", self.port))
                self.ends += [worker, manager]
                self.threads.append(threading.Thread(target=self._pass_on, args=(worker, manager)))
                self.threads[-1].start()

    def _pass_on(self, worker, manager):
        others = {worker: manager, manager: worker}
        with contextlib.suppress(OSError):
            while not self.stopped.is_set():
                for end in select.select(list(others), [], [], 0.05)[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        manager.shutdown(socket.SHUT_RDWR)
                        worker.shutdown(socket.SHUT_RDWR)
                        return
                    self.said += data
                    others[end].sendall(data)


def whisper(word):
    return word[::-1] + "-answered"


@pytest.mark.parametrize("has_tls", [True, False], ids=["TLS", "plain"])
def test_whoever_reads_along_reads_nothing(make_executor, tmp_path, has_tls):
    config = TaskVineManagerConfig(port=0, address="127.0.0.1")
    executor = make_executor(worker_launch_method="manual", manager_config=config, ssl=has_tls)
    with Relay(executor.port) as relay:
        command = command_by_hand(executor, "--cores", "1")
        command[2] = command[2].replace(str(executor.port), str(relay.listening.getsockname()[1]))
        worker = start_by_hand(command, tmp_path)
        try:
            assert executor.submit(whisper, {}, "argument-of-it").result(60) == "ti-fo-tnemugra-answered"
            seen = {word: word in relay.said for word in (b"whisper", b"argument-of-it", b"ti-fo-tnemugra-answered")}
            assert seen == dict.fromkeys(seen, not has_tls)
            executor.shutdown()
        finally:
            worker.terminate()
            worker.wait(30)


# ---- that all goes on ----


@pytest.fixture
def executor(make_executor, by_hand):
    executor = make_executor(worker_launch_method="manual")
    by_hand(executor, "--cores", "2")
    assert certificate_of(executor)
    return executor


@pytest.mark.parametrize("nbytes", [0, 1000, 1024, 16_383, 16_384, 65_536, 1 << 20, 50_000_001])
def test_arrays_both_ways(executor, nbytes):
    array = np.random.default_rng(1).integers(0, 255, nbytes, dtype=np.uint8)
    futures = [executor.submit(operator.invert, {}, array) for _ in range(3)]
    assert all(np.array_equal(future.result(100), ~array) for future in futures)


def test_many_calls_one_at_a_time_and_at_once(executor):
    start = time.monotonic()
    assert [executor.submit(abs, {}, -i).result(60) for i in range(N_CALLS)] == list(range(N_CALLS))
    futures = [executor.submit(abs, {}, -i) for i in range(20 * N_CALLS)]
    assert [future.result(60) for future in futures] == list(range(20 * N_CALLS))
    # What no poll sees would take a second each time.
    assert time.monotonic() - start < 60


@parsl.python_app
def copy(inputs=(), outputs=()):
    import shutil

    shutil.copy(inputs[0], outputs[0])


def test_files_both_ways(mark, tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir(), elsewhere.mkdir()
    monkeypatch.chdir(here)
    executor = VineFastExecutor(worker_launch_method="manual")
    contents = {nbytes: os.urandom(nbytes) for nbytes in (1, 65_536, 20_000_003)}
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), usage_tracking=0)):
        worker = start_by_hand(command_by_hand(executor, "--cores", "2"), elsewhere)
        assert certificate_of(executor)
        futures = []
        for nbytes, content in contents.items():
            (here / f"in-{nbytes}").write_bytes(content)
            futures.append(copy(inputs=[File(f"in-{nbytes}")], outputs=[File(f"out-{nbytes}")]))
        for future in futures:
            future.result()
    worker.terminate()
    worker.wait()
    parsl.clear()
    assert all((here / f"out-{nbytes}").read_bytes() == content for nbytes, content in contents.items())
    assert not left_of(mark)


def hold_and_return(gate, nbytes):
    import pathlib
    import time

    pathlib.Path(gate + ".begun").touch()
    while not os.path.exists(gate):
        time.sleep(0.01)
    return bytes(nbytes)


def test_a_worker_that_is_killed(make_executor, by_hand, tmp_path):
    executor = make_executor(worker_launch_method="manual")
    gate = str(tmp_path / "gate")
    worker = by_hand(executor, "--cores", "1")
    future = executor.submit(hold_and_return, {}, gate, 10_000_000)
    assert wait_until(lambda: os.path.exists(gate + ".begun"), 60)
    os.killpg(worker.pid, signal.SIGKILL)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 0, 30)
    open(gate, "w").close()
    by_hand(executor, "--cores", "1")
    assert future.result(60) == bytes(10_000_000)


def test_a_suspended_worker_is_waited_for_and_resumed_leaves(make_executor, by_hand, tmp_path):
    executor = make_executor(worker_launch_method="manual")
    gate = str(tmp_path / "gate")
    worker = by_hand(executor, "--cores", "1")
    executor.submit(hold_and_return, {}, gate, 1)
    assert wait_until(lambda: os.path.exists(gate + ".begun"), 60)
    os.kill(worker.pid, signal.SIGSTOP)
    begin = time.monotonic()
    executor._parts.engine.stop()
    # All is over when that returns, and not still about to be.
    assert not executor._parts.engine.demux_thread.is_alive()
    assert 5 <= time.monotonic() - begin < 10
    os.kill(worker.pid, signal.SIGCONT)
    assert worker.wait(30) == 0


def test_workers_that_are_ended_anyway_are_not_waited_for(make_executor, tmp_path):
    executor = make_executor(ssl=True)
    gate = str(tmp_path / "gate")
    executor.submit(hold_and_return, {}, gate, 1)
    assert wait_until(lambda: os.path.exists(gate + ".begun"), 60)
    begin = time.monotonic()
    executor._parts.engine.stop()
    assert time.monotonic() - begin < 1.5


PROGRAM = """
import os, sys
from vinefast import VineFastExecutor

executor = VineFastExecutor(ssl=True)
executor.run_dir = sys.argv[1]
executor.start()
assert executor.submit(abs, {}, -1).result(60) == 1
print(executor._parts.launcher._processes[0].pid, flush=True)
input()
"""


def test_a_program_that_is_killed_takes_its_worker_along(mark, tmp_path):
    """It is not told; that its connection ends without a word has to be enough."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    worker = int(program.stdout.readline())
    program.kill()
    program.wait()
    assert wait_until(lambda: not is_alive(worker), 30)
    program.stdin.close(), program.stdout.close()
    assert not left_of(mark)


# ---- who does not speak as the manager does ----

HALVES = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16\x03\x01\xff\xff" + bytes(1000)]


@pytest.mark.parametrize("has_password", [True, False], ids=["password", "open"])
def test_half_a_handshake_holds_up_nobody(make_executor, by_hand, has_password):
    executor = make_executor(worker_launch_method="manual", ssl=True, require_password=has_password)
    by_hand(executor, "--cores", "1")
    assert executor.submit(abs, {}, -1).result(60) == 1
    with contextlib.ExitStack() as stack:
        strangers = []
        for i in range(N_SILENT):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", executor.port), timeout=30))
            if i % 5 < 4:
                stranger.sendall(HALVES[i % 5])
            else:  # its handshake is over, and it says nothing more
                stranger = stack.enter_context(client_context().wrap_socket(stranger))
            strangers.append(stranger)
        start = time.monotonic()
        assert [executor.submit(abs, {}, -i).result(60) for i in range(N_CALLS)] == list(range(N_CALLS))
        by_hand(executor, "--cores", "1")
        assert time.monotonic() - start < 40
        if has_password:  # else they have a minute
            for stranger in strangers:
                with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                    while stranger.recv(1000):  # an alert, perhaps; a time-out would fail the test
                        pass
        assert executor.submit(abs, {}, -2).result(60) == 2
        start = time.monotonic()
        executor.shutdown()
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("has_tls", [True, False], ids=["TLS", "plain"])
@pytest.mark.parametrize("has_password", [True, False], ids=["password", "open"])
def test_a_worker_of_the_other_kind_is_sent_away_with_one_warning(
    make_executor, by_hand, tmp_path, caplog, has_tls, has_password
):
    executor = make_executor(worker_launch_method="manual", ssl=has_tls, require_password=has_password)
    counted = "joins_without_ssl" if has_tls else "joins_with_ssl"
    command = command_by_hand(executor, "--cores", "1", *([] if has_tls else ["--ssl"]))
    command[2] = command[2].replace(" --ssl ", " ")
    with caplog.at_level(logging.WARNING, "vinefast"):
        worker = start_by_hand(command, tmp_path)
        try:
            # It tries again.
            assert wait_until(lambda: executor.stats()[counted] >= 2, 60)
            assert wait_until(lambda: any("and was sent away" in message for message in caplog.messages), 10)
        finally:
            worker.terminate()
            worker.wait(30)
    words = "without TLS has come" if has_tls else "with TLS has come"
    (warning,) = [message for message in caplog.messages if "and was sent away" in message]
    assert words in warning and f"ssl={not has_tls} turns TLS" in warning
    by_hand(executor, "--cores", "1")
    assert executor.submit(abs, {}, -1).result(60) == 1


# ---- the user's own ----


def test_the_users_own_key(make_executor, tmp_path):
    key, certificate = own_files(tmp_path)
    executor = make_executor(ssl=(key, certificate))
    assert executor.submit(abs, {}, -1).result(60) == 1
    with open(certificate) as file:
        assert certificate_of(executor) == ssl.PEM_cert_to_DER_cert(file.read())
    os.unlink(key)  # it is read once
    assert certificate_of(executor)
    executor.shutdown()
    assert not left_in(executor, tmp_path) and os.path.exists(certificate)


@pytest.mark.parametrize("value", ["yes", 1, ("only",), ("key", None), ["key", "certificate"], ("", "certificate")])
def test_what_it_cannot_be(value):
    with pytest.raises(InvalidConfiguration, match="ssl is .*; accepted: None, True, False, or a pair of paths"):
        VineFastExecutor(ssl=value)


def test_keys_that_cannot_be_used(make_executor, tmp_path):
    key, certificate = own_files(tmp_path)
    other, _ = own_files(tmp_path, "other")
    encrypted, rubbish, broken = (tmp_path / name for name in ("encrypted", "rubbish", "broken"))
    encrypted.write_text(ENCRYPTED)
    rubbish.write_bytes(bytes(range(256)))
    broken.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    missing = os.strerror(errno.ENOENT)
    for pair, why in [
        (("/no/such/key", certificate), f"the key of ssl is '/no/such/key', which cannot be read: {missing}"),
        ((key, "/no/such/one"), f"the certificate of ssl is '/no/such/one', which cannot be read: {missing}"),
        ((str(tmp_path), certificate), os.strerror(errno.EISDIR)),
        ((other, certificate), "the key is not that of the certificate"),
        ((str(encrypted), certificate), "the key is encrypted"),
        ((str(rubbish), certificate), "the key of ssl is .*, which is not PEM"),
        ((key, str(rubbish)), "the certificate of ssl is .*, which is not PEM"),
        ((str(broken), certificate), "OpenSSL cannot use them"),
        ((certificate, key), "the key of ssl is .*, in which there is none; accepted: .*, in this order"),
        ((key, key), "the certificate of ssl is .*, in which there is none"),
    ]:
        with pytest.raises(InvalidConfiguration, match=why):
            make_executor(ssl=pair)


def test_a_key_that_tls_has_no_use_for(make_executor, tmp_path):
    """It can be loaded; no worker would join, and nobody would say why."""
    key, certificate = (str(tmp_path / name) for name in ("key", "certificate"))
    for path, content in ((key, UNUSABLE_KEY), (certificate, UNUSABLE_CERTIFICATE)):
        with open(path, "w") as file:
            file.write(content)
    with pytest.raises(InvalidConfiguration, match="for TLS 1.3; a handshake with them fails"):
        make_executor(ssl=(key, certificate))


def test_tls_that_openssls_configuration_forbids(tmp_path):
    configuration = tmp_path / "openssl.cnf"
    configuration.write_text(
        "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n"
    )
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "OPENSSL_CONF": str(configuration)},
        input="\n",
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert program.returncode and "EngineStartError: TLS 1.3 cannot be spoken" in program.stderr
    assert not list(tmp_path.rglob("key-*"))


def test_a_start_that_fails_leaves_no_key(make_executor, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = TaskVineManagerConfig(port=taken.getsockname()[1], address="127.0.0.1")
        executor = make_executor(start=False, ssl=True, manager_config=config)
        with pytest.raises(EngineStartError, match="Address already in use"):
            executor.start()
    assert not left_in(executor, tmp_path)
