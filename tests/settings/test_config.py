"""What users configure in Parsl's terms: what is refused, and what the engine is started with."""

import copy
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import fields

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.prefixes import CHECKOUT
from vinefast import library
from vinefast.errors import EngineStartError, InvalidConfiguration
from vinefast.settings import checks
from vinefast.settings.engine import engine_settings
from vinefast.workers.command import library_archive, program_path, python_command
from vinefast.workers.environment import PYTHON


def settings(exec_mode="serverless", password_file=None, working_dir=None, **fields):
    manager_config = TaskVineManagerConfig(**fields)
    checks.check_manager_config(manager_config)
    return engine_settings(
        manager_config, exec_mode, "/logs", password_file, working_dir, project_name=manager_config.project_name
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("port", "9123"),
        ("port", True),
        ("address", ""),
        ("project_name", 3),
        ("project_password_file", 3),
        ("env_vars", ["A"]),
        ("env_vars", {"A=B": 1}),
        ("init_command", ["true"]),
        ("env_pack", ["env"]),
        ("app_pack", "yes"),
        ("extra_pkgs", "numpy"),
        ("max_retries", -1),
        ("library_config", 4),
        ("library_config", {"slots": 4}),
        ("library_config", {"num_slots": 0}),
        ("library_config", {"cores": 1.5}),
        ("shared_fs", "yes"),
        ("enable_peer_transfers", 1),
        ("wait_for_workers", -1),
        ("vine_log_dir", 1),
        ("tune_parameters", ["hungry-minimum"]),
        ("autocategory", 1),
        ("autolabel", "yes"),
        ("autolabel_algorithm", "best"),
        ("autolabel_window", 0),
    ],
)
def test_a_bad_manager_field_is_named_with_its_value(field, value):
    with pytest.raises(InvalidConfiguration, match=field) as caught:
        checks.check_manager_config(TaskVineManagerConfig(**{field: value}))
    assert "accepted: " in str(caught.value)


@pytest.mark.parametrize("address", ["::1", "2001:db8::17", "fe80::1%lo"])
def test_an_address_of_ipv6_needs_taskvine_to_speak_it(monkeypatch, address):
    config = TaskVineManagerConfig(address=address)
    for mode, told in ((None, "is not set"), ("IPV4", "is 'IPV4'")):
        monkeypatch.delenv("CCTOOLS_IP_MODE", raising=False)
        if mode is not None:
            monkeypatch.setenv("CCTOOLS_IP_MODE", mode)
        with pytest.raises(InvalidConfiguration, match=f"address is '{address}'.* CCTOOLS_IP_MODE {told}.*accepted: "):
            checks.check_manager_config(config)
        checks.check_manager_config(TaskVineManagerConfig(address="127.0.0.1"))
    for mode in ("AUTO", "IPV6"):
        monkeypatch.setenv("CCTOOLS_IP_MODE", mode)
        checks.check_manager_config(config)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"min_workers": -1}, "min_workers"),
        ({"min_workers": 3, "max_workers": 2}, "min_workers"),
        ({"max_workers": 0}, "max_workers"),
        ({"worker_timeout": 0}, "worker_timeout"),
        ({"worker_executable": ""}, "worker_executable"),
        ({"worker_options": ["--cores", "1"]}, "worker_options"),
        ({"cores": "2"}, "cores"),
        ({"memory": -1}, "memory"),
        ({"batch_type": "wq"}, "batch_type"),
        ({"batch_type": []}, "batch_type"),
    ],
)
def test_a_bad_factory_field_is_named_with_its_value(fields, name):
    with pytest.raises(InvalidConfiguration, match=f"factory_config.{name} is .*accepted: "):
        checks.check_factory_config(TaskVineFactoryConfig(**fields))


def test_every_field_of_parsls_is_checked_and_described():
    page = (CHECKOUT / "docs" / "drop-in.md").read_text()
    for config, checked in (
        (TaskVineManagerConfig, {*checks.MANAGER_RULES, "tune_parameters"}),
        (TaskVineFactoryConfig, set(checks.FACTORY_RULES)),
    ):
        known = {field.name for field in fields(config) if not field.name.startswith("_")}
        assert known == checked
        assert {name for name in known if f"`{name}`" not in page} == set()


def test_configurations_must_be_parsls():
    with pytest.raises(InvalidConfiguration, match="manager_config is .*TaskVineManagerConfig"):
        checks.check_manager_config({"port": 1})
    with pytest.raises(InvalidConfiguration, match="factory_config is .*TaskVineFactoryConfig"):
        checks.check_factory_config({})


def test_fields_reach_the_engine():
    got = settings(
        port=9123,
        project_name="melting",
        password_file="/secret",
        env_vars={"A": 1},
        max_retries=None,
        library_config={"num_slots": 4, "cores": 2, "memory": 100, "disk": 200},
        enable_peer_transfers=False,
        wait_for_workers=3,
        tune_parameters={"hungry-minimum": 10},
    )
    assert (got.port, got.project_name, got.password_file) == (9123, "melting", "/secret")
    assert (got.slots, got.library_cores, got.library_memory, got.library_disk) == (4, 2, 100, 200)
    assert got.max_retries is None
    assert got.env_vars["A"] == "1"
    assert got.tuning == {"peer-transfers": False, "wait-for-workers": 3, "hungry-minimum": 10}
    assert not got.debug


def test_tune_parameters_win_over_other_fields():
    tune = {"wait-for-workers": 2, "peer-transfers": True}
    got = settings(wait_for_workers=3, enable_peer_transfers=False, tune_parameters=tune).tuning
    assert (got.wait_for_workers, got.peer_transfers) == (2, True)


@pytest.mark.parametrize(
    ("fields", "placing"),
    [
        ({}, True),
        ({"library_config": {"num_slots": 2}}, True),
        ({"library_config": {"cores": 1}}, False),
        ({"tune_parameters": {"scheduler": "vinefast"}}, True),
        ({"tune_parameters": {"scheduler": "files"}}, False),
    ],
)
def test_who_chooses_workers(fields, placing):
    assert settings(**fields).placing == placing
    assert not settings("regular", **fields).placing


def test_configuration_is_left_as_it_is():
    manager_config = TaskVineManagerConfig(env_vars={"A": 1}, library_config={"num_slots": 2})
    before = copy.deepcopy(manager_config)
    checks.check_manager_config(manager_config)
    engine_settings(manager_config, "serverless", "/logs", None, "/here")
    assert manager_config == before


def test_working_directory_reaches_the_library():
    assert settings(working_dir="/here").env_vars["VINEFAST_CWD"] == "/here"
    assert settings(working_dir="/here", env_vars={"VINEFAST_CWD": "/there"}).env_vars["VINEFAST_CWD"] == "/there"


def test_modules_of_the_program_are_found_by_the_library(monkeypatch, tmp_path):
    beside = str(tmp_path)
    pythons = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
    monkeypatch.setattr(sys, "path", [beside, "", f"{beside}/missing", *pythons])
    assert program_path() == [beside, os.getcwd()]
    got = engine_settings(TaskVineManagerConfig(), "serverless", "/logs", None, None, module_path=["/a", "/b"])
    assert got.env_vars["VINEFAST_PATH"] == "/a:/b"


def test_debug_log_is_kept_on_demand(monkeypatch):
    monkeypatch.setenv("VINEFAST_DEBUG", "1")
    assert settings().debug


def test_library_files_are_a_whole_package():
    with zipfile.ZipFile(io.BytesIO(library_archive())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        assert len(files) == len(archive.namelist())
    assert "__main__.py" in files
    byte_code = {"vinefast_library/__main__.pyc", "vinefast_library/once.pyc", "vinefast_library/run.pyc"}
    assert byte_code | {"vinefast_library/packages/cloudpickle/__init__.pyc"} <= files.keys()
    directory = os.path.dirname(library.__file__)
    for module in ("checked", "refusal", "arguments", "protocol", "__init__"):
        with open(os.path.join(directory, f"{module}.py"), "rb") as source:
            assert files[f"vinefast_library/{module}.py"] == source.read()


def test_the_library_is_the_same_bytes_each_time():
    assert library_archive() == library_archive()


def test_modes_run_different_modules():
    program = f'"$PWD/vinefast_library.zip" {PYTHON}'
    assert settings("serverless").command.endswith(f"{program} vinefast_library")
    assert settings("regular").command.endswith(f"{program} vinefast_library.once")


@pytest.fixture
def run_command(tmp_path):
    """Run a command as a worker does, with a module that tells who runs it."""
    (tmp_path / "who.py").write_text("import os, sys; print(sys.executable, os.environ.get('FOO'), *sys.argv[1:])")
    other = tmp_path / "bin" / "python3"
    other.parent.mkdir()
    other.write_text('#!/bin/sh\necho other "$@"\n')
    other.chmod(0o755)

    def run(init_command="", python=sys.executable):
        command = python_command("-m who", init_command, python) + " --in-pipe-fd 3"
        return subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.split()

    run.other = other.parent
    return run


def test_the_submit_sides_python_runs_where_it_exists(run_command):
    assert run_command() == [sys.executable, "None", "--in-pipe-fd", "3"]


def test_another_python_runs_elsewhere(run_command, monkeypatch):
    monkeypatch.setenv("PATH", str(run_command.other), prepend=os.pathsep)
    for missing in ("/no/such/python with space", "", None):
        assert run_command(python=missing) == ["other", "-m", "who", "--in-pipe-fd", "3"]


@pytest.mark.parametrize("end", ["", ";", " &&", "\n"])
def test_init_command_comes_first(run_command, end):
    assert run_command("export FOO=bar" + end) == [sys.executable, "bar", "--in-pipe-fd", "3"]


def test_a_python_from_init_command_wins(run_command):
    assert run_command(f'PATH="{run_command.other}:$PATH"')[0] == "other"


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("init_command", "status"),
    [
        ("exit 3", "3"),
        ("exit 0", "0"),
        ("false &&", "1"),
        ("set -eu; cd /; PATH=; false; true", "1"),
        ("set -- a b; IFS=-; unset PWD; exit 4", "4"),
        ("if [", "2"),
        ("PATH=/nowhere", "127"),
        ("set -eu; PATH=/nowhere; export PATH", "127"),
        ("false", "None"),
        ("true &&", "None"),
        ("cd /; set -- a b; IFS=-", "None"),
        ("[ -d /nowhere ] && exit 1", "None"),
    ],
)
def test_the_program_starts_whatever_init_command_does(tmp_path, shell, init_command, status):
    (tmp_path / "told.py").write_text(
        "import os, sys; print(os.environ.get('VINEFAST_INIT_STATUS'), os.getcwd(), *sys.argv[1:])"
    )
    command = python_command("-m told", init_command) + " --in-pipe-fd 3"
    # Bash keeps to POSIX, as a worker's /bin/sh.
    options = ["--posix"] if shell == "bash" else []
    ran = subprocess.run([shell, *options, "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == f"{status} {tmp_path} --in-pipe-fd 3", ran.stderr


@pytest.mark.parametrize("init_command", ["", "set -eu"])
def test_the_program_starts_where_there_is_no_python3(tmp_path, init_command):
    (tmp_path / "told.py").write_text("print('started')")
    command = [shutil.which("sh"), "-c", python_command("-m told", init_command)]
    ran = subprocess.run(command, cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert ran.stdout == "started\n", ran.stderr


@pytest.mark.parametrize("content", [b"", b"\n", b"a\0b", b"x" * 1025])
def test_a_password_that_the_engine_cannot_take_is_refused(tmp_path, content):
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match="project_password_file"):
        checks.check_password_file(str(path))


def test_a_password_file_must_be_readable(tmp_path):
    with pytest.raises(InvalidConfiguration, match="No such file"):
        checks.check_password_file(str(tmp_path / "password"))
    with pytest.raises(InvalidConfiguration, match="directory"):
        checks.check_password_file(str(tmp_path))


def test_autolabel_becomes_what_taskvine_calls_it(monkeypatch, tmp_path):
    monitor = tmp_path / "resource_monitor"
    monitor.write_text("#!/bin/sh\n")
    monitor.chmod(0o755)
    monkeypatch.setenv("CCTOOLS_RESOURCE_MONITOR", str(monitor))
    fields = {"autolabel": True, "autolabel_algorithm": "bucketing", "autolabel_window": 7}
    got = engine_settings(TaskVineManagerConfig(**fields), "regular", "logs", None, None)
    assert (got.resource_monitor, got.allocation_mode) == (str(monitor), "bucketing")
    assert got.tuning == {"peer-transfers": True, "category-steady-n-tasks": 7}
    got = engine_settings(TaskVineManagerConfig(**{**fields, "autolabel": False}), "regular", "logs", None, None)
    assert (got.resource_monitor, got.allocation_mode, got.tuning.category_steady_n_tasks) == (None, None, 25)


@pytest.mark.parametrize(
    ("fields", "method", "ignored"),
    [
        ({"condor_requirements": "(x)"}, "factory", {"condor_requirements"}),
        ({"condor_requirements": "(x)", "batch_type": "slurm"}, "factory", {"condor_requirements"}),
        ({"condor_requirements": "(x)", "batch_type": "condor"}, "factory", set()),
        ({"batch_options": "-q short"}, "factory", {"batch_options"}),
        ({"batch_options": "-q short", "batch_type": "slurm"}, "factory", set()),
        ({"batch_options": "-q short", "batch_type": "slurm"}, "provider", {"batch_options"}),
        ({}, "manual", set()),
    ],
)
def test_fields_for_another_batch_system_are_named_in_a_warning(fields, method, ignored, caplog):
    checks.warn_of_unused_fields(TaskVineFactoryConfig(**fields), method, "x")
    assert [getattr(record, "parsl.executor") for record in caplog.records] == ["x"] * len(ignored)
    for name in ignored:
        assert f"factory_config.{name}" in caplog.text


def test_a_file_that_workers_need_and_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EngineStartError, match="context, which workers need, cannot be read"):
        engine_settings(
            TaskVineManagerConfig(), "serverless", "/logs", None, None, context_file=str(tmp_path / "context")
        )
