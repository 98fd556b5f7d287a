"""The command ``vinefast``."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from vinefast.bench.command import bench
from vinefast.cli.completion import completion
from vinefast.cli.doctor import doctor
from vinefast.cli.info import info
from vinefast.cli.report import report
from vinefast.cli.sections import Sections
from vinefast.cli.status import status
from vinefast.cli.tune import tune
from vinefast.cli.why import why
from vinefast.cli.worker import worker


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="vinefast", prog_name="vinefast")
def main() -> None:
    """Thousands to millions of short Python calls with Parsl, on the TaskVine engine."""
    # Names and messages may have what the terminal's, or the file's, encoding has not.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


for _command in (bench, completion, doctor, info, report, status, tune, why, worker):
    main.add_command(_command)
