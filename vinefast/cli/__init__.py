"""The command ``vinefast``."""

from __future__ import annotations

import click

from vinefast.bench.command import bench
from vinefast.cli.tune import tune
from vinefast.cli.worker import worker


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vinefast", prog_name="vinefast")
def main() -> None:
    """Thousands to millions of short Python calls with Parsl, on the TaskVine engine."""


main.add_command(bench)
main.add_command(tune)
main.add_command(worker)
