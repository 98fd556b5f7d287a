"""Rounds: in each, every executor is measured once, so that none has the quiet minutes for itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vinefast._child import Child, last_line


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes
    ----------
    executors, measures : sequence of str
        Their names.
    effort : str
        Name of the effort.
    rounds : int
        How many rounds.
    slots : int
        How many calls run at a time in each executor.
    timeout_s : float
        An executor that gives no answer for so long is ended.
    """

    executors: Sequence[str]
    measures: Sequence[str]
    effort: str
    rounds: int
    slots: int
    timeout_s: float = 120.0


@dataclass
class Findings:
    """What has been found so far.

    Attributes
    ----------
    samples : list of dict
        ``round``, ``executor``, ``measure``, ``case`` and ``metrics`` of each.
    failures : list of dict
        ``round``, ``executor``, ``measure`` and ``reason`` of what did not work.
    skipped : list of dict
        The same of what says nothing about an executor.
    interrupted : bool
        Whether the plan was given up before its end.
    """

    samples: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False


def run_rounds(plan: Plan, directory: str, on_begin: Callable[[int, str, str], None]) -> Findings:
    """Carry out a plan.

    Parameters
    ----------
    plan : Plan
        What to measure.
    directory : str
        For files that nobody needs afterwards.
    on_begin : callable
        Called with round, executor and what begins; an empty string when the executor is done.

    Returns
    -------
    Findings
        What there is, if interrupted by the keyboard.
    """
    findings = Findings()
    try:
        for index in range(plan.rounds):
            shift = index % len(plan.executors)
            # None always follows the same one.
            for executor in [*plan.executors[shift:], *plan.executors[:shift]]:
                _run_one(plan, index + 1, executor, directory, findings, on_begin)
    except KeyboardInterrupt:
        findings.interrupted = True
    return findings


def _run_one(
    plan: Plan,
    number: int,
    executor: str,
    directory: str,
    findings: Findings,
    on_begin: Callable[[int, str, str], None],
) -> None:
    # Ray's sockets are in there, and a socket's path must be shorter than 108 characters.
    own = os.path.join(directory, f"{number}{executor}")
    os.mkdir(own)
    arguments = {
        "executor": executor,
        "measures": list(plan.measures),
        "effort": plan.effort,
        "slots": plan.slots,
        "directory": own,
    }
    log_path = os.path.join(own, "log")
    now = "start"
    failed = False

    def fail(reason: str) -> None:
        findings.failures.append({"round": number, "executor": executor, "measure": now, "reason": reason})

    with open(log_path, "wb") as log, Child("vinefast.bench.child", arguments, own, log) as child:
        for message in child.messages(plan.timeout_s):
            if message is None:
                fail(f"no answer for {plan.timeout_s:g} s")
                failed = True
                break
            if "begin" in message:
                now = message["begin"]
                on_begin(number, executor, now)
            elif "measure" in message:
                findings.samples.append({"round": number, "executor": executor, **message})
            elif "skipped" in message:
                findings.skipped.append(
                    {"round": number, "executor": executor, "measure": now, "reason": message["reason"]}
                )
            else:
                now = message["failed"]
                fail(message["reason"])
        if not failed and child.process.wait() != 0:
            fail(f"its process ended with {child.process.returncode}: {last_line(log_path)}")
    on_begin(number, executor, "")
