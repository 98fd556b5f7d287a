"""``vinefast report``: a page about a run."""

from __future__ import annotations

import os
from pathlib import Path

import click

from vinefast.errors import EventLogError
from vinefast.events.report import report_of
from vinefast.events.run import Run, find_all


@click.command()
@click.argument("run_dir", type=click.Path(exists=True))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to; report.html if not given."
)
def report(run_dir: str, output: Path | None) -> None:
    """Write a page with pictures of a run.

    RUN_DIR is the directory of a run, such as runinfo/000, or an executor's in it; the run may still go on. If it has
    several executors, each has a page, with its label in the name. The page needs no network.
    """
    try:
        paths = find_all(run_dir)
        for path in paths:
            run = Run(path)
            run.update()
            directory = os.path.dirname(path)
            target = output or Path("report.html")
            if len(paths) > 1:
                target = target.with_stem(f"{target.stem}-{os.path.basename(directory)}")
            target.write_text(report_of(run, directory), encoding="utf-8", errors="replace")
            click.echo(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    except ImportError as error:
        raise click.ClickException(f"{error}: pip install 'vinefast[report]'") from None
    except (EventLogError, OSError) as error:
        raise click.ClickException(str(error)) from None
