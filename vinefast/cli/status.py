"""``vinefast status``: what executors do now."""

from __future__ import annotations

import json
import os
import sys
import time

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from vinefast.errors import EventLogError
from vinefast.events.run import Run, find_all
from vinefast.events.running import find_running
from vinefast.events.state import State, state_of

_ROWS = 10


@click.command()
@click.argument("run_dir", required=False, type=click.Path(exists=True))
@click.option("--interval", "interval_s", default=1.0, type=click.FloatRange(0.1), help="Seconds from look to look.")
@click.option("--once", is_flag=True, help="Look once; so it is where standard output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Look once, and print JSON: a list with an object per executor.")
def status(run_dir: str | None, interval_s: float, once: bool, as_json: bool) -> None:
    """Show what executors do: calls, workers, functions.

    RUN_DIR is the directory of a run, such as runinfo/000, or an executor's in it, also if the run has ended. Without
    it, all executors are shown that run on this machine, of this user. Ctrl-C ends the view.
    """
    runs: dict[str, Run] = {}
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in _look(runs, run_dir)], indent=2))
        return
    console = Console()
    if once or not console.is_terminal:
        console.print(_draw(_look(runs, run_dir)))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                states = _look(runs, run_dir)
                live.update(_draw(states), refresh=True)
                if states and all(state.state in ("ended", "lost") for state in states) and run_dir is not None:
                    return
                time.sleep(interval_s)
    except KeyboardInterrupt:
        sys.exit(0)


def _look(runs: dict[str, Run], run_dir: str | None) -> list[State]:
    try:
        paths = find_running() if run_dir is None else find_all(run_dir)
    except EventLogError as error:
        raise click.ClickException(str(error)) from None
    states = []
    for path in paths:
        try:
            run = runs.setdefault(path, Run(path)) if path not in runs else runs[path]
            run.update()
            states.append(state_of(run, os.path.dirname(path)))
        except (EventLogError, FileNotFoundError) as error:
            if run_dir is not None:
                raise click.ClickException(str(error)) from None
    for path in runs.keys() - set(paths):
        del runs[path]
    return states


def _draw(states: list[State]) -> RenderableType:
    if not states:
        return (
            "No executor of yours runs on this machine. With a run directory, such as runinfo/000, vinefast status "
            "shows one elsewhere, or one that has ended."
        )
    tables = [table for state in states for table in (_head(state), _workers(state), _functions(state))]
    return Group(*(table for table in tables if table is not None))


def _head(state: State) -> Table:
    table = Table(
        title=f"{state.label}: {state.state}, {_duration(state.seconds)}", title_justify="left", show_header=False
    )
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("program", f"{state.program or '?'} (process {state.pid} on {state.host})")
    table.add_row("run directory", state.directory)
    parts = (
        (state.waiting, "waiting"),
        (state.running, "with workers"),
        (state.done, "done"),
        (state.failed, "failed"),
        (state.cancelled, "cancelled"),
        (state.again, "run again"),
    )
    table.add_row("calls", ", ".join(f"{n:,} {name}" for n, name in parts if n or name in ("waiting", "done")))
    if state.rate:
        table.add_row("rate", f"{state.rate:,.0f} calls/s")
    counters = state.counters
    if counters:
        now = f"{counters.get('workers_connected', 0):,} with {counters.get('slots', 0):,} slots"
        joined = f"{counters.get('workers_joined', 0):,} joined so far"
        table.add_row("workers", joined if state.state in ("ended", "lost") else f"{now}; {joined}")
        table.add_row(
            "bytes",
            f"{_size(counters.get('bytes_sent', 0))} sent, {_size(counters.get('bytes_returned', 0))} returned; "
            f"{counters.get('files_moved', 0):,} files moved",
        )
    if state.left_out:
        table.add_row("event log", f"{state.left_out:,} records are missing: there are more calls than these")
    return table


def _workers(state: State) -> Table | None:
    if not state.workers or state.state == "ended":
        return None
    table = Table(title="workers", title_justify="left")
    for name in ("", "host", "address", "slots", "calls", "done", "runs"):
        table.add_column(name, justify="right" if name in ("", "slots", "calls", "done") else "left")
    busiest = sorted(state.workers, key=lambda worker: (-worker.running, worker.number))
    for worker in busiest[:_ROWS]:
        runs = ", ".join(f"{name} x {n}" if n > 1 else name for name, n in worker.functions.items())
        slots = "?" if worker.slots is None else str(worker.slots)
        table.add_row(
            str(worker.number), worker.host, worker.address, slots, f"{worker.running:,}", f"{worker.done:,}", runs
        )
    if len(busiest) > _ROWS:
        table.caption = f"and {len(busiest) - _ROWS} more"
    return table


def _functions(state: State) -> Table | None:
    if not state.functions:
        return None
    table = Table(title="functions, by their time in slots", title_justify="left")
    for name in ("", "calls", "failed", "in all", "mean", "longest"):
        table.add_column(name, justify="right" if name else "left")
    for function in state.functions[:_ROWS]:
        table.add_row(
            function.name,
            f"{function.n:,}",
            f"{function.failed:,}",
            _duration(function.total_s),
            _duration(function.mean_s),
            _duration(function.longest_s),
        )
    if len(state.functions) > _ROWS:
        table.caption = f"and {len(state.functions) - _ROWS} more"
    return table


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f}:{seconds % 60:02.0f}"


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} TB"
