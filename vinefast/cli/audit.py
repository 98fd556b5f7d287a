"""``vinefast audit``: whether a run has kept the rules of vinefast."""

from __future__ import annotations

import json
import os
import sys

import click
from rich.console import Console

from vinefast.cli.newest import newest_run
from vinefast.display.text import one_line, verbatim
from vinefast.errors import EventLogError
from vinefast.events.audit_log import audit_log
from vinefast.events.findings import RULES, Findings
from vinefast.events.run import find_all

_STATUS = {"passed": 0, "failed": 1, "unknown": 3}


class _CannotTell(click.ClickException):
    exit_code = _STATUS["unknown"]


@click.command()
@click.argument("run_dir", type=click.Path(exists=True), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(run_dir: str | None, as_json: bool) -> None:
    """Check whether a run has kept the rules of vinefast.

    By its event log: each call ends once, in its own bundle, and so on. RUN_DIR is the directory of a run, such as
    runinfo/000, or an executor's in it; without it, the newest one in ./runinfo. The run has ended, or its program was
    killed: then calls that were not done are counted. The exit status is 1 if a rule is broken, and 3 if none is, as
    far as the log can tell, and that is not all, or there is none.
    """
    try:
        found = {_label(path): audit_log(path) for path in find_all(run_dir or newest_run())}
    except EventLogError as error:
        raise _CannotTell(str(error)) from None
    if as_json:
        click.echo(json.dumps({label: findings.as_dict() for label, findings in found.items()}, indent=2))
    else:
        console = Console()
        for label, findings in found.items():
            _print(console, label, findings)
    verdicts = {findings.verdict for findings in found.values()}
    sys.exit(next((_STATUS[verdict] for verdict in ("failed", "unknown") if verdict in verdicts), 0))


def _label(path: str) -> str:
    return os.path.basename(os.path.dirname(os.path.abspath(path)))


def _print(console: Console, label: str, findings: Findings) -> None:
    said = {
        "passed": "no rule is broken",
        "failed": f"{sum(findings.counts.values()):,} breaches of {len(findings.counts)} of {len(RULES)} rules",
        "unknown": "no rule is broken, as far as can be told",
    }
    console.print(verbatim(f"{one_line(label)}: {said[findings.verdict]}", "bold"))
    numbers = f"{findings.state}; {findings.ended:,} calls ended"
    if findings.unfinished:
        numbers += f", {findings.unfinished:,} had not ended"
    console.print(numbers)
    for text in findings.unknown:
        console.print(verbatim(f"not known: {one_line(text)}"), soft_wrap=True)
    for rule, n in findings.counts.items():
        console.print(verbatim(f"\n{rule}: {RULES[rule]}", "bold"), soft_wrap=True)
        shown = [breach for breach in findings.breaches if breach.rule == rule]
        for breach in shown:
            call = "" if breach.call is None else f"call {breach.call} "
            console.print(verbatim(f"  {call}{one_line(breach.text)}"), soft_wrap=True)
        if n > len(shown):
            console.print(f"  and {n - len(shown):,} more")
