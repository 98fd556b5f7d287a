"""Where TaskVine's programs are looked for."""

import pytest

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


def test_a_missing_program_is_answered_with_places_and_remedies(monkeypatch):
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", "/chosen")
    with pytest.raises(EngineStartError, match="/chosen/bin.*conda.*Debian.*install-taskvine"):
        programs.find_program("vine_wanderer")
    with pytest.raises(EngineStartError, match="/no/such/vine_worker"):
        programs.find_program("/no/such/vine_worker")
