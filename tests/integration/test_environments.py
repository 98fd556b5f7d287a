"""Environments that travel to workers."""

import logging
import os
import shutil
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import conda_pack
import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from venv_pack import pack

from tests.helpers.processes import command_by_hand, end_by_hand, start_by_hand
from vinefast.errors import RemoteError
from vinefast.workers.environment import PYTHON

# Of the environment alone.
MODULE = """
import importlib, os, shutil, subprocess, sys

def look():
    told = subprocess.run(["tell"], capture_output=True, text=True).stdout
    return told, sys.prefix, os.stat(sys.prefix + "/.complete").st_mtime_ns

def add(a, b):
    return a + b

def whois(name):
    return importlib.import_module(name).whoami()[1], shutil.which(name)
"""

# What a worker needs.
PACKAGES = ("parsl", "dill", "tblib", "typeguard", "typing_extensions")


def add_packages(prefix, *names):
    site_packages = Path(prefix, "lib", f"python{PYTHON}", "site-packages")
    for name in names:
        origin = Path(find_spec(name).origin)
        if origin.name == "__init__.py":
            ignored = shutil.ignore_patterns("tests", "__pycache__")
            shutil.copytree(origin.parent, site_packages / name, ignore=ignored)
        else:
            shutil.copy(origin, site_packages)
    return site_packages


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """A virtual environment with a package that is nowhere else, and a program."""
    prefix = tmp_path_factory.mktemp("submit") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    site_packages = add_packages(prefix, *PACKAGES)
    (site_packages / "only_there.py").write_text(MODULE)
    program = prefix / "bin" / "tell"
    program.write_text(f"#!{prefix}/bin/python\nimport only_there\nprint(only_there.add(40, 2))\n")
    program.chmod(0o755)
    return prefix


@pytest.fixture(scope="module")
def only_there():
    """The module of the environment, as far as this side needs it to name its functions."""
    module = types.ModuleType("only_there")
    exec(MODULE, module.__dict__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "only_there", module)
        yield module


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Where packed environments are kept."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        yield directory / "vinefast"


@pytest.fixture
def start_apart(make_executor, tmp_path):
    """Start an executor with a worker by hand, whose files are elsewhere and whose PATH is short."""
    executors, workers = [], []

    def start(exec_mode="serverless", path="/usr/bin:/bin", **fields):
        executor = make_executor(
            worker_launch_method="manual",
            function_exec_mode=exec_mode,
            manager_config=TaskVineManagerConfig(port=0, **fields),
        )
        executors.append(executor)
        elsewhere = tmp_path / f"elsewhere{len(workers)}"
        elsewhere.mkdir()
        command = command_by_hand(executor, "--cores", "2")
        workers.append(start_by_hand(command, elsewhere, PATH=path))
        executor.elsewhere = elsewhere
        return executor

    yield start
    # They go at once when the manager does, but slowly when they are told to.
    for executor in executors:
        executor.shutdown()
    assert end_by_hand(*workers)


@pytest.mark.parametrize("exec_mode", ["serverless", "regular"])
def test_a_virtual_environment_is_unpacked_once_and_used(start_apart, venv, only_there, exec_mode):
    executor = start_apart(exec_mode, env_pack=str(venv))
    calls = [executor.submit(only_there.look, {}) for _ in range(6)]
    values = {call.result(60) for call in calls}
    assert len(values) == 1
    told, prefix, _ = values.pop()
    assert told == "42\n"
    assert prefix.startswith(str(executor.elsewhere))


def test_a_conda_environment_brings_its_own_python(start_apart, tmp_path, only_there):
    prefix = tmp_path / "conda"
    make_conda_environment(prefix)
    archive = str(tmp_path / "conda.tar.gz")
    conda_pack.pack(prefix=str(prefix), output=archive, n_threads=2, compress_level=1)
    shutil.rmtree(prefix)
    executor = start_apart(env_pack=archive)
    told, prefix, _ = executor.submit(only_there.look, {}).result(60)
    assert prefix.startswith(str(executor.elsewhere))
    assert told == "42\n"
    assert executor.submit(os.getenv, {}, "ACTIVATED").result(60) == prefix


@pytest.fixture
def archive_of_another_machine(venv, tmp_path):
    """A tarball whose links to Python lead nowhere here."""
    path = str(tmp_path / "elsewhere.tar.gz")
    pack(prefix=str(venv), output=path, python_prefix="/no/such/prefix")
    return path


@pytest.mark.parametrize("exec_mode", ["serverless", "regular"])
def test_a_virtual_environment_takes_the_python_of_the_worker(
    start_apart, archive_of_another_machine, only_there, exec_mode
):
    base = Path(sys.executable).resolve().parent
    executor = start_apart(exec_mode, path=f"{base}:/usr/bin:/bin", env_pack=archive_of_another_machine)
    told, prefix, _ = executor.submit(only_there.look, {}).result(60)
    assert told == "42\n"
    assert prefix.startswith(str(executor.elsewhere))


@pytest.mark.parametrize("exec_mode", ["serverless", "regular"])
def test_a_worker_that_lacks_python_says_so(start_apart, archive_of_another_machine, tmp_path, exec_mode):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "sh", "env", "flock", "dirname", "basename", "mkdir", "mktemp", "rm", "tar", "gzip", "touch"):
        (programs / name).symlink_to(shutil.which(name))
    # One that can tell, and that nothing else can be done with.
    lame = programs / "python3"
    lame.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 1\nexec {sys.executable} "$@"\n')
    lame.chmod(0o755)
    executor = start_apart(exec_mode, path=str(programs), env_pack=archive_of_another_machine)
    calls = [executor.submit(pow, {}, 2, i) for i in range(3)]
    for call in calls:
        with pytest.raises(RemoteError, match=rf"cannot be used on .*does not bring Python {PYTHON} along.*conda"):
            call.result(60)


def test_workers_of_a_factory_run_in_an_environment(make_executor, venv, only_there, tmp_path):
    executor = make_executor(
        factory_config=TaskVineFactoryConfig(python_env=str(venv), cores=1, scratch_dir=str(tmp_path)),
        manager_config=TaskVineManagerConfig(port=0),
    )
    told, prefix, _ = executor.submit(only_there.look, {}).result(60)
    assert told == "42\n"
    assert prefix.startswith(str(tmp_path))
    executor.shutdown()
    assert not os.path.exists(prefix)


def make_conda_environment(prefix):
    """Lay out what conda would: a Python in its own prefix, and a program that knows where that is."""
    base = Path(sys.base_prefix)
    library = f"lib/python{PYTHON}"
    ignored = shutil.ignore_patterns(
        "test", "tests", "site-packages", "__pycache__", "config-*", "idlelib", "ensurepip"
    )
    shutil.copytree(base / library, prefix / library, ignore=ignored)
    (prefix / "bin").mkdir()
    shutil.copy(base / f"bin/python{PYTHON}", prefix / "bin")
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(f"python{PYTHON}")
    (prefix / library / "site-packages").mkdir()
    (add_packages(prefix, *PACKAGES) / "only_there.py").write_text(MODULE)
    program = prefix / "bin" / "tell"
    program.write_text(f"#!{prefix}/bin/python\nimport only_there\nprint(only_there.add(40, 2))\n")
    program.chmod(0o755)
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "history").touch()
    activation = prefix / "etc" / "conda" / "activate.d"
    activation.mkdir(parents=True)
    (activation / "a.sh").write_text("export ACTIVATED=$CONDA_PREFIX\n")


def make_project(directory, name):
    """Make a source tree that pip can install, also as editable, without fetching anything."""
    directory.mkdir()
    (directory / f"{name}.py").write_text(f"def whoami():\n    return {name!r}, __file__\n")
    (directory / "pyproject.toml").write_text(
        f'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1"\n'
    )
    (directory / "backend.py").write_text(
        f"""
import os, zipfile

def wheel(directory, name, content):
    path = "{name}-1-py3-none-any.whl"
    info = "{name}-1.dist-info"
    files = {{
        name: content,
        f"{{info}}/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n",
        f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{{info}}/entry_points.txt": "[console_scripts]\\n{name} = {name}:whoami\\n",
    }}
    files[f"{{info}}/RECORD"] = "".join(f"{{each}},,\\n" for each in [*files, f"{{info}}/RECORD"])
    with zipfile.ZipFile(os.path.join(directory, path), "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return path

def build_wheel(directory, config_settings=None, metadata_directory=None):
    return wheel(directory, "{name}.py", open("{name}.py").read())

def build_editable(directory, config_settings=None, metadata_directory=None):
    return wheel(directory, "{name}.pth", os.getcwd() + "\\n")
"""
    )
    return directory


def test_the_current_environment_with_more_packages(start_apart, venv, only_there, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="vinefast")
    prefix = tmp_path / "current"
    shutil.copytree(venv, prefix, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(prefix / "bin" / "python"), "--disable-pip-version-check", "-q"]
    mine = make_project(tmp_path / "mine", "mine")
    editable = [mine, make_project(tmp_path / "vinefast", "vinefast")]
    subprocess.run([*pip, "install", *(part for path in editable for part in ("-e", path))], check=True)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    extra = make_project(tmp_path / "extra", "extra")
    executor = start_apart(app_pack=True, extra_pkgs=[str(extra)])

    assert "extra" in caplog.text
    for name in ("mine", "extra"):
        for path in executor.submit(only_there.whois, {}, name).result(60):
            assert path.startswith(str(executor.elsewhere))
    with pytest.raises(ModuleNotFoundError):
        executor.submit(only_there.whois, {}, "vinefast").result(60)
