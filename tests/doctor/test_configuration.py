"""Configurations, loaded and looked at without anything being started."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap

import pytest

from vinefast import VineFastExecutor
from vinefast.doctor.file_systems import file_system_of
from vinefast.doctor.loading import load
from vinefast.errors import InvalidConfiguration

pytestmark = pytest.mark.processes

BEGINNING = """
import os, parsl
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from vinefast import VineFastExecutor
"""
# A program of its own, since the file under test may change anything in its process.
PROGRAM = """
import json, sys, dataclasses
from vinefast.doctor.configuration import check_executors
from vinefast.doctor.loading import load
from vinefast.errors import InvalidConfiguration
where, directory = sys.argv[1:]
loaded = load(where)
checks = loaded.problems or list(check_executors(loaded, directory))
print(json.dumps([dataclasses.asdict(check) for check in checks]))
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "program.py"
        path.write_text(BEGINNING + textwrap.dedent(text))
        return str(path)

    return write


@pytest.fixture
def checks(write, tmp_path):
    def checks(text, name=""):
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM, write(text) + name, str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            timeout=100,
        )
        assert answer.returncode == 0, answer.stderr
        return {check["name"]: check for check in json.loads(answer.stdout.splitlines()[-1])}

    return checks


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("config = parsl.Config(executors=[VineFastExecutor('mine')])", ""),
        ("def fresh_config():\n    return parsl.Config(executors=[VineFastExecutor('mine')])", ""),
        ("other = parsl.Config(executors=[VineFastExecutor('mine')])", ""),
        ("other = VineFastExecutor('mine')", ""),
        ("config = 3\nother = VineFastExecutor('mine')", ":other"),
        ("def main():\n    return VineFastExecutor('mine')", ":main"),
        ("parsl.load(parsl.Config(executors=[VineFastExecutor('mine')]))\nos._exit(7)", ""),
        ("with parsl.load(parsl.Config(executors=[VineFastExecutor('mine')])):\n    os._exit(7)", ""),
        ("with VineFastExecutor('mine') as executor:\n    os._exit(7)", ""),
        ("try:\n    VineFastExecutor('mine').start()\nexcept Exception:\n    pass\nos._exit(7)", ""),
    ],
)
def test_what_a_program_configures_is_found_and_not_started(write, tmp_path, monkeypatch, text, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["x"])
    loaded = load(write(text) + name)
    assert not loaded.problems and [executor.label for executor in loaded.executors] == ["mine"]
    assert not os.path.exists("runinfo")


def test_all_mistakes_are_told_at_once(write, tmp_path, monkeypatch):
    """Of all executors, each with its line, and nothing that comes of having gone on in spite of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["x"])
    text = """
    one = VineFastExecutor(
        "a/b",
        manager_config=TaskVineManagerConfig(port=-1, autolabel=True),
        factory_config=TaskVineFactoryConfig(min_workers=9, max_workers=3),
    )
    config = parsl.Config(executors=[one, VineFastExecutor(ssl=7, factory_config=5)])
    """
    loaded = load(write(text))
    assert [check.seen.split(";")[0].split(" and ")[0] for check in loaded.problems] == [
        "line 6: label is 'a/b'",
        "line 6: manager_config.port is -1",
        "line 6: manager_config.autolabel is True",
        "line 6: factory_config.min_workers is 9",
        "line 11: ssl is 7",
        "line 11: factory_config is 5",
    ]
    with pytest.raises(InvalidConfiguration, match="label is"):
        VineFastExecutor("a/b")


@pytest.mark.parametrize(
    ("text", "seen", "advice"),
    [
        ("x = 1", "has no Config and no executor", "__main__"),
        ("1/0", "line 5: ZeroDivisionError", "correct"),
        ("def f(:", "line 5: SyntaxError", "correct"),
        ("import no_such_module", "ModuleNotFoundError", "correct"),
        ("exit(3)", "SystemExit: 3", "__main__"),
        ("VineFastExecutor(ssl=3)", "line 5: ssl is 3; accepted", "accepted"),
    ],
)
def test_a_program_that_cannot_be_loaded(checks, text, seen, advice):
    (found,) = checks(text).values()
    assert found["level"] == "error" and seen in found["seen"] and advice in found["advice"]


def test_a_local_executor_as_it_is(checks):
    found = checks("config = parsl.Config(executors=[VineFastExecutor('mine')])")
    assert {check["level"] for check in found.values()} == {"ok"}, found
    assert found["mine: workers"]["seen"] == "on this machine; worker_launch_method is 'factory'"


def test_what_is_unsafe_slow_or_wrong(checks, tmp_path):
    (tmp_path / "open").write_text("secret")
    (tmp_path / "open").chmod(0o644)
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        found = checks(f"""
            open_one = VineFastExecutor("open", "manual", require_password=False, ssl=False,
                manager_config=TaskVineManagerConfig(port=0, address="127.0.0.1", shared_fs=True))
            readable = VineFastExecutor("readable", "manual", ssl=False, manager_config=TaskVineManagerConfig(
                port={port}, project_password_file={str(tmp_path / "open")!r}))
            slow = VineFastExecutor("slow", function_exec_mode="regular",
                manager_config=TaskVineManagerConfig(port=0, wait_for_workers=3))
            stock = type("TaskVineExecutor", (parsl.ThreadPoolExecutor,), {{}})("stock")
            config = parsl.Config(executors=[open_one, readable, slow, stock])
        """)
    bad = {name: check["level"] for name, check in found.items() if check["level"] != "ok"}
    assert bad.pop("open: files", "warning") == "warning"  # by where the tests' files are
    assert bad.pop("readable: address", "warning") == "warning"  # a machine without a network
    assert bad == {
        "open: address": "warning",
        "open: password": "warning",
        "open: Python": "warning",
        "readable: port": "error",
        "readable: password": "warning",
        "readable: TLS": "warning",
        "readable: Python": "warning",
        "slow: speed": "warning",
        "slow: workers": "error",
        "stock: kind": "warning",
    }
    assert f"{port} cannot be taken: Address already in use" in found["readable: port"]["seen"]


def test_a_batch_system_without_a_time_limit_and_an_address_that_only_this_machine_reaches(checks):
    found = checks("""
        def made(label, **options):
            return VineFastExecutor(label, manager_config=TaskVineManagerConfig(port=0, address="127.0.0.1"),
                factory_config=TaskVineFactoryConfig(batch_type="slurm", **options))
        config = parsl.Config(executors=[made("none"), made("some", batch_options="--time=1:00:00")])
    """)
    assert found["none: walltime"]["level"] == "warning" and "some: walltime" not in found
    assert found["none: address"]["level"] == "error"
    has = found["some: batch system"]
    assert (has["level"] == "ok") == (shutil.which("sbatch") is not None) and "sbatch" in has["seen"]


def test_workers_that_do_not_exist_and_an_environment_of_another_python(checks, tmp_path):
    (tmp_path / "env" / "lib" / "python3.5").mkdir(parents=True)
    found = checks(f"""
        absent = VineFastExecutor("absent", factory_config=TaskVineFactoryConfig(worker_executable="/no/worker"))
        old = VineFastExecutor("old", manager_config=TaskVineManagerConfig(port=0, env_pack={str(tmp_path / "env")!r}))
        packed = VineFastExecutor("packed", factory_config=TaskVineFactoryConfig(python_env={sys.prefix!r}))
        gone = VineFastExecutor("gone", manager_config=TaskVineManagerConfig(port=0, env_pack="/no/such/env"))
        config = parsl.Config(executors=[absent, old, packed, gone])
    """)
    assert "/no/worker" in found["absent: workers"]["seen"] and found["absent: workers"]["level"] == "error"
    assert "has 3.5, and this is" in found["old: Python"]["seen"] and found["old: Python"]["level"] == "error"
    assert found["gone: Python"]["level"] == "error" and found["packed: Python"]["level"] == "ok"
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))


def test_what_was_warned_of_while_loading_is_shown(checks):
    found = checks("config = VineFastExecutor('mine', factory_config=TaskVineFactoryConfig(condor_requirements='x'))")
    assert "condor_requirements" in found["configuration: warning"]["seen"]


def test_file_systems():
    assert file_system_of("/proc/self") == "proc" and file_system_of("/") != ""


def test_the_file_system_of_a_mount_point_with_any_name(monkeypatch):
    lines = (
        "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / /scratch/\u00e9t\u00e9\\0402026 rw - nfs4 server:/x rw\n".encode()
    )
    monkeypatch.setattr("builtins.open", lambda path, mode: io.BytesIO(lines))
    assert (
        file_system_of("/scratch/\u00e9t\u00e9 2026/run") == "nfs4"
        and file_system_of("/scratch/\u00e9t\u00e9") == "ext4"
    )
