"""Where and when calls ran, for Parsl's monitoring and for logs.

Parsl learns that from the call itself, if it measures resources: it wraps the app, and the wrapper sends two messages
from the worker. Without that wrapper the executor tells what it knows, once the call has come back.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.base import MonitoringRadioSender

from vinefast._core import CallFuture
from vinefast._log_fields import fields
from vinefast.calls.retries import dataflow_kernel_of, task_record_of
from vinefast.workers.monitoring import NodeRows

logger = logging.getLogger(__name__)

# Calls that came back before their worker has told of its node; more of them are told of without.
_MOST_WAITING = 10_000


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


class CallReports:
    """Tells where and when calls ran. All methods are called on the demux thread, `close` once that has ended.

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
        self._failed = False

    def note_node(self, about: bytes, slots: int, joined: bool, worker: int) -> None:
        """Note that a worker has joined or left; `about` is what its node told (`library/node.py`)."""
        if self._node_rows is not None:
            self._node_rows.note(about, slots, joined)
        if joined:
            self._nodes[worker] = json.loads(about)
            self._tell_waiting(worker)
        else:
            self._nodes.pop(worker, None)

    def note_calls(self, worker: int, slot: int, pid: int, runs: list[tuple[CallFuture[Any], int, int]]) -> None:
        """Note calls that have come back, before their futures are done; times are of the monotonic clock."""
        since_1970_ns = time.time_ns() - time.monotonic_ns()
        noted = [
            _Run(
                call.parsl_executor_task_id,
                _task_of(call),
                slot if self._has_slots else None,
                pid,
                (began_ns + since_1970_ns) * 1e-9,
                (ended_ns + since_1970_ns) * 1e-9,
            )
            for call, began_ns, ended_ns in runs
        ]
        if worker in self._nodes:
            self._tell(worker, noted)
            return
        self._waiting.setdefault(worker, []).extend(noted)
        self._n_waiting += len(noted)
        if self._n_waiting > _MOST_WAITING:
            self._tell_all_waiting()

    def close(self) -> None:
        """Tell of what still waits, and that the workers that are still there leave."""
        self._tell_all_waiting()
        if self._node_rows is not None:
            self._node_rows.close()

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
    """Find what Parsl waits for with the future of a call; None: it is none of Parsl's."""
    for callback in call._done_callbacks:  # type: ignore[attr-defined]
        record = task_record_of(callback)
        kernel = None if record is None else dataflow_kernel_of(callback)
        if record is not None and kernel is not None:
            measured = kernel.monitoring is not None and kernel.monitoring.resource_monitoring_enabled
            return _Task(kernel.run_id, record["id"], record["try_id"], measured)
    return None
