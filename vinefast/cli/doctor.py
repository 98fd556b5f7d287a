"""``vinefast doctor``: check this machine, a worker's command or a configuration, and say what to do."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from vinefast.display.text import verbatim
from vinefast.doctor.check import ERROR, OK, WARNING, Check, error
from vinefast.doctor.examination import Plan, examine
from vinefast.workers.scratch import Scratch

_WIDTH = 120
_MARKS = {OK: ("ok", "green"), WARNING: ("warning", "yellow"), ERROR: ("error", "red")}
_MARK_WIDTH = 7


@click.command(short_help="Check a machine, a worker's command or a configuration.")
@click.argument("run_dir", required=False, metavar="[RUN_DIR]", type=click.Path())
@click.option(
    "--config",
    "configuration",
    metavar="FILE.py[:NAME]",
    help="Check what this program configures: a Parsl Config, an executor, or a function that makes one. Default: what "
    "the program loads, or config or fresh_config. It runs up to there, and starts nothing.",
)
@click.option(
    "--worker-command",
    metavar="COMMAND",
    help="Check a command that starts a worker, such as 'ssh node7 vine_worker', with a throw-away manager. In it, "
    "{host}, {port}, {password_file} and {run_dir} stand for that manager's; without them, the options of vine_worker "
    "are appended.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=30,
    show_default=True,
    metavar="S",
    help="Wait so many seconds for a worker.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of text.")
def doctor(
    run_dir: str | None, configuration: str | None, worker_command: str | None, timeout: float, as_json: bool
) -> None:
    """Check this machine, a worker's command or a configuration, and say what to do.

    Without options, this machine: limits, disks, names, TLS, and whether a real worker joins and runs a call, with and
    without TLS. RUN_DIR is the directory of a run, or where one is to be.

    The exit code is 0 if there is no error, else 1. It ends within minutes, whatever hangs, and leaves nothing behind.

    \b
    Examples:
      vinefast doctor
      vinefast doctor --config program.py
      vinefast doctor --worker-command 'srun -n1 vine_worker' --timeout 300
    """  # noqa: D301
    if configuration is not None and not os.path.isfile(configuration.partition(":")[0]):
        raise click.UsageError(f"--config: {configuration.partition(':')[0]} is no file; accepted: FILE.py[:NAME]")
    plan = Plan(run_dir, configuration, worker_command, timeout)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False, soft_wrap=False)
    checks: list[Check] = []
    with _interrupted_by_signals(), _scratch() as directory:
        with console.status("looking ...") if sys.stdout.isatty() and not as_json else _nothing():
            # At its end, or if interrupted here, it ends what it has started, and only then the directory goes.
            with closing(_examined(plan, directory)) as examined:
                for check in examined:
                    checks.append(check)
                    if not as_json:
                        _show(console, check)
    levels = Counter(check.level for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": not levels[ERROR], "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        counted = [f"{levels[level]} {level}{'s' * (levels[level] != 1)}" for level in (WARNING, ERROR)]
        console.print(f"\n{levels[OK]} ok, {', '.join(counted)}")
    sys.exit(1 if levels[ERROR] else 0)


def _show(console: Console, check: Check) -> None:
    mark, colour = _MARKS[check.level]
    line = Table.grid(padding=(0, 1))
    line.add_column(width=_MARK_WIDTH)
    line.add_column(overflow="fold")
    # Text, since what was seen may have brackets.
    line.add_row(
        verbatim(mark, style=colour), verbatim(f"{check.name}: ", style="bold") + verbatim(check.seen, style="not bold")
    )
    if check.advice:
        line.add_row("", verbatim(f"-> {check.advice}"))
    console.print(line)


def _examined(plan: Plan, directory: str | None) -> Generator[Check, None, None]:
    if directory is None:
        yield error("temporary directory", "no file can be made in any", "make room, or choose one by TMPDIR")
    else:
        yield from examine(plan, directory)


@contextmanager
def _scratch() -> Iterator[str | None]:
    """Make a directory that goes with this program, however it ends; None: there is no place for one."""
    try:
        scratch = Scratch(None)
    except OSError:
        yield None
        return
    try:
        yield scratch.path
    finally:
        scratch.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Have all be ended in order on a signal that would end this program at once."""

    def interrupt(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    # Who has it ignored, as nohup does, wants that.
    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
