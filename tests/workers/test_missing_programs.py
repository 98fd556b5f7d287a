"""What is said of a program of TaskVine's that is missing, or that must not be executed."""

from pathlib import Path

import pytest

from vinefast.errors import EngineStartError
from vinefast.workers import programs


def test_a_program_that_must_not_be_executed_is_named(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(programs, "_built_with", lambda: str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("VINEFAST_TASKVINE_PREFIX", raising=False)
    lost = tmp_path / "bin/vine_worker"
    lost.write_text("#!/bin/sh\n")
    with pytest.raises(EngineStartError, match=f"^{lost} is there, but cannot be executed.*noexec.*chmod"):
        programs.find_program("vine_worker")


def test_a_wheel_without_its_programs_is_to_be_installed_again(monkeypatch):
    package = Path(programs.__file__).resolve().parent.parent
    monkeypatch.setattr(programs, "_built_with", lambda: str(package / "_taskvine"))
    with pytest.raises(EngineStartError, match="wheel.*force-reinstall") as refused:
        programs.find_program("vine_wanderer")
    assert "install-taskvine" not in str(refused.value)
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", "/chosen")
    with pytest.raises(
        EngineStartError, match="no /chosen/bin: unset it, since vinefast has TaskVine inside, .*installed.$"
    ):
        programs.find_program("vine_worker")
