"""Runs that commands are given: how a shell completes them, and which one it is if none is named."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem


def newest_run() -> str:
    """Give the newest run directory in ./runinfo.

    Raises
    ------
    click.UsageError
        If there is none.
    """
    found = [path for path in Path("runinfo").glob("[0-9]*") if path.name.isdecimal() and path.is_dir()]
    if not found:
        raise click.UsageError("there is no runinfo/000 or the like here: give a RUN_DIR")
    return str(max(found, key=lambda path: int(path.name)))


def complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete a directory, where an argument may also be something else."""
    return [CompletionItem(incomplete, type="dir")]
