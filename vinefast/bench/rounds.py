"""Rounds: in each, every executor is measured once, so that none has the quiet minutes for itself."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

_MARK = "VINEFAST_BENCH_MARK"
_GRACE_S = 10.0
_LEAVING_S = 3.0
# `-c` and not `-m`: executors that spawn processes would have each of them import the module again.
_PROGRAM = "from vinefast.bench.child import main; main()"


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

    with open(log_path, "wb") as log, _Child(json.dumps(arguments), own, log) as child:
        for message in _messages(child, plan.timeout_s):
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
        if not failed and child.wait() != 0:
            fail(f"its process ended with {child.returncode}: {_last_line(log_path)}")
    on_begin(number, executor, "")


class _Child:
    """A process that measures one executor; in the end, neither it nor anything that it started is left."""

    def __init__(self, arguments: str, directory: str, log: Any) -> None:
        self._mark = uuid.uuid4().hex
        self._arguments = arguments
        self._directory = directory
        self._log = log

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, self._arguments],
            # Its end of file tells that this process is gone.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._directory,
            env={**os.environ, _MARK: self._mark},
            # The terminal's interrupt is for this process, which then ends the other in order.
            start_new_session=True,
        )
        return self._process

    def __exit__(self, *error: object) -> None:
        process = self._process
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
            end = time.monotonic() + (_LEAVING_S if process.poll() is not None else 0.0)
            while _left(process.pid, self._mark) and time.monotonic() < end:
                time.sleep(0.02)
        finally:
            end = time.monotonic() + _LEAVING_S
            # Again, since one may just have started another.
            while (left := _left(process.pid, self._mark)) and time.monotonic() < end:
                for one in left:
                    with suppress(psutil.Error):
                        one.kill()
                time.sleep(0.02)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _messages(child: subprocess.Popen[bytes], timeout_s: float) -> Iterator[dict[str, Any] | None]:
    """Give the child's messages until it ends; None, as the last, if it says nothing for too long."""
    assert child.stdout is not None
    descriptor = child.stdout.fileno()
    os.set_blocking(descriptor, False)
    rest = b""
    end = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            # Processes that the child left behind may hold the pipe open.
            ended = child.poll() is not None
            if selector.select(0.0 if ended else 0.2):
                data = os.read(descriptor, 65536)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    end = time.monotonic() + timeout_s
                    yield json.loads(line)
                if not data:
                    return
            elif ended:
                return
            if time.monotonic() > end:
                yield None
                return


def _left(session: int, mark: str) -> list[psutil.Process]:
    """Find processes by their session, which some leave, and by a mark, which those that change their title lose."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            belongs = os.getsid(process.pid) == session or process.environ().get(_MARK) == mark
            if belongs and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _last_line(path: str) -> str:
    with open(path, errors="replace") as log:
        lines = [line.strip() for line in log if line.strip()]
    return lines[-1] if lines else "it left no message"
