"""What calls may wait for in vain, a worker, a larger one, or a callback: a warning, and in the end an error."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping

from parsl.executors.errors import InvalidResourceSpecification

from vinefast._build_info import TASKVINE_VERSION
from vinefast._core import PROTOCOL, Engine
from vinefast._log_fields import fields
from vinefast._teardown import join
from vinefast.settings.resources import CallSpec
from vinefast.workers.descriptors import why_none_is_left
from vinefast.workers.launch.launcher import Launcher

logger: logging.Logger = logging.getLogger(__name__)

_LOOK_S = 0.25
_NO_WORKER_S = 30.0
_CALLBACK_S = 30.0
# Where larger workers may come, they may do so a little after smaller ones.
_TOO_LARGE_S = 3.0
_MAX_REMEMBERED = 1000
_RESOURCES = ("cores", "memory", "disk", "gpus")

LOST = {
    "joins_without_ssl": "A worker without TLS has come to executor %s, which has TLS on, and was sent away: start it "
    "with the option --ssl, or by 'vinefast worker' and the directory of the run; ssl=False turns TLS off",
    "joins_with_ssl": "A worker with TLS has come to executor %s, which has none, and was sent away: start it without "
    "the option --ssl, or by 'vinefast worker' and the directory of the run; ssl=True turns TLS on",
    "joins_wrong_password": "A worker with another password, or none, has come to executor %s, and was sent away: "
    "start it by 'vinefast worker' and the directory of the run, or with the options of worker_command and a copy of "
    "the file",
    "joins_with_password": "A worker with a password has come to executor %s, which has none (require_password=False), "
    "and was sent away: start it without the option --password, or by 'vinefast worker' and the directory of the run",
}
"""Of workers that do not speak as the manager does, by what counts them: what was seen, a colon, and what to do."""

_FOREIGN = (
    "A worker of another release of TaskVine has come to executor %s, and was sent away: vine_worker %son %s speaks "
    f"version %d of TaskVine's protocol, the manager, of TaskVine {TASKVINE_VERSION}, version {PROTOCOL}. Start "
    f"vine_worker of TaskVine {TASKVINE_VERSION} there, with which vinefast is built, or build vinefast with the "
    "worker's release"
)

_NO_DISK = (
    "No worker of executor %s has a megabyte of disk where it keeps its files, so that no call can be sent to it: make "
    "room there, or have workers keep their files elsewhere: factory_config.scratch_dir or TMPDIR, or --workspace of "
    "those that are started by hand"
)

_UNWRITTEN = {
    "log_errno": "The logs of executor %s cannot be written in %s: %s. Calls go on; what is missing in the logs is "
    "counted (stats(), log_bytes_unwritten)",
    "event_log_errno": "The event log of executor %s cannot be written in %s: %s. Calls go on; vinefast status, why "
    "and report do not know of all of them",
}

_Needs = tuple[float | int | None, ...]


class Watchdog:
    """A thread that looks now and then, warns of each thing once, and fails calls that wait in vain.

    Parameters
    ----------
    label : str
        Name of the executor.
    strict : bool
        Whether calls wait for what they ask for.
    engine : Engine
        Knows workers and calls.
    launcher : Launcher
        Knows whether other workers may come, and where to look if none does.
    timeout_s : float
        How long calls may wait for a larger worker that may still come; 0: for ever.
    log_directories : mapping of str to str
        Where TaskVine's logs and the event log are, by the counter that has the reason why they cannot be written.
    """

    def __init__(
        self,
        label: str,
        strict: bool,
        engine: Engine,
        launcher: Launcher,
        timeout_s: float,
        log_directories: Mapping[str, str],
    ) -> None:
        self._label = label
        self._strict = strict
        self._engine = engine
        self._launcher = launcher
        self._timeout_s = timeout_s
        self._log_directories = log_directories
        self._final: dict[str, int] | None = None
        self._accepted: CallSpec | None = None
        self._met: dict[_Needs, CallSpec] = {}
        self._named: set[_Needs] = set()
        self._held_up = False
        self._full = False
        self._unwritten: dict[str, int] = {}
        self._named_lost: set[str] = set()
        self._n_foreign = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vinefast-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, or leave it behind if a callback of the user's keeps it."""
        self._stopped.set()
        join(self._thread)

    def meet(self, specification: CallSpec) -> None:
        """Look at what a call asks for before it is submitted.

        Raises
        ------
        parsl.executors.errors.InvalidResourceSpecification
            If no worker can ever have that.
        """
        if specification is self._accepted:
            return
        if not self._strict:
            if len(self._met) < _MAX_REMEMBERED:
                self._met[_needs(specification)] = specification
        elif self._final is not None and _short(specification, self._final):
            raise self._refusal(specification)
        self._accepted = specification

    def _watch(self) -> None:
        start_s = time.monotonic()
        pid = os.getpid()
        complained = refused = False
        # A callback of a refused call may have forked.
        while not self._stopped.wait(_LOOK_S) and os.getpid() == pid:
            stats = self._engine.stats()
            if stats["accept_errno"] and not refused:
                refused = complained = True
                reason = why_none_is_left(stats["accept_errno"])
                logger.warning(
                    "Not every worker can join executor %s: %s", self._label, reason, extra=fields(self._label)
                )
            self._look_at_lost_workers(stats)
            self._look_at_logs(stats)
            self._look_at_callbacks()
            waited_s = time.monotonic() - start_s
            if stats["workers_connected"] and stats["usable_cores"]:
                complained = True
                self._look_at_disks(stats, waited_s)
                self._look({name: stats[f"usable_{name}"] for name in _RESOURCES}, waited_s)
            elif not complained and waited_s >= _NO_WORKER_S:
                complained = True
                logger.warning(
                    "No worker has come to executor %s in %g s. %s",
                    self._label,
                    _NO_WORKER_S,
                    self._diagnosis(),
                    extra=fields(self._label),
                )
        # What the last calls have met.
        if os.getpid() == pid:
            self._look_at_logs(self._engine.stats())

    def _diagnosis(self) -> str:
        try:
            return self._launcher.diagnosis()
        except Exception as error:  # of a provider of the user's, or of files that vanish: no reason to look no more
            return f"Why is not known: {error!r}"

    def _look_at_logs(self, stats: Mapping[str, int]) -> None:
        for name, directory in self._log_directories.items():
            number = stats[name]
            if not number or name in self._unwritten:
                continue
            # A disk that is full is one reason for both.
            if number not in self._unwritten.values():
                reason = os.strerror(number)
                logger.warning(_UNWRITTEN[name], self._label, directory, reason, extra=fields(self._label))
            self._unwritten[name] = number

    def _look_at_disks(self, stats: Mapping[str, int], waited_s: float) -> None:
        # TaskVine counts megabytes, sends nothing to a worker that has none, and says nothing of it.
        if not self._full and not stats["max_disk"] and waited_s >= _TOO_LARGE_S:
            self._full = True
            logger.warning(_NO_DISK, self._label, extra=fields(self._label))

    def _look_at_lost_workers(self, stats: Mapping[str, int]) -> None:
        for name, words in LOST.items():
            if stats[name] and name not in self._named_lost:
                self._named_lost.add(name)
                logger.warning(words, self._label, extra=fields(self._label))
        foreign = self._engine.foreign_workers()
        for host, protocol, release in foreign[self._n_foreign :]:
            said = (f"{release} " if release else "", host or "a host without a name", protocol)
            logger.warning(_FOREIGN, self._label, *said, extra=fields(self._label))
        self._n_foreign = len(foreign)

    def _look_at_callbacks(self) -> None:
        if self._held_up or self._engine.finishing_s() < _CALLBACK_S:
            return
        self._held_up = True
        frame = sys._current_frames().get(self._engine.demux_thread.ident or 0)
        logger.warning(
            "No call of executor %s has been finished for %g s, since done callbacks run one after the other. One that "
            "waits for a Parsl app waits for ever: give that app a callback, or wait on another thread. This one is "
            "here:\n%s",
            self._label,
            _CALLBACK_S,
            "".join(traceback.format_stack(frame)),
            extra=fields(self._label),
        )

    def _look(self, most: Mapping[str, int], waited_s: float) -> None:
        if not self._strict:
            if waited_s >= _TOO_LARGE_S:
                # In one step of C: who submits a call may add to it meanwhile.
                self._warn([spec for spec in list(self._met.values()) if _short(spec, most)], most)
            return
        if self._launcher.fixed:
            # What is free on a disk changes by itself.
            final = {name: most[name] for name in _RESOURCES if name != "disk" or self._launcher.config.disk}
            if final != self._final:
                self._final, self._accepted = final, None
        if self._final is not None:
            self._refuse(spec for spec in self._engine.too_large(0) if _short(spec, self._final or {}))
        self._warn(self._engine.too_large(_TOO_LARGE_S), most)
        if self._timeout_s:
            self._refuse(self._engine.too_large(self._timeout_s))

    def _refuse(self, specifications: Iterable[CallSpec]) -> None:
        refused = list(specifications)
        if refused:
            self._engine.refuse(refused, self._refusal)

    def _refusal(self, specification: CallSpec) -> InvalidResourceSpecification:
        stats = self._engine.stats()
        most = self._final or {name: stats[f"usable_{name}"] for name in _RESOURCES}
        short = _short(specification, most) or _asked(specification)
        if self._final is not None and _short(specification, most):
            why = f"all workers of executor {self._label} are alike and have {_listed(most, short)}"
            way_out = "ask for less, or give its workers more by factory_config"
        else:
            why = f"for {self._timeout_s:g} s no connected worker of executor {self._label} has had that"
            why += f"; the most that any has is {_listed(most, short)}"
            way_out = "ask for less, start larger workers, or set the tune parameter larger-worker-timeout"
        asked = _listed({name: getattr(specification, name) for name in short}, short)
        return InvalidResourceSpecification(set(short), f"The call asks for {asked}, but {why}: {way_out}")

    def _warn(self, specifications: Iterable[CallSpec], most: Mapping[str, int]) -> None:
        for specification in specifications:
            needs = _needs(specification)
            if needs in self._named or len(self._named) == _MAX_REMEMBERED:
                continue
            self._named.add(needs)
            short = _short(specification, most) or _asked(specification)
            logger.warning(
                "Calls of executor %s ask for %s, but the most that a connected worker has is %s%s",
                self._label,
                _listed({name: getattr(specification, name) for name in short}, short),
                _listed(most, short),
                ": they wait for a larger one" if self._strict else "",
                extra=fields(self._label),
            )


def _needs(specification: CallSpec) -> _Needs:
    return tuple(getattr(specification, name) for name in _RESOURCES)


def _asked(specification: CallSpec) -> list[str]:
    return [name for name in _RESOURCES if getattr(specification, name)]


def _short(specification: CallSpec, most: Mapping[str, int]) -> list[str]:
    return [name for name in most if (getattr(specification, name) or 0) > most[name]]


def _listed(values: Mapping[str, float], names: Iterable[str]) -> str:
    return ", ".join(f"{name}={values[name]:.10g}" if name in values else f"{name}=?" for name in names)
