"""The command ``vinefast``."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import Any

import click

from vinefast.bench.command import bench
from vinefast.cli.audit import audit
from vinefast.cli.completion import completion
from vinefast.cli.doctor import doctor
from vinefast.cli.info import info
from vinefast.cli.report import report
from vinefast.cli.sections import Sections
from vinefast.cli.status import status
from vinefast.cli.trace import trace
from vinefast.cli.tune import tune
from vinefast.cli.why import why
from vinefast.cli.worker import worker


class _Commands(Sections):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what the system refuses, such as to write to a disk that is full, is no fault of ours."""
        if sys.stdout is None:  # it was closed
            sys.stdout = open(os.devnull, "w")
        # Names and messages may have what the terminal's, or the file's, encoding has not.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="vinefast", prog_name="vinefast")
def main() -> None:
    """Thousands to millions of short Python calls with Parsl, on the TaskVine engine."""


for _command in (audit, bench, completion, doctor, info, report, status, trace, tune, why, worker):
    main.add_command(_command)
