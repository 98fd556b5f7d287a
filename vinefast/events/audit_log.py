"""Checks the run of an executor from outside, by its event log and what lies beside that."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from vinefast.errors import EventLogError
from vinefast.events import layout
from vinefast.events.about import program_state
from vinefast.events.audit import audit
from vinefast.events.file import EventFile, open_log
from vinefast.events.findings import Findings
from vinefast.events.run import about_of

# What is made for a run in the executor's directory, and removed at the end: workers/run_files.py and by_hand.py.
_PASSING = re.compile(r"(password|key|certificate)-[a-z0-9_]{8}|contact\.json(\.\d+)?")
_TEMPORARY = "temporary-files"
_LOGS = "taskvine"


def audit_log(path: str, is_over: bool = False) -> Findings:
    """Check an event log, and if the run is over, what lies beside it.

    Parameters
    ----------
    path : str
        Of the log.
    is_over : bool
        Whether that is known, also where the log has no end.

    Raises
    ------
    EventLogError
        If there is none that can be read.
    """
    about: list[str] = []
    files, is_cut = _files(path)
    try:
        findings = audit(_records(files, about.append), is_cut)
        behind = files[-1].behind
    finally:
        for file in files:
            file.close()
    if findings.state != "ended" and not is_over:
        try:
            program = about_of(about[-1]) if about else {}
        except ValueError:
            program = {}
        _say_state(findings, program)
    if behind and findings.state != "running":
        findings.unknown.append(f"the event log is cut off: {behind}")
    if findings.state == "ended" and not is_over:
        for name in leftovers(os.path.dirname(path), os.path.join(os.path.dirname(path), _LOGS)):
            findings.add("nothing-left", None, f"{name} is still there")
    return findings


def leftovers(directory: str, runtime_dir: str) -> set[str]:
    """Give the paths of what an executor makes for a run in its directories, and removes at the end."""
    found = set()
    with suppress(OSError):
        found |= {os.path.join(directory, name) for name in os.listdir(directory) if _PASSING.fullmatch(name)}
    temporary = os.path.join(runtime_dir, _TEMPORARY)
    with suppress(OSError):
        found |= {os.path.join(temporary, name) for name in os.listdir(temporary)}
    return found


def _files(path: str) -> tuple[list[EventFile], bool]:
    """Open the files of a log, the older one first; tells also whether there were others before."""
    files = open_log(path)
    if not files:
        raise EventLogError(f"There is no event log {path}")
    # One beside the newest that is not the one before it is of another executor.
    if len(files) > 1 and not files[1].head.is_after(files[0].head):
        files.pop(0).close()
    return files, files[0].head.generation > 0


def _records(files: list[EventFile], note_about: Callable[[str], object]) -> Iterator[tuple[int, memoryview]]:
    for file in files:
        for kind, body in file.records():
            if kind == layout.RUN:
                note_about(layout.text_of(body))
            yield kind, body
        if file.behind and file is not files[-1]:
            raise ValueError(f"{file.path}: {file.behind}")


def _say_state(findings: Findings, about: dict[str, object]) -> None:
    state = program_state(about)
    if state == "running":
        findings.state = "running"
        findings.unknown.append("the executor is running: what comes is not known")
    elif state == "elsewhere":
        host = about.get("host") or "another host"
        findings.unknown.append(f"the log has no end, and whether its program still runs on {host} is not known here")
