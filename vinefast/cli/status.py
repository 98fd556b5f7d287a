"""``vinefast status``: what executors do now."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any, Protocol

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live

from vinefast.cli.newest import complete_run
from vinefast.cli.status_executors import draw_executors
from vinefast.cli.status_managers import draw_catalog, draw_manager, look_at_manager
from vinefast.errors import EventLogError
from vinefast.events.run import Run, find_all
from vinefast.events.running import find_running
from vinefast.events.state import State, state_of
from vinefast.workers.contact import ADDRESS, speaks_tls
from vinefast.workers.managers import Catalog

# For how long an executor is shown that has ended while one looks.
_ENDED_S = 60.0


@click.command()
@click.argument("where", required=False, metavar="[RUN_DIR|HOST:PORT]", shell_complete=complete_run)
@click.option("--all", "every", is_flag=True, help="Show what TaskVine's catalog lists, too: managers of whomever.")
@click.option(
    "--catalog", metavar="HOST:PORT", help="Which catalog (with --all; else CATALOG_HOST, else TaskVine's own)."
)
@click.option("--interval", "interval_s", default=1.0, type=click.FloatRange(0.1), help="Seconds from look to look.")
@click.option("--once", is_flag=True, help="Look once; so it is where standard output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Look once, and print JSON: an object per executor.")
def status(where: str | None, every: bool, catalog: str | None, interval_s: float, once: bool, as_json: bool) -> None:
    """Show what executors do: calls, workers, functions.

    RUN_DIR is the directory of a run, such as runinfo/000, or an executor's in it, also if the run has ended. Without
    it, all executors are shown that run on this machine, of this user; those that end meanwhile stay for a minute.
    Ctrl-C ends the view.

    HOST:PORT is any manager of TaskVine that asks for no password, also one that vinefast has not started: tasks and
    workers are shown, as it describes them itself. --all adds the managers that TaskVine's catalog lists.
    """
    view = _view(where, Catalog(catalog) if every or catalog else None)
    try:
        if as_json:
            click.echo(json.dumps(view.as_data(), indent=2))
        elif once or not (console := Console()).is_terminal:
            Console().print(view.draw(wait=True))
        else:
            _look_on(view, console, max(interval_s, view.least_interval_s))
    finally:
        view.close()


def _look_on(view: _View, console: Console, interval_s: float) -> None:
    try:
        with Live(console=console, auto_refresh=False) as live:
            # Whoever ignores SIGHUP would look on for ever when the terminal is gone.
            while sys.stdout.isatty():
                live.update(view.draw(), refresh=True)
                if view.is_over:
                    return
                time.sleep(interval_s)
    except KeyboardInterrupt:
        sys.exit(0)
    except OSError:  # in the midst of a line
        sys.exit(1)


class _View(Protocol):
    """What is looked at, again and again."""

    least_interval_s: float
    """No look follows another sooner."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to come."""

    def draw(self, wait: bool = False) -> RenderableType:
        """Look, and give what a terminal shows; `wait`: for all answers."""

    def as_data(self) -> Any:
        """Look, and give what is JSON."""

    def close(self) -> None:
        """Look no more."""


def _view(where: str | None, catalog: Catalog | None) -> _View:
    if where is None:
        return _Executors(None, catalog)
    if catalog is not None:
        raise click.UsageError("--all and --catalog show all there is: give neither RUN_DIR nor HOST:PORT with them")
    if os.path.exists(where):
        return _Executors(where, None)
    found = ADDRESS.fullmatch(where)
    if found is None:
        raise click.UsageError(f"there is no directory {where!r}; accepted: the directory of a run, or HOST:PORT")
    return _Manager(found["host"].strip("[]"), int(found["port"]))


class _Manager:
    """A manager of TaskVine, which answers on the thread that serves its workers: it is not asked often."""

    least_interval_s = 2.0
    is_over = False

    def __init__(self, host: str, port: int) -> None:
        # Asked once, not before each look: the manager takes each question for a worker that may come.
        self._where = host, port, speaks_tls(host, port)

    def draw(self, wait: bool = False) -> RenderableType:
        return draw_manager(*look_at_manager(*self._where))

    def as_data(self) -> Any:
        manager, workers = look_at_manager(*self._where)
        return {**asdict(manager), "connected": [asdict(worker) for worker in workers]}

    def close(self) -> None:
        pass


class _Executors:
    """Executors of vinefast, by their event logs; what was read is kept, so that each look reads on from there."""

    least_interval_s = 0.0

    def __init__(self, run_dir: str | None, catalog: Catalog | None) -> None:
        self._run_dir = run_dir
        self._catalog = catalog
        self._runs: dict[str, Run] = {}
        self._seen_s: dict[str, float] = {}
        self._states: list[State] = []

    @property
    def is_over(self) -> bool:
        ended = all(state.state in ("ended", "lost") for state in self._states)
        return self._run_dir is not None and bool(self._states) and ended

    def draw(self, wait: bool = False) -> RenderableType:
        self._look()
        if self._catalog is None:
            return draw_executors(self._states)
        self._catalog.look(wait)
        return Group(draw_catalog(self._catalog), draw_executors(self._states))

    def as_data(self) -> Any:
        self._look()
        executors = [state.as_dict() for state in self._states]
        if self._catalog is None:
            return executors
        managers = [asdict(manager) for manager in self._catalog.look(wait=True)]
        return {"executors": executors, "managers": managers, "catalog_error": self._catalog.error}

    def close(self) -> None:
        if self._catalog is not None:
            self._catalog.close()

    def _look(self) -> None:
        try:
            paths = self._running() if self._run_dir is None else find_all(self._run_dir)
        except EventLogError as error:
            raise click.ClickException(str(error)) from None
        self._states = []
        for path in paths:
            try:
                run = self._runs.setdefault(path, Run(path)) if path not in self._runs else self._runs[path]
                run.update()
                self._states.append(state_of(run, os.path.dirname(path)))
            except EventLogError as error:
                if self._run_dir is not None:
                    raise click.ClickException(str(error)) from None
        for path in self._runs.keys() - set(paths):
            del self._runs[path]

    def _running(self) -> list[str]:
        # One that is killed is what one wants to see, and would be gone.
        now_s = time.monotonic()
        self._seen_s |= dict.fromkeys(find_running(), now_s)
        self._seen_s = {path: seen_s for path, seen_s in self._seen_s.items() if now_s - seen_s < _ENDED_S}
        return sorted(self._seen_s)
