"""Managers of TaskVine in ``vinefast status``, whoever has started them."""

from __future__ import annotations

import getpass
import time

import click
from rich.console import Group, RenderableType
from rich.table import Table

from vinefast.display.text import duration, one_line, verbatim
from vinefast.errors import EngineStartError
from vinefast.workers.managers import Catalog, ManagerState, WorkerOfManager, ask

_ROWS = 20


def look_at_manager(host: str, port: int, tls: bool) -> tuple[ManagerState, list[WorkerOfManager]]:
    """Ask a manager how it is with it.

    Raises
    ------
    click.ClickException
        If it does not answer.
    """
    try:
        return ask(host, port, tls)
    except EngineStartError as error:
        raise click.ClickException(
            f"the manager at {host}:{port} does not say how it is with it: {error}. A manager that has a password "
            "answers its workers alone. Of an executor of vinefast, 'vinefast status RUN_DIR' tells more."
        ) from None


def draw_manager(manager: ManagerState, workers: list[WorkerOfManager]) -> RenderableType:
    """Make tables of a manager and its workers."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("project", verbatim(manager.project or "none: it is in no catalog"))
    table.add_row("owner", verbatim(manager.owner))
    table.add_row("TaskVine", verbatim(f"{manager.version}, protocol {_or_unknown(manager.protocol)}"))
    if manager.started_s:
        table.add_row("runs for", duration(max(0.0, time.time() - manager.started_s)))
    table.add_row("tasks", f"{manager.waiting:,} waiting, {manager.running:,} running, {manager.done:,} done")
    table.add_row("workers", f"{manager.workers:,}")
    title = verbatim(f"manager at {one_line(manager.host)}:{manager.port}", "italic")
    return Group(title, table, *([_workers(workers)] if workers else []))


def draw_catalog(catalog: Catalog) -> RenderableType:
    """Make a table of the managers that a catalog lists, those of this user first."""
    managers = catalog.look()
    if catalog.error:
        return verbatim(f"TaskVine's catalog cannot be asked: {catalog.error}")
    if not managers:
        return "TaskVine's catalog is being asked ..." if catalog.is_asked else "TaskVine's catalog lists no manager."
    table = Table(title="managers in TaskVine's catalog", title_justify="left")
    numbers = ("port", "waiting", "running", "done", "workers")
    for name in ("project", "owner", "host", *numbers):
        table.add_column(name, justify="right" if name in numbers else "left")
    me = _user()
    shown = sorted(managers, key=lambda manager: manager.owner != me)
    for manager in shown[:_ROWS]:
        table.add_row(
            verbatim(one_line(manager.project)),
            verbatim(one_line(manager.owner)),
            verbatim(one_line(manager.host)),
            str(manager.port),
            *(f"{n:,}" for n in (manager.waiting, manager.running, manager.done, manager.workers)),
        )
    if len(shown) > _ROWS:
        table.caption = f"and {len(shown) - _ROWS} more"
    return table


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a user may have a number alone
        return ""


def _workers(workers: list[WorkerOfManager]) -> Table:
    table = Table(title="workers", title_justify="left")
    numbers = ("cores", "MB", "GPUs", "running", "done")
    for name in ("host", "address", *numbers):
        table.add_column(name, justify="right" if name in numbers else "left")
    busiest = sorted(workers, key=lambda worker: -worker.running)
    for worker in busiest[:_ROWS]:
        table.add_row(
            verbatim(one_line(worker.host)),
            verbatim(one_line(worker.address)),
            f"{worker.cores_used} of {worker.cores}",
            *(f"{n:,}" for n in (worker.memory_mb, worker.gpus, worker.running, worker.done)),
        )
    if len(busiest) > _ROWS:
        table.caption = f"and {len(busiest) - _ROWS} more"
    return table


def _or_unknown(number: int | None) -> str:
    return "unknown" if number is None else str(number)
