"""``vinefast info``: versions, places and limits."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from vinefast.cli.newest import complete_run
from vinefast.display.text import verbatim
from vinefast.doctor.facts import facts, facts_of_run

_WIDTH = 120


@click.command(short_help="Show versions, places and limits.")
@click.argument("run", required=False, metavar="[RUN_DIR|HOST:PORT]", shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables.")
def info(run: str | None, as_json: bool) -> None:
    """Show versions, where things are, and which limits there are.

    With the directory of a run, or the address of its manager: where that is, whether it answers, and what its workers
    have, as far as the directory tells.

    \b
    Examples:
      vinefast info
      vinefast info runinfo/000
      vinefast info --json > for-a-bug-report.json
    """  # noqa: D301
    found = facts()
    if run is not None:
        try:
            found = {"run": facts_of_run(run), **found}
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for title, rows in found.items():
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            # JSON has bytes, people GB.
            table.add_row(verbatim(name.replace(", bytes", "")), verbatim(shown(name, value)))
        console.print(table)
        console.print()


def shown(name: str, value: Any) -> str:
    """Write a fact for people."""
    if value is None:
        return "no limit" if name.endswith("limit") else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_nbytes") or (isinstance(value, int) and "bytes" in name):
        return f"{value / 1e9:,.1f} GB"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(key, each)}" for key, each in value.items() if each is not None)
    if isinstance(value, (list, tuple)):
        return os.linesep.join(shown(name, each) for each in value) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
