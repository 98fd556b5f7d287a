"""Parsl's monitoring, as far as an executor has a part in it."""

from __future__ import annotations

from parsl.monitoring.radios.base import RadioConfig
from parsl.monitoring.radios.htex import HTEXRadio
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadio

from vinefast.rules import Rule

_TIED_TO_OTHER_EXECUTORS = (HTEXRadio, MultiprocessingQueueRadio)

RADIO: Rule = (
    lambda value: isinstance(value, RadioConfig) and not isinstance(value, _TIED_TO_OTHER_EXECUTORS),
    "a RadioConfig that needs no other executor, such as FilesystemRadio() or UDPRadio(address=...)",
)
