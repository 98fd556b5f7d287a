"""``vinefast tune``: the table of tune parameters, and a user's configuration held against it."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from typing import Any

import click
from parsl.executors.taskvine import TaskVineManagerConfig
from rich.console import Console
from rich.table import Table

from vinefast._build_info import TASKVINE_VERSION
from vinefast.errors import InvalidConfiguration
from vinefast.settings.checks import check_manager_config
from vinefast.settings.engine import tuning_of
from vinefast.settings.parameter import Parameter
from vinefast.settings.tuning import Tuning

# A file has no width.
_WIDTH = 150


@click.command(short_help="List what can be tuned, and check what a program sets.")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option(
    "--config",
    "where",
    metavar="WHERE[:NAME]",
    help="Show what your program sets: FILE.py or MODULE, and the name in it of a Parsl Config, an executor, a "
    "TaskVineManagerConfig, a Tuning, a dict, or of a function that makes one. Default: config or fresh_config.",
)
@click.option("--changed", is_flag=True, help="Only parameters that are not at their default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")
def tune(words: tuple[str, ...], settings: tuple[str, ...], where: str | None, changed: bool, as_json: bool) -> None:
    """List tune parameters with their values; with WORDs, only those parameters that mention all of them.

    The names are keys for TaskVineManagerConfig(tune_parameters={...}), and with underscores arguments of
    vinefast.Tuning. Values are checked as when an executor is made.
    """
    try:
        tuning = _configured(where) if where else Tuning()
        for setting in settings:
            name, equals, text = setting.partition("=")
            if not equals:
                raise click.UsageError(f"--set: {setting!r} has no value; accepted: NAME=VALUE")
            tuning[name.strip()] = _value(text.strip())
    except InvalidConfiguration as error:
        raise click.UsageError(str(error)) from None
    rows = [
        parameter
        for parameter in tuning.parameters.values()
        if all(_occurs(word, parameter) for word in words)
        and (not changed or _current(tuning, parameter) != parameter.default)
    ]
    if as_json:
        click.echo(json.dumps([_record(tuning, parameter) for parameter in rows], indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    if rows:
        console.print(_table(tuning, rows))
    elif words:
        console.print(_nothing_found(words))
    console.print(
        f"{len(rows)} of {len(tuning.parameters)} parameters; vinefast is built with TaskVine {TASKVINE_VERSION}."
    )


def _occurs(word: str, parameter: Parameter[Any]) -> bool:
    return word.lower() in f"{parameter.name} {parameter.attribute} {parameter.doc}".lower()


def _nothing_found(words: tuple[str, ...]) -> str:
    try:
        Tuning.find("-".join(words).lower())
    except InvalidConfiguration as error:
        return f"Nothing has {' and '.join(map(repr, words))} in its name or description: {error}."
    return f"Nothing has {' and '.join(map(repr, words))} in its name or description."


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text


def _current(tuning: Tuning, parameter: Parameter[Any]) -> Any:
    return getattr(tuning, parameter.attribute)


def _configured(where: str) -> Tuning:
    """Load a user's object, and return what it tunes."""
    place, _, name = where.partition(":")
    # Without a name, those of Parsl's own programs.
    found = _load(place, [name] if name else ["config", "fresh_config"])
    if hasattr(found, "executors"):
        found = _the_one(found.executors, where)
    found = getattr(found, "manager_config", found)
    if not isinstance(found, TaskVineManagerConfig):
        return Tuning.of(found)
    check_manager_config(found)
    return tuning_of(found)


def _load(place: str, names: list[str]) -> Any:
    # For a module, this is the current directory.
    sys.path.insert(0, os.path.dirname(os.path.abspath(place)))
    try:
        there = runpy.run_path(place) if place.endswith(".py") else vars(importlib.import_module(place))
        found = next((there[name] for name in names if name in there), None)
        found = found() if callable(found) else found
    except InvalidConfiguration:
        raise
    except Exception as error:
        hint = (
            ". All of it runs for that, but for what is under if __name__ == '__main__'"
            if os.path.exists(place)
            else ""
        )
        raise click.UsageError(f"--config: {place} cannot be loaded: {type(error).__name__}: {error}{hint}") from None
    if found is None:
        raise click.UsageError(f"--config: there is no {names[0]!r} in {place}; write {place}:NAME")
    return found


def _the_one(executors: Any, where: str) -> Any:
    ours = [executor for executor in executors if hasattr(executor, "manager_config")]
    if len(ours) != 1:
        labels = ", ".join(executor.label for executor in ours) or "none"
        raise click.UsageError(
            f"--config: {where} must have one executor on TaskVine; it has: {labels}. "
            "Name an executor in place of the Config"
        )
    return ours[0]


def _record(tuning: Tuning, parameter: Parameter[Any]) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "value": _current(tuning, parameter),
        "default": parameter.default,
        "unit": parameter.unit,
        "kind": parameter.kind,
        "range": parameter.range,
        "since": parameter.since,
        "available": parameter.available,
        "aliases": list(parameter.aliases),
        "doc": parameter.doc,
    }


def _table(tuning: Tuning, rows: list[Parameter[Any]]) -> Table:
    table = Table("name")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("range", max_width=26)
    table.add_column("what it does")
    for parameter in rows:
        value = _current(tuning, parameter)
        mark = "" if value == parameter.default else f" (default {parameter.default})"
        lacking = "" if parameter.available else f"From TaskVine {parameter.since}. "
        style = None if parameter.available else "dim"
        table.add_row(
            parameter.name, f"{value}{mark}", parameter.unit, parameter.range, lacking + parameter.doc, style=style
        )
    return table
