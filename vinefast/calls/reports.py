"""Where and when calls ran, for Parsl's monitoring and for logs.

Parsl learns that from the call itself, if it measures resources: it wraps the app, and the wrapper sends two messages
from the worker. Without that wrapper the executor tells what it knows, once the call has come back.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.base import MonitoringRadioSender

from vinefast._core import CallFuture
from vinefast._log_fields import fields
from vinefast.calls.retries import dataflow_kernel_of, task_record_of
from vinefast.workers.monitoring import NodeRows

logger: logging.Logger = logging.getLogger(__name__)

# Calls that came back before their worker has told of its node; more of them are told of without.
_MOST_WAITING = 10_000
# Calls that came back before Parsl has begun to wait for them. Nobody says of a call that it is none of Parsl's: so
# many, and for so long, they may yet be.
_MOST_EARLY = 1000
_EARLY_S = 1.0


class _Run(NamedTuple):
    """One call on a worker; `task` is what Parsl knows of it, and times are seconds since 1970."""

    number: int
    task: _Task | None
    slot: int | None
    pid: int
    began_s: float
    ended_s: float


class _Task(NamedTuple):
    run_id: str
    task_id: int
    try_id: int
    reports_itself: bool


def are_logged() -> bool:
    """Tell whether some log has records of this level, as Parsl's ``JSONLogging`` has."""
    # Parsl leaves the level as it is when it takes its handler away.
    return logger.isEnabledFor(logging.DEBUG) and logger.hasHandlers()


class _Early(NamedTuple):
    noted_s: float
    worker: int
    run: _Run


class CallReports:
    """Tells where and when calls ran. All methods are called on the demux thread, `close` once that has ended.

    Which try of Parsl's a call is can be seen once Parsl waits for it. One that is back before that gets a
    `report_late`, which Parsl's thread calls; so what both threads use is changed in single steps.

    Parameters
    ----------
    label : str
        The executor's.
    radio : MonitoringRadioSender, optional
        Where Parsl's monitoring is; None: it is off.
    run_id : str, optional
        Parsl's.
    has_slots : bool
        In regular mode there are none.
    """

    def __init__(self, label: str, radio: MonitoringRadioSender | None, run_id: str | None, has_slots: bool) -> None:
        self._label = label
        self._radio = radio
        self._has_slots = has_slots
        self._node_rows = None if radio is None else NodeRows(radio, run_id, label)
        self._nodes: dict[int, Mapping[str, Any]] = {}
        self._waiting: dict[int, list[_Run]] = {}
        self._n_waiting = 0
        self._early: dict[int, _Early] = {}  # by the number of the call
        self._failed = False

    def note_node(self, about: bytes, slots: int, joined: bool, worker: int) -> None:
        """Note that a worker has joined or left; `about` is what its node told (`library/node.py`)."""
        if self._node_rows is not None:
            self._node_rows.note(about, slots, joined)
        self._tell_early(time.monotonic() - _EARLY_S)
        if joined:
            self._nodes[worker] = json.loads(about)
            self._tell_waiting(worker)
            self._tell_early_of(worker, lambda run: run.task is not None)
        else:
            # As long as it is known where it was.
            self._tell_early_of(worker, lambda run: True)
            self._nodes.pop(worker, None)

    def note_calls(self, worker: int, slot: int, pid: int, runs: list[tuple[CallFuture[Any], int, int]]) -> None:
        """Note calls that have come back, before their futures are done; times are of the monotonic clock."""
        since_1970_ns = time.time_ns() - time.monotonic_ns()
        now_s = time.monotonic()
        self._tell_early(now_s - _EARLY_S)
        noted = []
        for call, began_ns, ended_ns in runs:
            run = _Run(
                call.parsl_executor_task_id,
                _task_of(call),
                slot if self._has_slots else None,
                pid,
                (began_ns + since_1970_ns) * 1e-9,
                (ended_ns + since_1970_ns) * 1e-9,
            )
            if run.task is not None:
                noted.append(run)
            else:
                self._note_early(call, _Early(now_s, worker, run))
        self._tell_on_node(worker, noted)

    def close(self) -> None:
        """Tell of what still waits, and that the workers that are still there leave."""
        self._tell_early(time.monotonic())
        self._tell_all_waiting()
        if self._node_rows is not None:
            self._node_rows.close()

    def _note_early(self, call: CallFuture[Any], early: _Early) -> None:
        number = early.run.number
        self._early[number] = early
        call.report_late = partial(self._note_late, number)
        for callback in call._done_callbacks:  # type: ignore[attr-defined]
            self._note_task(number, callback)  # it may have been added meanwhile

    def _note_late(self, number: int, callback: Callable[..., Any]) -> None:
        """Take note of what waits for a call that is back, on a thread that is to go on whatever happens here."""
        try:
            self._note_task(number, callback)
        except Exception:
            logger.exception(
                "It is not told where call %d of executor %s ran",
                number,
                self._label,
                extra=fields(self._label, executor_task=number),
            )

    def _note_task(self, number: int, callback: Callable[..., Any]) -> None:
        task = _task_by(callback)
        early = None if task is None else self._early.pop(number, None)
        if early is None:
            return
        run = early.run._replace(task=task)
        if early.worker in self._nodes:
            self._tell(early.worker, [run])
        else:
            self._early[number] = early._replace(run=run)  # until its node is known

    def _tell_early(self, until_s: float) -> None:
        """Tell of calls that were noted until then as they are, and of those that are too many."""
        all_early = list(self._early.items())
        for index, (number, early) in enumerate(all_early):
            if early.noted_s > until_s and len(all_early) - index <= _MOST_EARLY:
                return
            self._tell_early_call(number)

    def _tell_early_of(self, worker: int, is_told: Callable[[_Run], bool]) -> None:
        for number, early in list(self._early.items()):
            if early.worker == worker and is_told(early.run):
                self._tell_early_call(number)

    def _tell_early_call(self, number: int) -> None:
        if (early := self._early.pop(number, None)) is not None:
            self._tell_on_node(early.worker, [early.run])

    def _tell_on_node(self, worker: int, runs: list[_Run]) -> None:
        """Tell of calls once it is known where their worker is."""
        if worker in self._nodes:
            self._tell(worker, runs)
            return
        self._waiting.setdefault(worker, []).extend(runs)
        self._n_waiting += len(runs)
        if self._n_waiting > _MOST_WAITING:
            self._tell_all_waiting()

    def _tell_all_waiting(self) -> None:
        for worker in list(self._waiting):
            self._tell_waiting(worker)

    def _tell_waiting(self, worker: int) -> None:
        runs = self._waiting.pop(worker, [])
        self._n_waiting -= len(runs)
        self._tell(worker, runs)

    def _tell(self, worker: int, runs: list[_Run]) -> None:
        node = self._nodes.get(worker, {})
        logs = logger.isEnabledFor(logging.DEBUG)
        for run in runs:
            if self._radio is not None and run.task is not None and not run.task.reports_itself:
                self._report(self._radio, node, run, run.task)
            if logs:
                self._log(node, worker, run)

    def _report(self, radio: MonitoringRadioSender, node: Mapping[str, Any], run: _Run, task: _Task) -> None:
        row = {
            "run_id": task.run_id,
            "task_id": task.task_id,
            "try_id": task.try_id,
            "hostname": node.get("hostname"),
            "block_id": node.get("block_id") or None,
        }
        try:
            for first, at_s in ((True, run.began_s), (False, run.ended_s)):
                at = datetime.fromtimestamp(at_s)
                radio.send(
                    (MessageType.WORKER_TASK_INFO, row | {"first_msg": first, "last_msg": not first, "timestamp": at})
                )
        except Exception:  # calls can do without; said once, for they may be millions
            if not self._failed:
                self._failed = True
                logger.exception(
                    "Monitoring does not hear where calls of executor %s run",
                    self._label,
                    extra=fields(self._label, executor_task=run.number),
                )

    def _log(self, node: Mapping[str, Any], worker: int, run: _Run) -> None:
        known = fields(
            self._label,
            executor_task=run.number,
            hostname=node.get("hostname"),
            block_id=node.get("block_id") or None,
            worker=node.get("uid", worker),
            slot=run.slot,
            pid=run.pid,
            try_time_running=datetime.fromtimestamp(run.began_s),
            try_time_running_ended=datetime.fromtimestamp(run.ended_s),
        )
        if run.task is not None:
            names: dict[str, Any] = {"dfk": run.task.run_id, "task": run.task.task_id, "try": run.task.try_id}
            known |= fields(**names)
        logger.debug(
            "Call %d of executor %s ran for %.6f s%s on %s",
            run.number,
            self._label,
            run.ended_s - run.began_s,
            "" if run.slot is None else f" in slot {run.slot}",
            node.get("hostname", "an unknown node"),
            extra=known,
        )


def _task_of(call: CallFuture[Any]) -> _Task | None:
    """Find what Parsl waits for with the future of a call; None: it is none of Parsl's, or Parsl has not begun to."""
    return next(filter(None, map(_task_by, call._done_callbacks)), None)  # type: ignore[attr-defined]


def _task_by(callback: Callable[..., Any]) -> _Task | None:
    """Find what Parsl waits for with this callback; None: it is another one."""
    record = task_record_of(callback)
    kernel = None if record is None else dataflow_kernel_of(callback)
    if record is None or kernel is None:
        return None
    measured = kernel.monitoring is not None and kernel.monitoring.resource_monitoring_enabled
    return _Task(kernel.run_id, record["id"], record["try_id"], measured)
