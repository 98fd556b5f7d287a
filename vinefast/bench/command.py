"""``vinefast bench``: options, progress, and where the results go."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from vinefast.bench.measures import MEASURES
from vinefast.bench.peers import PEERS
from vinefast.bench.picture import draw
from vinefast.bench.record import make_record
from vinefast.bench.rounds import Plan, run_rounds
from vinefast.bench.table import caption, tables

# A file has no width; this one fits the widest table.
_WIDTH = 150
_QUIET_LOAD_PER_CORE = 0.3


def _names(what: str, known: Collection[str]) -> Callable[[click.Context, click.Parameter, str | None], list[str]]:
    """Make the callback of an option that takes names from a list, separated by commas; without it, it has none."""

    def convert(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str]:
        if value is None:
            return []
        names = [name.strip() for name in value.split(",") if name.strip()]
        for name in names:
            if name not in known:
                raise click.BadParameter(f"there is no {what} {name!r}; known: {', '.join(known)}")
        if not names:
            raise click.BadParameter(f"no {what} is named; known: {', '.join(known)}")
        return list(dict.fromkeys(names))

    return convert


@click.command(short_help="Measure vinefast beside other executors on this machine.")
@click.option("--executors", callback=_names("executor", PEERS), metavar="A,B", help="Default: all that are installed.")
@click.option("--measures", callback=_names("measure", MEASURES), metavar="A,B", help="Default: all.")
@click.option("--rounds", type=click.IntRange(1), help="Default: 3; 1 with --quick.")
@click.option("--slots", type=click.IntRange(1), help="Calls at a time in each executor. Default: as many as cores.")
@click.option("--quick", is_flag=True, help="Few calls: vinefast and Parsl's own executors take a minute.")
@click.option("--tiny", "effort", flag_value="tiny", hidden=True)
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=120,
    show_default=True,
    metavar="S",
    help="Wait so many seconds at most.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Put the record (JSON) and the picture (PNG) there. Default: vinefast-bench-TIME in the current directory.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the record in place of tables.")
@click.option("--list", "only_list", is_flag=True, help="Say what can be measured here, and end.")
def bench(
    executors: list[str],
    measures: list[str],
    rounds: int | None,
    slots: int | None,
    quick: bool,
    effort: str | None,
    timeout: float,
    output: Path | None,
    as_json: bool,
    only_list: bool,
) -> None:
    """Measure vinefast beside the other executors on this machine.

    In each round, every executor is started, measured and shut down, one after the other. The tables show medians over
    the rounds, with the least and the greatest value in parentheses.
    """
    out, err = _console(sys.stdout), _console(sys.stderr)
    if only_list:
        _list(out)
        return
    plan = Plan(
        executors=_installed(executors),
        measures=measures or list(MEASURES),
        effort=effort or ("quick" if quick else "full"),
        rounds=rounds or (1 if quick or effort else 3),
        slots=slots or len(os.sched_getaffinity(0)),
        timeout_s=timeout,
    )
    started = datetime.now(timezone.utc)
    output = _make_directory(output or Path(f"vinefast-bench-{started.astimezone():%Y%m%d-%H%M%S}"))
    load = psutil.getloadavg()
    cores = os.cpu_count() or 1
    if load[0] > _QUIET_LOAD_PER_CORE * cores:
        err.print(
            f"Warning: this machine is busy (load average {load[0]:.1f} on {cores} cores), so the figures will be low "
            "and far apart. Measure again when it is quiet."
        )
    # Short, for Ray's sockets.
    directory = tempfile.mkdtemp(prefix="vfb-")
    try:
        with _progress(err, plan) as on_begin:
            findings = run_rounds(plan, directory, on_begin)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    record = make_record(plan, findings, load, started)
    _write(record, output, err)
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        for title, table in tables(record):
            out.print(title, style="bold", markup=False)
            out.print(table)
            out.print()
        out.print(caption(record))
    err.print(f"Written to {output}", soft_wrap=True)
    if findings.interrupted:
        err.print("Interrupted: this is what there was by then.")
        sys.exit(130)
    if not findings.samples:
        sys.exit(1)


def _console(file: Any) -> Console:
    return Console(file=file, width=None if file.isatty() else _WIDTH, highlight=False)


def _installed(chosen: list[str]) -> list[str]:
    missing = {name: reason for name, peer in PEERS.items() if (reason := peer.why_missing())}
    for name in chosen:
        if name in missing:
            raise click.UsageError(f"{name} cannot be measured: {missing[name]}, or leave it out of --executors")
    return chosen or [name for name in PEERS if name not in missing]


def _list(console: Console) -> None:
    table = Table("executor", "can be measured here")
    for name, peer in PEERS.items():
        reason = peer.why_missing()
        table.add_row(name, f"no: {reason}" if reason else "yes")
    console.print(table)
    table = Table("measure", "what it measures")
    for name, measure in MEASURES.items():
        table.add_row(name, measure.title)
    console.print(table)


def _make_directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output: {path} cannot be made: {error.strerror}; name another directory") from None
    if not os.access(path, os.W_OK):
        raise click.UsageError(f"--output: {path} cannot be written to; name another directory")
    return path


def _write(record: dict[str, Any], output: Path, console: Console) -> None:
    (output / "bench.json").write_text(json.dumps(record, indent=2) + "\n")
    try:
        draw(record, str(output / "bench.png"))
    except ImportError as error:
        console.print(f"No picture: {error}. Install matplotlib: pip install 'vinefast[bench]'", markup=False)


@contextmanager
def _progress(console: Console, plan: Plan) -> Any:
    steps = plan.rounds * len(plan.executors)
    if not console.is_terminal:
        yield _plain_progress(console, plan)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        # One step for each measure, and those for start and shutdown.
        each = len(plan.measures) + 2
        task = progress.add_task("", total=steps * each)
        done = 0

        def on_begin(number: int, executor: str, what: str) -> None:
            nonlocal done
            if what:
                progress.update(task, description=f"round {number} of {plan.rounds}: {executor}: {what}", advance=1)
            else:
                done += 1
                progress.update(task, completed=done * each)

        yield on_begin


def _plain_progress(console: Console, plan: Plan) -> Callable[[int, str, str], None]:
    def on_begin(number: int, executor: str, what: str) -> None:
        if what == "start":
            console.print(f"round {number} of {plan.rounds}: {executor}")

    return on_begin
