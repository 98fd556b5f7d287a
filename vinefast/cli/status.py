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

from vinefast.display.text import duration, one_line, verbatim
from vinefast.errors import EventLogError
from vinefast.events.run import Run, find_all
from vinefast.events.running import find_running
from vinefast.events.state import State, state_of

_ROWS = 10
# For how long an executor is shown that has ended while one looks.
_ENDED_S = 60.0
_SAID = {"lost": "lost, its program was killed or has ended without shutting it down"}


@click.command()
@click.argument("run_dir", required=False, type=click.Path(exists=True))
@click.option("--interval", "interval_s", default=1.0, type=click.FloatRange(0.1), help="Seconds from look to look.")
@click.option("--once", is_flag=True, help="Look once; so it is where standard output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Look once, and print JSON: a list with an object per executor.")
def status(run_dir: str | None, interval_s: float, once: bool, as_json: bool) -> None:
    """Show what executors do: calls, workers, functions.

    RUN_DIR is the directory of a run, such as runinfo/000, or an executor's in it, also if the run has ended. Without
    it, all executors are shown that run on this machine, of this user; those that end meanwhile stay for a minute.
    Ctrl-C ends the view.
    """
    view = _View(run_dir)
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in view.look()], indent=2))
        return
    console = Console()
    if once or not console.is_terminal:
        console.print(_draw(view.look()))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            # Whoever ignores SIGHUP would look on for ever when the terminal is gone.
            while sys.stdout.isatty():
                states = view.look()
                live.update(_draw(states), refresh=True)
                if states and all(state.state in ("ended", "lost") for state in states) and run_dir is not None:
                    return
                time.sleep(interval_s)
    except KeyboardInterrupt:
        sys.exit(0)
    except OSError:  # in the midst of a line
        sys.exit(1)


class _View:
    """What was looked at, so that each look reads on from the one before."""

    def __init__(self, run_dir: str | None) -> None:
        self._run_dir = run_dir
        self._runs: dict[str, Run] = {}
        self._seen_s: dict[str, float] = {}

    def look(self) -> list[State]:
        """Give the executors' states now."""
        try:
            paths = self._running() if self._run_dir is None else find_all(self._run_dir)
        except EventLogError as error:
            raise click.ClickException(str(error)) from None
        states = []
        for path in paths:
            try:
                run = self._runs.setdefault(path, Run(path)) if path not in self._runs else self._runs[path]
                run.update()
                states.append(state_of(run, os.path.dirname(path)))
            except EventLogError as error:
                if self._run_dir is not None:
                    raise click.ClickException(str(error)) from None
        for path in self._runs.keys() - set(paths):
            del self._runs[path]
        return states

    def _running(self) -> list[str]:
        # One that is killed is what one wants to see, and would be gone.
        now_s = time.monotonic()
        self._seen_s |= dict.fromkeys(find_running(), now_s)
        self._seen_s = {path: seen_s for path, seen_s in self._seen_s.items() if now_s - seen_s < _ENDED_S}
        return sorted(self._seen_s)


def _draw(states: list[State]) -> RenderableType:
    if not states:
        return (
            "No executor of yours runs on this machine. With a run directory, such as runinfo/000, vinefast status "
            "shows one elsewhere, or one that has ended."
        )
    parts = [part for state in states for part in (_title(state), _head(state), _workers(state), _functions(state))]
    return Group(*(part for part in parts if part is not None))


def _title(state: State) -> RenderableType:
    # No title of the table, which would be as narrow as that.
    said = _SAID.get(state.state, state.state)
    return verbatim(f"{one_line(state.label)}: {said}, {duration(state.seconds)}", "italic")


def _head(state: State) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("program", verbatim(f"{state.program or '?'} (process {state.pid} on {state.host})"))
    table.add_row("run directory", verbatim(state.directory))
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
    for lack in state.lacks:
        table.add_row("event log", verbatim(f"{lack}: there are more calls than these"))
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
            str(worker.number),
            verbatim(worker.host),
            verbatim(worker.address),
            slots,
            f"{worker.running:,}",
            f"{worker.done:,}",
            verbatim(runs),
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
            verbatim(function.name),
            f"{function.n:,}",
            f"{function.failed:,}",
            duration(function.total_s),
            duration(function.mean_s),
            duration(function.longest_s),
        )
    if len(state.functions) > _ROWS:
        table.caption = f"and {len(state.functions) - _ROWS} more"
    return table


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} TB"
