"""Where TaskVine's programs are looked for."""

import pytest

from vinefast._core import PROTOCOL
from vinefast.errors import EngineStartError
from vinefast.workers import programs


def test_programs_are_found_in_the_chosen_prefix_first(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "vine_worker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert programs.find_program("vine_worker") != str(program)
    assert programs.find_program(str(program)) == str(program)
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path))
    assert programs.find_program("vine_worker") == str(program)
    assert programs.find_program("vine_factory")


def test_who_has_chosen_a_worker_of_another_protocol_is_told_to_take_that_back(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "vine_worker"
    program.parent.mkdir(parents=True)
    (tmp_path / "vinefast-install.json").touch()  # of TaskVine's own programs
    program.write_text(f"#!/bin/sh\necho vine_worker version {'7.17.1' if PROTOCOL < 13 else '7.14.5'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path))
    with pytest.raises(EngineStartError, match="Unset VINEFAST_TASKVINE_PREFIX, or build vinefast anew"):
        programs.find_worker("vine_worker")
    monkeypatch.delenv("VINEFAST_TASKVINE_PREFIX")
    with pytest.raises(EngineStartError, match="Name a vine_worker of TaskVine"):
        programs.find_worker(str(program))


def test_a_missing_program_is_answered_with_places_and_remedies(monkeypatch):
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", "/chosen")
    with pytest.raises(EngineStartError, match="/chosen/bin.*conda.*Debian.*install-taskvine"):
        programs.find_program("vine_wanderer")
    with pytest.raises(EngineStartError, match="/no/such/vine_worker"):
        programs.find_program("/no/such/vine_worker")
