"""The run that commands take if none is named."""

from __future__ import annotations

from pathlib import Path

import click


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
