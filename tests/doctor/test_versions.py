"""Versions of TaskVine's programs, and by what these were found."""

import os

import pytest

from vinefast._build_info import TASKVINE_VERSION
from vinefast.doctor import machine, versions
from vinefast.errors import EngineStartError
from vinefast.workers import programs


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Write a vine_worker of a prefix that is looked into first."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path))

    def worker(script):
        path = tmp_path / "bin" / "vine_worker"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return worker


def test_the_one_of_the_build():
    found = versions.program("vine_worker")
    assert found["version"] == TASKVINE_VERSION and found["problem"] is None
    assert found["found_by"] in ("the prefix of the build", "PATH", "VINEFAST_TASKVINE_PREFIX")


def test_one_of_another_prefix_and_protocol(worker):
    path = worker("echo vine_worker version 7.17.1 FINAL")
    expected = {"path": path, "found_by": "VINEFAST_TASKVINE_PREFIX", "version": "7.17.1", "problem": None}
    assert versions.program("vine_worker") == expected
    found = machine._worker_program("vine_worker")
    assert (found.level == "error") == (not programs.speak_alike(TASKVINE_VERSION, "7.17.1"))
    assert found.level == "ok" or found.advice.startswith("unset VINEFAST_TASKVINE_PREFIX, or build vinefast anew")


def test_it_is_named_by_its_path_where_path_does_not_have_it(worker, monkeypatch):
    path = worker("echo vine_worker version 7.17.1 FINAL")
    monkeypatch.setattr(machine, "manager_address", lambda *_, **__: "localhost")
    monkeypatch.setenv("PATH", "/nowhere")
    assert f"'ssh HOST {path}'" in machine._address("address").seen
    monkeypatch.setenv("PATH", os.path.dirname(path))
    assert "'ssh HOST vine_worker'" in machine._address("address").seen


def test_one_that_is_found_on_path(worker, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "vine_of_path").write_text("#!/bin/sh\necho version 7.15.9")
    (other / "vine_of_path").chmod(0o755)
    monkeypatch.setenv("PATH", str(other), prepend=os.pathsep)
    found = versions.program("vine_of_path")
    assert (found["version"], found["found_by"]) == ("7.15.9", "PATH")


@pytest.mark.parametrize(
    ("script", "words"), [("echo no; exit 3", "exit status 3): no"), ("kill -9 $$", "exit status -9")]
)
def test_one_that_does_not_say(worker, script, words):
    path = worker(script)
    with pytest.raises(EngineStartError) as failure:
        programs.program_version(path)
    assert words in str(failure.value)
    found = machine._worker_program("vine_worker")
    assert found.level == "error" and words in found.seen


def test_one_that_says_what_is_no_text(worker):
    with pytest.raises(EngineStartError, match="does not say its version"):
        programs.program_version(worker(r"printf '\377\376'"))


def test_one_that_hangs(worker, monkeypatch):
    monkeypatch.setattr(programs, "_ANSWER_S", 0.3)
    with pytest.raises(EngineStartError, match="gives no answer in 0.3 s"):
        programs.program_version(worker("exec sleep 30"))


def test_a_worker_that_does_not_say_its_version_is_not_waited_for_in_silence(worker, monkeypatch, caplog, tmp_path):
    (tmp_path / "vinefast-install.json").touch()
    monkeypatch.setattr(programs, "_ANSWER_S", 0.3)
    path = worker("exec sleep 30")
    assert programs.find_worker(path) == path
    assert "--version gives no answer in 0.3 s; it is started all the same" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("7.14.5", "7.16.5", True),
        ("7.16.5", "7.17.1", False),
        ("7.17.1", "8.0.0", True),
        ("7.14.5", "unknown", True),
        ("7.17.1", "unknown", True),
    ],
)
def test_protocols(one, other, alike):
    assert programs.speak_alike(one, other) == alike
