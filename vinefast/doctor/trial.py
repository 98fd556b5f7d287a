"""A throw-away manager, a real worker, and one call, in a process of its own (`child`)."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from vinefast import VineFastExecutor
from vinefast.doctor.worker_side import travelling
from vinefast.errors import VineFastError
from vinefast.workers import by_hand

_LOOK_S = 0.1
# What a worker has said when it could not join comes with its next words, and what the manager says with a turn.
_LAST_WORDS_S = 1.0
_GRACE_S = 3.0
_SAID_NBYTES = 4000
_PLACES = ("host", "port", "password_file", "run_dir")
# What a worker says that will never join.
_FINAL_WORDS = (
    *("wrong password for manager", "requires a password", "could not setup ssl connection", "but manager"),
    *("couldn't load password", "failed to setup workspace", "unrecognized option"),
)
# What the manager says of workers that it sends away.
_NOTICES = ("rejecting ", "presented the wrong password")


@dataclass
class Outcome:
    """What came of a trial.

    Attributes
    ----------
    with_tls : bool
        Whether the manager spoke it.
    address : str
        Where the manager was.
    command : str or None
        What was run for a worker; None: the executor has started one itself.
    problem : str
        Why no manager was there, if there was none.
    joined : bool
        Whether a worker did, as the manager sees it.
    stats : dict
        The manager's counters.
    facts : dict or None
        What the call has found.
    failure : str
        What it has failed with.
    status : int or None
        With which the command has ended; None: it has not.
    said : str
        What the worker printed, its beginning and its end.
    notices : list of str
        What the manager has said of workers.
    waited_s, skewed_s : float
        Until the end, and how far the worker's clock is from this one.
    """

    with_tls: bool = False
    address: str = ""
    command: str | None = None
    problem: str = ""
    joined: bool = False
    stats: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] | None = None
    failure: str = ""
    status: int | None = None
    said: str = ""
    notices: list[str] = field(default_factory=list)
    waited_s: float = 0.0
    skewed_s: float = 0.0


def try_own_worker(directory: str, with_tls: bool, patience_s: float) -> Outcome:
    """Have an executor on loopback start a worker with one core, and run one call."""
    executor = VineFastExecutor(
        label="doctor",
        manager_config=TaskVineManagerConfig(port=0, address="127.0.0.1"),
        factory_config=TaskVineFactoryConfig(min_workers=1, max_workers=1, cores=1, scratch_dir=directory),
        ssl=with_tls,
    )
    return _tried(executor, directory, Outcome(with_tls=with_tls), patience_s)


def try_command(directory: str, command: str, executor: VineFastExecutor, patience_s: float) -> Outcome:
    """Start an executor whose workers come by hand, run a command, and one call on the worker that it brings.

    Parameters
    ----------
    directory : str
        For files.
    command : str
        Of a shell. In it, ``{host}``, ``{port}``, ``{password_file}`` and ``{run_dir}`` stand for the executor's;
        without any of them, the options of ``vine_worker`` for all that are appended.
    executor : VineFastExecutor
        With the launch method "manual".
    patience_s : float
        For how long to wait.
    """
    # The manager says then why it sends workers away.
    os.environ["VINEFAST_DEBUG"] = "1"
    return _tried(executor, directory, Outcome(command=command), patience_s)


def _tried(executor: VineFastExecutor, directory: str, outcome: Outcome, patience_s: float) -> Outcome:
    began_s = time.monotonic()
    executor.run_dir = directory
    try:
        executor.start()
    except Exception as problem:
        outcome.problem = str(problem) if isinstance(problem, VineFastError) else f"{type(problem).__name__}: {problem}"
        return outcome
    worker: subprocess.Popen[bytes] | None = None
    own = os.path.join(directory, executor.label)
    said = os.path.join(own, "worker-0.log")
    try:
        asked_s = time.time()
        future = executor.submit(travelling(), {})
        if outcome.command is not None:
            said = os.path.join(directory, "worker")
            worker = _start(outcome, executor, own, said, patience_s)
        _wait(outcome, executor, worker, said, future, began_s + patience_s)
        _note_result(outcome, future, asked_s)
        outcome.stats = {name: value for name, value in executor.stats().items() if isinstance(value, int)}
        outcome.joined = bool(outcome.stats["workers_joined"])
        outcome.said = _said_in(said)
        outcome.notices = _notices()
        outcome.waited_s = time.monotonic() - began_s
    finally:
        try:
            executor.shutdown()
        finally:
            if worker is not None:
                _end(worker)
    return outcome


def _start(
    outcome: Outcome, executor: VineFastExecutor, own: str, said: str, patience_s: float
) -> subprocess.Popen[bytes]:
    start = by_hand.find(own)
    outcome.with_tls, outcome.address = "--ssl" in start.arguments, f"{start.address}:{start.port}"
    contact = {
        "host": start.address,
        "port": str(start.port),
        "password_file": start.password_file or "",
        "run_dir": own,
    }
    outcome.command = command_for(outcome.command or "", contact, outcome.with_tls, patience_s)
    with open(said, "wb") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", outcome.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def command_for(command: str, contact: Mapping[str, str], with_tls: bool, patience_s: float) -> str:
    """Complete a command by what it does not say.

    Parameters
    ----------
    command, patience_s : str, float
        As of `try_command`.
    contact : mapping
        Values of the names that may stand in the command.
    with_tls : bool
        Whether the manager speaks it.
    """
    if any(f"{{{name}}}" in command for name in _PLACES):
        for name in _PLACES:
            command = command.replace(f"{{{name}}}", shlex.quote(contact[name]))
        return command
    password = ["--password", contact["password_file"]] if contact["password_file"] else []
    options = ["--single-shot", f"--connect-timeout={max(1, int(patience_s))}", *password, *(["--ssl"] * with_tls)]
    return f"{command} {shlex.join([*options, contact['host'], contact['port']])}"


def _wait(
    outcome: Outcome,
    executor: VineFastExecutor,
    worker: subprocess.Popen[bytes] | None,
    said: str,
    future: Future[Any],
    deadline_s: float,
) -> None:
    """Wait until the call is done, nobody comes any more, or it is time."""
    while time.monotonic() < deadline_s:
        with suppress(FutureTimeout):
            future.exception(timeout=_LOOK_S)
            return
        stats = executor.stats()
        turned_away = stats["joins_without_ssl"] or stats["joins_with_ssl"]
        if worker is not None and worker.poll() is not None and not stats["workers_joined"]:
            # A batch system's command ends at once, and well, before its worker comes.
            outcome.status = worker.returncode
            if worker.returncode:
                deadline_s = min(deadline_s, time.monotonic() + _LAST_WORDS_S)
        # It would try again and again.
        is_final = any(words in _said_in(said) for words in _FINAL_WORDS) or any(map(_is_final, _notices()))
        if turned_away or (is_final and not stats["workers_joined"]):
            deadline_s = min(deadline_s, time.monotonic() + _LAST_WORDS_S)


def _is_final(notice: str) -> bool:
    return "protocol" in notice


def _note_result(outcome: Outcome, future: Future[Any], asked_s: float) -> None:
    if not future.done():
        return
    failure = future.exception()
    if failure is not None:
        outcome.failure = str(failure)
        return
    outcome.facts = facts = future.result()
    # Between asking and answer is no skew.
    outcome.skewed_s = min(0.0, facts["time_s"] - asked_s) or max(0.0, facts["time_s"] - time.time())


def _said_in(path: str) -> str:
    """Give the beginning and the end of a log; in the middle, vine_worker explains all of its options."""
    with suppress(OSError), open(path, "rb") as file:
        said = file.read(_SAID_NBYTES)
        file.seek(max(len(said), os.fstat(file.fileno()).st_size - _SAID_NBYTES))
        return (said + file.read()).decode(errors="replace").strip()
    return ""


def _notices() -> list[str]:
    """Give what the manager has said of workers that it sent away: to standard error, which is a file of `Child`."""
    with suppress(OSError), open("/proc/self/fd/2", errors="replace") as log:
        return list(dict.fromkeys(line.strip() for line in log if any(words in line for words in _NOTICES)))
    return []


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End the command with all of its process group; what else it has started bears the mark of `Child`."""
    for number, grace_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, number)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(grace_s)
            return
