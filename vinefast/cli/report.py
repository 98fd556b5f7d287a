"""``vinefast report``: a page about a run."""

from __future__ import annotations

from pathlib import Path

import click

from vinefast.cli.newest import newest_run
from vinefast.cli.outputs import runs_and_outputs, written
from vinefast.errors import EventLogError
from vinefast.events.report import report_of


@click.command()
@click.argument("run_dir", type=click.Path(exists=True), required=False)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to; report.html if not given."
)
def report(run_dir: str | None, output: Path | None) -> None:
    """Write a page with pictures of a run.

    RUN_DIR is the directory of a run, such as runinfo/000, or an executor's in it; without it, the newest one in
    ./runinfo. The run may still go on. If it has several executors, each has a page, with its label in the name. The
    page needs no network.
    """
    try:
        for run, directory, target in runs_and_outputs(run_dir or newest_run(), output or Path("report.html")):
            page = report_of(run, directory).encode("utf-8", "replace")
            with written(target) as file:
                file.write(page)
            click.echo(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    except ImportError as error:
        raise click.ClickException(f"{error}: pip install 'vinefast[report]'") from None
    except (EventLogError, OSError) as error:
        raise click.ClickException(str(error)) from None
