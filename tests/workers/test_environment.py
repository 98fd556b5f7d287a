"""Finding and packing environments; tests/integration/test_environments.py uses them."""

import os
import subprocess
import sys
import tarfile

import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from vinefast.errors import InvalidConfiguration
from vinefast.workers.environment import PYTHON, calls_environment, named_environment

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vinefast"


@pytest.fixture
def venv(tmp_path):
    prefix = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    return prefix


def tarball(path, *names):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return str(path)


def refused(value, reason):
    with pytest.raises(InvalidConfiguration, match=reason) as caught:
        named_environment("manager_config.env_pack", value)
    assert "manager_config.env_pack" in str(caught.value) and str(value) in str(caught.value)


def test_what_is_no_environment_is_refused(tmp_path):
    refused(str(tmp_path / "gone"), "does not exist; accepted")
    refused("gone.tar.gz", "does not exist; accepted")
    refused(str(tmp_path), "neither a conda nor a virtual environment")
    (tmp_path / "text").write_text("text")
    refused(str(tmp_path / "text"), "no tarball")
    refused(tarball(tmp_path / "a.tar.gz", "bin/python"), f"no lib/python{PYTHON}")
    refused("nobody-calls-an-environment-so", "name of a conda environment")


def test_another_version_of_python_is_refused(tmp_path, venv):
    library = "./lib/python3.4/site-packages/parsl/__init__.py"
    refused(tarball(tmp_path / "a.tar.gz", "./bin/python", library), f"Python 3.4, but .* Python {PYTHON}")
    (venv / "lib" / f"python{PYTHON}").rename(venv / "lib" / "python3.4")
    refused(str(venv), f"Python 3.4, but .* Python {PYTHON}")


def test_an_environment_is_packed_again_when_it_has_changed(venv, cache):
    first = named_environment("env_pack", venv)
    (venv / "lib" / f"python{PYTHON}" / "site-packages" / "new.py").touch()
    second = named_environment("env_pack", venv)
    assert first.directory != second.directory
    before = os.stat(second.archive)
    os.utime(first.archive, (0, 0))
    assert named_environment("env_pack", str(venv)) == second
    assert os.stat(second.archive).st_mtime_ns == before.st_mtime_ns
    # Whenever something is packed, what nobody has used for long goes.
    (venv / "newer").touch()
    third = named_environment("env_pack", venv)
    assert sorted(map(str, cache.iterdir())) == sorted((second.archive, third.archive))
    with tarfile.open(third.archive) as archive:
        assert "newer" in archive.getnames()


def test_the_current_python_must_be_of_an_environment(monkeypatch):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(InvalidConfiguration, match="app_pack.*neither a conda nor a virtual environment"):
        calls_environment(TaskVineManagerConfig(app_pack=True))


def test_app_pack_overrides_env_pack(venv, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(venv))
    both = TaskVineManagerConfig(app_pack=True, env_pack="/no/such")
    assert calls_environment(both) == named_environment("env_pack", venv)


def test_extra_packages_without_app_pack_do_nothing(caplog):
    assert calls_environment(TaskVineManagerConfig(extra_pkgs=["numpy"]), "x") is None
    (record,) = caplog.records
    assert record.getMessage() == "Ignoring manager_config.extra_pkgs of executor x: app_pack is not set"
    assert getattr(record, "parsl.executor") == "x"


def test_packages_that_stay_behind_are_told(venv, caplog):
    named_environment("env_pack", venv)
    assert not caplog.records
    settings = (venv / "pyvenv.cfg").read_text()
    (venv / "pyvenv.cfg").write_text(settings.replace("packages = false", "packages = true"))
    named_environment("env_pack", venv, "x")
    assert "env_pack of executor x: packages of the Python" in caplog.text and "stay behind" in caplog.text
    assert {getattr(record, "parsl.executor") for record in caplog.records} == {"x"}


def test_what_pip_cannot_install_is_said(venv, monkeypatch, cache):
    monkeypatch.setattr(sys, "prefix", str(venv))
    with pytest.raises(InvalidConfiguration, match="(?s)app_pack: 'pip install /no/such/wheel' failed.*no/such/wheel"):
        calls_environment(TaskVineManagerConfig(app_pack=True, extra_pkgs=["/no/such/wheel"]))
    assert not list(cache.iterdir())


def test_nothing_is_added_to_a_conda_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "conda-meta").mkdir()
    with pytest.raises(InvalidConfiguration, match="extra_pkgs.*install them into the conda environment"):
        calls_environment(TaskVineManagerConfig(app_pack=True, extra_pkgs=["numpy"]))


@pytest.mark.parametrize(("module", "made_by"), [("venv_pack", "pyvenv.cfg"), ("conda_pack", "conda-meta")])
def test_a_missing_packer_is_named(tmp_path, monkeypatch, module, made_by):
    (tmp_path / "lib" / f"python{PYTHON}").mkdir(parents=True)
    (tmp_path / made_by).touch() if "." in made_by else (tmp_path / made_by).mkdir()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidConfiguration, match=r"env_pack needs .*-pack.*pip install 'vinefast\[env\]'"):
        named_environment("env_pack", tmp_path)
