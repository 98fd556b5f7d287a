"""``vinefast trace``: a run for a viewer of traces."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from vinefast.cli.newest import newest_run
from vinefast.cli.outputs import runs_and_outputs, written
from vinefast.display.progress import Progress
from vinefast.display.state import Counts
from vinefast.display.text import one_line
from vinefast.errors import EventLogError
from vinefast.events import chrome_trace, perfetto_trace
from vinefast.events.trace import trace_of

_QUIET_S = 2.0
_FORMATS = {"perfetto": (perfetto_trace.write, "trace.pftrace"), "chrome": (chrome_trace.write, "trace.json")}


@click.command()
@click.argument("run_dir", type=click.Path(exists=True), required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to; trace.pftrace, or trace.json for Chrome's format, if not given.",
)
@click.option(
    "--format",
    "name",
    type=click.Choice(list(_FORMATS)),
    default="perfetto",
    help="Perfetto's own format, or Chrome's JSON, which is two to four times as large and needs no package.",
)
@click.option(
    "--max-calls",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1),
    help="Of more calls, the last ones are written: a million take 7 to 15 s and 60 to 125 MB.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON about the files: a list with an object for each.")
def trace(run_dir: str | None, output: Path | None, name: str, max_calls: int, as_json: bool) -> None:
    """Write a trace of a run, for Perfetto.

    RUN_DIR is the directory of a run, such as runinfo/000, or an executor's in it; without it, the newest one in
    ./runinfo. The run may still go on. If it has several executors, each has a file, with its label in the name.
    https://ui.perfetto.dev opens it, and shows each call in its slot; nothing is sent anywhere by that.
    """
    write, default = _FORMATS[name]
    figures = []
    try:
        for run, _, target in runs_and_outputs(run_dir or newest_run(), output or Path(default)):
            began = time.monotonic()
            found = trace_of(run, max_calls)
            if name == "perfetto":
                perfetto_trace.load()  # before a file is touched
            with written(target) as file, _Bar(str(target), len(found.calls)) as bar:
                write(found, file, bar.tell)
            figures.append(
                {
                    "file": str(target),
                    "executor": found.name,
                    "format": name,
                    "calls": len(found.calls),
                    "calls_before": found.n_calls_before,
                    "records_missing": run.n_left_out,
                    "lacks": run.lacks(),
                    "tracks": found.n_tracks,
                    "bytes": target.stat().st_size,
                    "seconds": round(time.monotonic() - began, 3),
                }
            )
            if not as_json:
                click.echo("\n".join(_lines(figures[-1])))
    except ImportError as error:
        raise click.ClickException(f"{error}: pip install 'vinefast[trace]', or use --format chrome") from None
    except (EventLogError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(figures, indent=2))


def _lines(figures: dict[str, Any]) -> list[str]:
    size = f"{figures['bytes'] / 1e6:.1f} MB"
    lines = [f"{figures['file']}: {figures['calls']:,} calls on {figures['tracks']:,} tracks, {size}"]
    if figures["calls_before"]:
        lines.append(f"{figures['calls_before']:,} earlier calls are left out: --max-calls takes more")
    return lines + [one_line(f"event log: {lack}") for lack in figures["lacks"]]


class _Bar:
    """A bar on a terminal, if it takes more than two seconds."""

    def __init__(self, title: str, n_calls: int) -> None:
        self._n_calls, self._done = n_calls, 0
        self._began = time.monotonic()
        self._progress = Progress(title, lambda: Counts(self._n_calls, self._done))
        self._is_shown = False

    def tell(self, n_calls: int) -> None:
        self._done = n_calls
        if not self._is_shown and time.monotonic() - self._began > _QUIET_S:
            self._is_shown = True
            self._progress.start()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
