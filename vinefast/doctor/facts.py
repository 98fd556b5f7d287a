"""What ``vinefast info`` shows, section by section: names of facts, and values that JSON can take."""

from __future__ import annotations

import os
import queue
import resource
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast.doctor import limits
from vinefast.doctor.versions import built_prefix, programs, versions
from vinefast.errors import EngineStartError, EventLogError
from vinefast.events.run import find_all
from vinefast.workers import by_hand
from vinefast.workers.contact import ADDRESS, manager_address, speaks_tls
from vinefast.workers.scratch import local_scratch_dir

_KNOCK_S = 3.0
_ANSWER_S = 5.0


def facts() -> dict[str, dict[str, Any]]:
    """Give all facts of this machine and this installation."""
    return {"versions": versions(), "engine": _engine(), "places": _places(), "limits": _limits()}


def _engine() -> dict[str, Any]:
    found: dict[str, Any] = {"built with": built_prefix()}
    for name, program in programs().items():
        found[name] = program["problem"] or f"{program['version']}, {program['path']} (found by {program['found_by']})"
    return found


def _places() -> dict[str, Any]:
    temporary = tempfile.gettempdir()
    return {
        "run directory": _known(lambda: os.path.join(os.getcwd(), "runinfo", "NNN")),
        "files of an executor": os.path.join("runinfo", "NNN", "LABEL"),
        "TaskVine's logs": os.path.join("runinfo", "NNN", "LABEL", "taskvine"),
        "what calls print": os.path.join("runinfo", "NNN", "LABEL", "output"),
        "temporary files": temporary,
        "scratch of workers here": local_scratch_dir(TaskVineFactoryConfig()) or temporary,
        "packed environments": os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vinefast"
        ),
        "address for workers elsewhere": _known(lambda: manager_address(None, local=False)),
        "host name": socket.gethostname(),
    }


def _limits() -> dict[str, Any]:
    files, processes = limits.limit_of(resource.RLIMIT_NOFILE), limits.limit_of(resource.RLIMIT_NPROC)
    temporary = tempfile.gettempdir()
    return {
        "open files, soft limit": files[0],
        "open files, hard limit": files[1],
        "processes, soft limit": processes[0],
        "processes, control group's limit": limits.cgroup_processes(),
        "cores of the machine, as a worker counts": limits.physical_cores(),
        "cores that this process may use": limits.usable_cores(),
        "cores, control group's limit": limits.cgroup_cores(),
        "memory of the machine, bytes": limits.physical_memory(),
        "memory, bytes, control group's limit": limits.cgroup_memory(),
        f"room in {limits.MEMORY_DIRECTORY}, bytes": _known(lambda: limits.room_of(limits.MEMORY_DIRECTORY)),
        f"room in {temporary}, bytes": _known(lambda: limits.room_of(temporary)),
        f"room in {_known(os.getcwd)}, bytes": _known(lambda: limits.room_of(os.getcwd())),
    }


def facts_of_run(run: str) -> dict[str, Any]:
    """Give what is known of a run, by its directory or by its manager's address.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if os.path.isdir(run):
        return _of_directory(run)
    found = ADDRESS.fullmatch(run)
    if found is None:
        raise ValueError(f"{run!r} is no directory; accepted: the directory of a run, or HOST:PORT")
    return _of_address(found["host"].strip("[]"), int(found["port"]))


def _of_directory(run: str) -> dict[str, Any]:
    found: dict[str, Any] = {"directory": _known(lambda: os.path.abspath(run))}
    with suppress(EventLogError):
        find_all(run)
        found["what happens, or happened, there"] = f"vinefast status {run}"
    try:
        start = by_hand.find(run)
    except EngineStartError as problem:
        return {**found, "manager": str(problem)}
    found["workers are to have"] = start.versions or "not known"
    found["started by"] = f"vinefast worker {run}"
    found["program"] = start.program
    found["password"] = start.password_file or "none"
    if start.by_name:
        return {**found, "manager": f"{start.address}:{start.port}, found by a catalog"}
    return {**found, **_of_address(start.address, start.port)}


def _of_address(host: str, port: int) -> dict[str, Any]:
    found: dict[str, Any] = {"manager": f"{host}:{port}"}
    try:
        socket.create_connection((host, port), _KNOCK_S).close()
    except (OSError, UnicodeError, OverflowError) as problem:
        return {**found, "answers": f"no: {problem}"}
    return {**found, "answers": True, "speaks TLS": speaks_tls(host, port)}


def _known(ask: Callable[[], Any]) -> Any:
    """Give an answer, or why there is none: a disk may hang, too."""
    answers: queue.Queue[Any] = queue.Queue()

    def answer() -> None:
        try:
            answers.put(ask())
        except (OSError, EngineStartError) as problem:
            answers.put(str(problem))

    threading.Thread(target=answer, name="vinefast-fact", daemon=True).start()
    try:
        return answers.get(timeout=_ANSWER_S)
    except queue.Empty:
        return f"no answer in {_ANSWER_S:g} s"
