"""Executors of vinefast in ``vinefast status``."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from vinefast.display.text import duration, one_line, verbatim
from vinefast.events.state import State

_ROWS = 10
_OVER = ("ended", "lost")
_SAID = {"lost": "lost, its program was killed or has ended without shutting it down"}


def draw_executors(states: list[State]) -> RenderableType:
    """Make tables of executors."""
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
    is_over = state.state in _OVER
    parts = (
        (state.waiting, "waiting at the end" if is_over else "waiting"),
        (state.running, "with workers at the end" if is_over else "with workers"),
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
        table.add_row("workers", joined if is_over else f"{now}; {joined}")
        table.add_row(
            "bytes",
            f"{_size(counters.get('bytes_sent', 0))} sent, {_size(counters.get('bytes_returned', 0))} returned; "
            f"{counters.get('files_moved', 0):,} files moved",
        )
    for lack in state.lacks:
        table.add_row("event log", verbatim(lack))
    return table


def _workers(state: State) -> Table | None:
    if not state.workers or state.state == "ended":
        return None
    table = Table(title="workers", title_justify="left")
    for name in ("", "host", "address", "slots", "has", "ended", "runs"):
        table.add_column(name, justify="right" if name in ("", "slots", "has", "ended") else "left")
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
    for name in ("", "calls", "failed", "cancelled", "in all", "mean", "longest"):
        table.add_column(name, justify="right" if name else "left")
    for function in state.functions[:_ROWS]:
        table.add_row(
            verbatim(function.name),
            f"{function.n:,}",
            f"{function.failed:,}",
            f"{function.cancelled:,}",
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
