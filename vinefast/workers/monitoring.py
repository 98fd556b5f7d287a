"""Parsl's monitoring, as far as an executor has a part in it."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.base import MonitoringRadioSender, RadioConfig
from parsl.monitoring.radios.htex import HTEXRadio
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadio

from vinefast._log_fields import fields
from vinefast.settings.rules import Rule

logger: logging.Logger = logging.getLogger(__name__)

_TIED_TO_OTHER_EXECUTORS = (HTEXRadio, MultiprocessingQueueRadio)

RADIO: Rule = (
    lambda value: isinstance(value, RadioConfig) and not isinstance(value, _TIED_TO_OTHER_EXECUTORS),
    "a RadioConfig that needs no other executor, such as FilesystemRadio() or UDPRadio(address=...)",
)


class NodeRows:
    """Rows of the monitoring database's table of nodes: one when a worker joins, and one when it leaves.

    Parameters
    ----------
    radio : MonitoringRadioSender
        Where to send them.
    run_id : str
        Parsl's.
    label : str
        The executor's.
    """

    def __init__(self, radio: MonitoringRadioSender, run_id: str | None, label: str) -> None:
        self._radio = radio
        self._run_id = run_id
        self._label = label
        self._active: dict[str, dict[str, Any]] = {}

    def note(self, about: bytes, slots: int, joined: bool) -> None:
        """Note that a worker has joined or left; `about` is what its node told (`library/node.py`)."""
        row = json.loads(about) | {"run_id": self._run_id, "worker_count": slots}
        if joined:
            self._active[row["uid"]] = row
        else:
            row = self._active.pop(row["uid"])
        self._send(row, joined)

    def close(self) -> None:
        """Note that the workers that are still there leave."""
        while self._active:
            self._send(self._active.popitem()[1], False)

    def _send(self, row: dict[str, Any], active: bool) -> None:
        now = datetime.now()
        try:
            self._radio.send((MessageType.NODE_INFO, row | {"active": active, "timestamp": now, "last_heartbeat": now}))
        except Exception:  # a full disk, say: calls can do without
            logger.exception(
                "Monitoring does not hear of the node of worker %s",
                row["uid"],
                extra=fields(
                    self._label, worker=row["uid"], hostname=row["hostname"], block_id=row["block_id"] or None
                ),
            )
