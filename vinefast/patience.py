"""Warnings about what calls may wait for in vain: a worker, or one that is large enough."""

from __future__ import annotations

import logging
import threading

from vinefast._core import Engine
from vinefast.descriptors import why_none_is_left
from vinefast.launch import Launcher
from vinefast.resources import CallSpec

logger = logging.getLogger(__name__)

_PATIENCE_S = 30.0
_RESOURCES = ("cores", "memory", "disk", "gpus")


class Patience:
    """A thread that looks now and then, and warns of each thing once.

    Parameters
    ----------
    label : str
        Name of the executor.
    strict : bool
        Whether calls wait for what they ask for.
    engine : Engine
        Knows workers and calls.
    launcher : Launcher
        Knows where to look if no worker comes.
    """

    def __init__(self, label: str, strict: bool, engine: Engine, launcher: Launcher) -> None:
        self._label = label
        self._strict = strict
        self._engine = engine
        self._launcher = launcher
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vinefast-patience", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        if self._stopped.wait(_PATIENCE_S):
            return
        stats = self._engine.stats()
        refused = self._warn_if_refused(stats)
        if not stats["workers_connected"] and not refused:
            logger.warning(
                "No worker has come to executor %s in %g s. %s", self._label, _PATIENCE_S, self._launcher.diagnosis()
            )
        compared: set[CallSpec] = set()
        waited = set(self._engine.specifications())
        while not self._stopped.wait(_PATIENCE_S):
            refused = refused or self._warn_if_refused(self._engine.stats())
            if self._engine.stats()["workers_connected"]:
                for specification in waited - compared:
                    self._compare(specification)
                compared |= waited
            waited = set(self._engine.specifications())

    def _warn_if_refused(self, stats: dict[str, int]) -> bool:
        if stats["accept_errno"]:
            logger.warning(
                "Not every worker can join executor %s: %s", self._label, why_none_is_left(stats["accept_errno"])
            )
        return bool(stats["accept_errno"])

    def _compare(self, specification: CallSpec) -> None:
        stats = self._engine.stats()
        most = {name: stats[f"max_{name}"] for name in _RESOURCES}
        wanted = {name: getattr(specification, name) for name in _RESOURCES}
        short = [name for name in _RESOURCES if (wanted[name] or 0) > most[name]]
        if short:
            logger.warning(
                "Calls of executor %s ask for %s, but the most that a connected worker has is %s%s",
                self._label,
                ", ".join(f"{name}={wanted[name]:g}" for name in short),
                ", ".join(f"{name}={most[name]}" for name in short),
                ": they wait for a larger one" if self._strict else "",
            )
