"""What happened to one call, and what failed calls have in common."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vinefast import errors
from vinefast.events.failures import Reason, reason_of
from vinefast.events.printed import end_of_output
from vinefast.events.run import Lost, Run, Sent, Worker
from vinefast.events.state import RESULTS

_NUMBER = re.compile(r"\d{1,18}")
_LAUNCHED = re.compile(
    r"Parsl task (\d{1,18}) try (\d{1,18}) launched on executor (.+) with executor id (\d{1,18})(?!\d)"
)
_LOGS = "taskvine"
_TRANSACTIONS = "transactions"
_LINES = 20


@dataclass
class Try:
    """A bundle that had the call and did not bring it back.

    Attributes
    ----------
    at_s : float
        Seconds since 1970 when that was known.
    worker : str
        Number and address.
    reason : str
        Of TaskVine's.
    """

    at_s: float
    worker: str
    reason: str


@dataclass
class Story:
    """A call.

    Attributes
    ----------
    number : int
        The executor's of the call: the future's ``parsl_executor_task_id``.
    function : str
    task, attempt : int or None
        Parsl's numbers of the task and of its try; None: Parsl's log does not have them.
    outcome : str
        ``done``, ``failed``, ``cancelled``, ``with a worker``, ``with a worker when the executor was shut down``, or
        ``waiting``: no worker has it, as far as is known.
    sent_s, returned_s : float or None
        Seconds since 1970, of its last bundle.
    waited_s, ran_s : float or None
        Seconds between `submit` and the bundle, and in the slot.
    companions : int
        Calls of the same bundle.
    worker, host, slot, pid : str, str, int or None, int or None
        Where it ran; the process is that of the library, whose children slots are.
    tries : list of Try
        Earlier ones that came to nothing.
    reason : Reason or None
        Why it failed.
    bundle : int or None
        TaskVine's number of its last bundle's task.
    log : list of str
        TaskVine's own lines about that, the last ones; not of an example of a group.
    output : str
        The end of what it has printed in its last try, if the run directory has that; not of an example of a group.
    """

    number: int
    function: str
    outcome: str
    sent_s: float | None = None
    returned_s: float | None = None
    waited_s: float | None = None
    ran_s: float | None = None
    companions: int = 0
    worker: str = ""
    host: str = ""
    slot: int | None = None
    pid: int | None = None
    tries: list[Try] = field(default_factory=list)
    reason: Reason | None = None
    bundle: int | None = None
    log: list[str] = field(default_factory=list)
    output: str = ""
    task: int | None = None
    attempt: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        return asdict(self)


@dataclass
class FailureGroup:
    """Failed calls with the same reason.

    Attributes
    ----------
    name : str
        What they have in common.
    numbers : list of int
        The executor's of the calls.
    tasks : list of int
        Parsl's of the tasks, each once; empty if Parsl's log does not have them.
    functions, hosts : dict of str to int
        How many calls of which function, and on which host.
    example : Story
    """

    name: str
    numbers: list[int]
    functions: dict[str, int]
    hosts: dict[str, int]
    example: Story
    tasks: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        return asdict(self)


class Stories:
    """All calls of a run that has been read."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._calls, self._bundles = run.calls, run.bundles
        self._bundle_of = np.repeat(np.arange(len(self._bundles)), self._bundles["n_calls"].astype(np.int64))
        self._parsl_tries: dict[int, tuple[int, int]] | None = None
        self._lost: dict[int, list[Lost]] = {}
        for lost in run.losses:
            for number in lost.numbers.tolist():
                self._lost.setdefault(number, []).append(lost)

    def tries_of_parsl(self) -> dict[int, tuple[int, int]]:
        """Give Parsl's numbers of task and try of each call, by the executor's; empty: Parsl's log has none."""
        if self._parsl_tries is None:
            parent = os.path.dirname(os.path.dirname(self._run.path))
            self._parsl_tries = tries_of_parsl(parent, str(self._run.about.get("label", "")))
        return self._parsl_tries

    def of(self, number: int) -> Story | None:
        """Tell of a call; None: nothing is known of one of that number."""
        story = self._of(number)
        if story is not None and story.bundle is not None:
            directory = os.path.dirname(self._run.path)
            story.log = _lines_of(directory, story.bundle)
            story.output = end_of_output(directory, number)
        return story

    def _of(self, number: int) -> Story | None:
        (found,) = np.nonzero(self._calls["number"] == number)
        return self._told(number, int(found[-1]) if len(found) else None)

    def _told(self, number: int, index: int | None) -> Story | None:
        story, sent = self._away(number) if index is None else (self._ended(index), self._sent_before(index))
        lost = [(lost.at_ns, lost.worker, result_name(lost.result)) for lost in self._lost.get(number, ())]
        lost += [(self._run.left_ns(each.worker) or each.at_ns, each.worker, "its worker left") for each in sent]
        tries = [Try(self._run.wall_s(at_ns), self._name(worker), reason) for at_ns, worker, reason in sorted(lost)]
        if story is None and not tries:
            return None
        story = story or Story(number, "?", "waiting")
        story.tries = tries
        story.task, story.attempt = self.tries_of_parsl().get(number, (None, None))
        return story

    def failed(self) -> list[FailureGroup]:
        """Give the calls that failed by what they have in common, the most first."""
        groups: dict[str, FailureGroup] = {}
        tasks: dict[str, set[int]] = {}
        failed = ~np.isin(self._calls["status"], RESULTS) & (self._calls["is_cancelled"] == 0)
        for index in np.nonzero(failed)[0].tolist():
            reason = self._reason(index)
            assert reason is not None
            number = int(self._calls["number"][index])
            group = groups.get(reason.group)
            if group is None:
                example = self._told(number, index)
                assert example is not None
                group = groups[reason.group] = FailureGroup(reason.group, [], {}, {}, example)
            group.numbers.append(number)
            task, _ = self.tries_of_parsl().get(number, (None, None))
            if task is not None:
                tasks.setdefault(reason.group, set()).add(task)
            bundle = self._bundles[self._bundle_of[index]]
            name, host = self._function(index), self._host(int(bundle["worker"])) or "?"
            group.functions[name] = group.functions.get(name, 0) + 1
            group.hosts[host] = group.hosts.get(host, 0) + 1
        for name, group in groups.items():
            # They have ended in another order.
            group.numbers.sort()
            group.tasks = sorted(tasks.get(name, ()))
        return sorted(groups.values(), key=lambda group: -len(group.numbers))

    def _function(self, index: int) -> str:
        return self._run.functions.get(int(self._calls["function"][index]), "?")

    def _reason(self, index: int) -> Reason | None:
        call = self._calls[index]
        if call["status"] in RESULTS or call["is_cancelled"]:
            return None
        failure = self._run.failures.get(int(call["number"]))
        if failure is None:
            return Reason("unknown", "the event log has lost the record that says it")
        return reason_of(failure, self._function(index), int(self._bundles["result"][self._bundle_of[index]]))

    def _ended(self, index: int) -> Story:
        call, bundle = self._calls[index], self._bundles[self._bundle_of[index]]
        reason = self._reason(index)
        has_run = bool(bundle["worker"]) and bundle["pid"] != 0
        sent_ns = int(bundle["sent_ns"])
        return Story(
            number=int(call["number"]),
            function=self._function(index),
            outcome="cancelled" if call["is_cancelled"] else "failed" if reason else "done",
            sent_s=self._run.wall_s(sent_ns) if sent_ns else None,
            returned_s=self._run.wall_s(int(bundle["returned_ns"])),
            waited_s=float(call["queue_us"]) * 1e-6 if sent_ns else None,
            ran_s=float(call["duration_ns"]) * 1e-9 if has_run else None,
            companions=int(bundle["n_sent"]) - 1 if sent_ns else 0,
            worker=self._name(int(bundle["worker"])),
            host=self._host(int(bundle["worker"])),
            slot=int(bundle["slot"]) if has_run else None,
            pid=int(bundle["pid"]) if has_run else None,
            reason=reason,
            bundle=int(bundle["task"]) if sent_ns else None,
        )

    def _sent_before(self, index: int) -> list[Sent]:
        return self._run.lost_with_worker.get(int(self._bundles["task"][self._bundle_of[index]]), [])

    def _away(self, number: int) -> tuple[Story | None, list[Sent]]:
        """Tell of a call that has not come back, and with which workers it was lost."""
        for task, sent in self._run.away.items():
            if sent.has(number):
                before = self._run.lost_with_worker.get(task, [])
                name = self._run.functions.get(sent.function, "?")
                if number != sent.first_call:
                    # Of the others the log has it when they have ended.
                    name += ", or another one: it is that of the first call of its bundle"
                companions = sent.n_calls - 1
                at_s = self._run.wall_s(sent.at_ns)
                outcome = "with a worker"
                if self._run.stopped_ns is not None:
                    outcome += " when the executor was shut down"
                elif self._run.left_ns(sent.worker) is not None:
                    return Story(number, name, "waiting", at_s, companions=companions), [*before, sent]
                worker = self._name(sent.worker), self._host(sent.worker)
                story = Story(number, name, outcome, at_s, companions=companions, worker=worker[0], host=worker[1])
                return story, before
        return None, []

    def _worker(self, number: int) -> Worker | None:
        return self._run.workers.get(number)

    def _name(self, number: int) -> str:
        worker = self._worker(number)
        return f"{number} ({worker.address})" if worker else ""

    def _host(self, number: int) -> str:
        worker = self._worker(number)
        return (str(worker.node.get("hostname", "")) or worker.address.rpartition(":")[0]) if worker else ""


def result_name(code: int) -> str:
    """Name a ``vine_result_t`` as TaskVine does."""
    return getattr(errors.task_failure(code), "result", f"result code {code}")


def _lines_of(directory: str, task: int) -> list[str]:
    """Give the last lines about a task in the log of transactions that TaskVine keeps."""
    found: list[str] = []
    wanted = f" TASK {task} "
    for parent, _, names in os.walk(os.path.join(directory, _LOGS)):
        for name in sorted(names, reverse=True):  # a file behind the one that it has replaced
            if name.startswith(_TRANSACTIONS):
                # Without them, the rest can be told.
                with suppress(OSError), open(os.path.join(parent, name), errors="replace") as file:
                    found += [line.rstrip("\n") for line in file if wanted in line]
    return found[-_LINES:]


def tries_of_parsl(directory: str, label: str) -> dict[int, tuple[int, int]]:
    """Give the numbers that Parsl has given to tasks and their tries, by the executor's numbers of the calls.

    They are in Parsl's log, or, with its ``JSONLogging``, in the one that has an object on each line.

    Parameters
    ----------
    directory : str
        The run directory, in which Parsl's log is.
    label : str
        Of the executor.

    Returns
    -------
    dict of int to (int, int)
        In the order of the log; empty if there is none, or nothing of this executor's is in it.
    """
    found = {}
    for name, launched_by in (("parsl.log", _launched_by_text), ("parsl.jsonlog", _launched_by_json)):
        with suppress(OSError), open(os.path.join(directory, name), errors="replace") as file:
            for task, attempt, of, number in filter(None, map(launched_by, file)):
                if of == label:
                    found[int(number)] = int(task), int(attempt)
    return found


def _launched_by_text(line: str) -> tuple[str, ...] | None:
    match = _LAUNCHED.search(line)
    return match.groups() if match else None


def _launched_by_json(line: str) -> tuple[str, ...] | None:
    if '"parsl.dataflow.dflow"' not in line or '"parsl.executor_task"' not in line:
        return None
    try:
        record = json.loads(line)
        launched = tuple(str(record[f"parsl.{name}"]) for name in ("task", "try", "executor", "executor_task"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # it has been cut, say
    return launched if all(map(_NUMBER.fullmatch, (*launched[:2], launched[3]))) else None
