"""``vinefast doctor`` with real workers: what it says of each, and that it leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.helpers.processes import left_of, processes_marked
from tests.helpers.waiting import wait_until
from tests.integration.test_python_versions import other_pythons
from vinefast.workers.environment import PYTHON
from vinefast.workers.programs import find_program

PROGRAM = [sys.executable, "-c", "from vinefast.cli import main; main()", "doctor"]
WORKER = find_program("vine_worker")
# Speaks the protocol of a release to come; the password's procedure and TLS are those of all.
OTHER_PROTOCOL = """
import hashlib, socket, ssl, sys, time
password = open(sys.argv[1], "rb").read()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
link = context.wrap_socket(socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=20))
heard = link.makefile("rb")
link.sendall(b"auth password sha1\\n")
heard.readline()
link.sendall(b"1234\\n")
challenge = heard.readline().rstrip(b"\\n")
link.sendall(hashlib.sha1(password + b" " + challenge).hexdigest().encode() + b"\\n")
link.sendall(b"ok\\n")
heard.readline()
link.sendall(b"taskvine 99 other Linux x86_64 99.0.0\\n")
heard.read()
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files are; nothing is left there in the end."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    assert wait_until(lambda: list(directory.iterdir()) == [])


@pytest.fixture
def examine(mark, scratch, tmp_path):
    """Run the command; give its checks by name, those of this machine left out."""

    def examine(*arguments, **variables):
        answer = subprocess.run(
            [*PROGRAM, "--json", "--timeout", "60", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=110,
        )
        found = json.loads(answer.stdout)
        assert found["ok"] == (answer.returncode == 0), answer.stderr
        assert not left_of(mark)
        assert not (tmp_path / "runinfo").exists()
        return {check["name"]: check for check in found["checks"]}

    return examine


def test_this_machine(examine):
    found = examine()
    for name in ("engine", "engine with TLS"):
        assert found[name]["level"] == "ok" and "has joined" in found[name]["seen"]
    assert found["vine_worker"]["level"] == found["/proc"]["level"] == "ok"


def test_a_configuration_of_openssl_that_keeps_workers_out_is_found_by_the_file_and_by_the_worker(examine, tmp_path):
    path = tmp_path / "openssl.cnf"
    path.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nVerifyMode = Require\n")
    found = examine(OPENSSL_CONF=str(path))
    assert found["engine"]["level"] == "ok"
    assert found["OpenSSL"]["level"] == found["engine with TLS"]["level"] == "error"
    assert "VerifyMode" in found["OpenSSL"]["seen"] and "VerifyMode" in found["engine with TLS"]["advice"]


def test_tls_that_is_forbidden(examine, tmp_path):
    path = tmp_path / "openssl.cnf"
    path.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n")
    found = examine(OPENSSL_CONF=str(path))
    assert (
        "TLS 1.3 cannot be spoken" in found["engine with TLS"]["seen"]
        and "ssl=False" in found["engine with TLS"]["advice"]
    )


def test_a_machine_without_an_engine(examine, tmp_path):
    found = examine(VINEFAST_TASKVINE_PREFIX=str(tmp_path / "absent"))
    for name in ("vine_worker", "engine", "engine with TLS"):
        assert found[name]["level"] == "error" and "VINEFAST_TASKVINE_PREFIX" in found[name]["seen"]


def test_workers_that_join(examine):
    by_options = examine("--worker-command", f"{WORKER} --cores 1")
    by_directory = examine(
        "--worker-command", f"{sys.executable} -c 'from vinefast.cli import main; main()' worker {{run_dir}}"
    )
    for found in (by_options, by_directory):
        assert "joined by TLS" in found["worker"]["seen"] and found["worker: Python"]["seen"].startswith(f"{PYTHON}.")
        assert found["worker: parsl"]["level"] == "ok"


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        (f"{WORKER} {{host}} {{port}}", "TLS: A worker without TLS has come"),
        (f"{WORKER} --ssl {{host}} {{port}}", "password: the worker has none"),
        (f"{WORKER} --ssl --password /dev/null {{host}} {{port}}", "password: that of the worker is not the manager's"),
        (f"{WORKER} --ssl --password /no/such/file {{host}} {{port}}", "password: the worker cannot read its file"),
        (f"{WORKER} --no-such-option", "options: vine_worker does not know one"),
        (f"{WORKER} --connect-timeout=5 localhost 1 # {{host}}", "address: the worker cannot reach the manager"),
        ("no_such_worker", "the command is not there"),
        ("echo it is late; exit 3;", "ended with status 3. Its last words: it is late"),
    ],
)
def test_workers_that_do_not_join(examine, command, seen):
    found = examine("--worker-command", command)["worker"]
    assert found["level"] == "error" and seen in found["seen"] and found["advice"]


def test_a_worker_of_another_protocol(examine, tmp_path):
    (tmp_path / "other.py").write_text(OTHER_PROTOCOL)
    found = examine("--worker-command", f"{sys.executable} {tmp_path}/other.py {{password_file}} {{host}} {{port}}")
    assert "speaks version 99 of TaskVine's" in found["worker"]["seen"], found


def test_a_worker_that_does_not_come_is_not_waited_for_for_long_and_ended(examine):
    began_s = time.monotonic()
    found = examine("--timeout", "1", "--worker-command", "trap '' TERM; (trap '' TERM; sleep 1000) & sleep 1000; :")
    assert "no worker has come" in found["worker"]["seen"] and time.monotonic() - began_s < 90


def config(tmp_path, manager):
    (tmp_path / "program.py").write_text(
        textwrap.dedent(f"""
            from parsl.executors.taskvine import TaskVineManagerConfig
            from vinefast import VineFastExecutor
            executor = VineFastExecutor("mine", manager_config=TaskVineManagerConfig(port=0, {manager}))
        """)
    )
    return "--config", tmp_path / "program.py"


def test_a_configuration_is_tried(examine, tmp_path):
    found = examine(*config(tmp_path, ""))
    assert {check["level"] for name, check in found.items() if name.startswith(("mine", "worker"))} == {"ok"}
    assert "has joined without TLS" in found["mine: a worker"]["seen"]
    assert found["mine: a worker: Python"]["seen"].startswith(f"{PYTHON}.")


def test_workers_with_another_python(examine, tmp_path):
    pythons = other_pythons()
    if not pythons:
        pytest.skip("there is only one version of Python here")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(pythons[-1])
    init = f"init_command='PATH=\"{tmp_path}/bin:$PATH\"'"
    found = examine(*config(tmp_path, init))["mine: a worker"]
    assert found["level"] == "error" and f"what Python {PYTHON} on the submit side" in found["seen"]
    assert "env_pack" in found["advice"]


def test_workers_without_parsl(examine, tmp_path):
    (tmp_path / "bin").mkdir()
    bare = Path(sys.executable).resolve()  # beside the environment, with what is installed for all
    (tmp_path / "bin" / "python3").write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {bare} -s "$@"\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    if not subprocess.run([tmp_path / "bin" / "python3", "-c", "import parsl"], capture_output=True).returncode:
        pytest.skip("the Python below the environment has Parsl, too")
    found = examine(*config(tmp_path, f"init_command='PATH=\"{tmp_path}/bin:$PATH\"'"))["mine: a worker"]
    assert found["level"] == "error" and "cannot import parsl" in found["seen"] and "Install" in found["advice"]


def test_an_init_command_that_fails(examine, tmp_path):
    found = examine(*config(tmp_path, "init_command='exit 5'"))["mine: a worker"]
    assert "exit status 5: exit 5" in found["seen"] and found["advice"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_the_middle(mark, scratch, tmp_path, end):
    command = f"{shutil.which('sh')} -c 'touch {tmp_path}/came; sleep 1000' #"
    program = subprocess.Popen(
        [*PROGRAM, "--worker-command", command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert wait_until((tmp_path / "came").exists, 60) and len(processes_marked(mark)) > 2
    program.send_signal(end)
    program.communicate(timeout=60)
    assert program.returncode == {signal.SIGINT: 1, signal.SIGTERM: 143, signal.SIGKILL: -9}[end]
    assert not left_of(mark, 30)


def test_a_program_that_hangs_is_ended(mark, scratch, tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text("import os, time\nos.fork() or time.sleep(1000)\ntime.sleep(1000)\n")
    code = "import vinefast.doctor.examination as e; e._OVERHEAD_S = 5; from vinefast.cli import main; main()"
    arguments = ["doctor", "--timeout", "1", "--json", "--config", "program.py"]
    answer = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    found = json.loads(answer.stdout)["checks"][-1]
    assert answer.returncode == 1 and "no answer in 6 s" in found["seen"] and found["name"] == "configuration"
    assert not left_of(mark)
