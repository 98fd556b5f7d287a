"""Commands that look at a run take the newest one if none is named."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from vinefast.cli import main
from vinefast.cli.newest import newest_run


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_runs_are_numbers(tmp_path):
    for name in ["000", "999", "1000", "1001-copy"]:
        (tmp_path / "runinfo" / name).mkdir(parents=True)
    (tmp_path / "runinfo" / "1002").touch()
    assert newest_run() == "runinfo/1000"


def test_there_is_none():
    with pytest.raises(click.UsageError, match="give a RUN_DIR"):
        newest_run()


@pytest.mark.parametrize("command", ["why", "report", "trace"])
def test_commands_look_there(command, tmp_path):
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 2 and "there is no runinfo/000" in result.output
    (tmp_path / "runinfo" / "007").mkdir(parents=True)
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 1 and "no event log in runinfo/007" in result.output
