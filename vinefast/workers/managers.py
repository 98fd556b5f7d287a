"""TaskVine's managers, whoever has started them: as they describe themselves, to us or to TaskVine's catalog."""

from __future__ import annotations

import json
import queue
import re
import resource
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection, InvalidURL
from typing import Any

from vinefast.errors import EngineStartError
from vinefast.workers.programs import find_program

# For how long a catalog or a manager may be silent.
_ANSWER_S = 10
# Managers tell the catalog how it is with them once a minute.
_CATALOG_S = 15.0
# For how long all of an answer may take.
_LOOK_S = 2 * _ANSWER_S
# One of ten thousand workers says some 20 MB. What is read of an answer may take 25 times its bytes.
_MAX_NBYTES = 64 * 1024 * 1024
# What vine_status may take: with 100,000 managers it is 170 MB.
_MEMORY_NBYTES = 1024 * 1024 * 1024
_NO_END = f"its answer has no end, after {_MAX_NBYTES:,} bytes"


@dataclass(frozen=True)
class ManagerState:
    """A manager, as it describes itself.

    Attributes
    ----------
    project : str
        Its name in the catalog; empty if it has none.
    owner, host : str
        The user, and the machine.
    port : int
    version : str
        Of TaskVine.
    protocol : int or None
        Version of what it speaks with workers; None: not said.
    ssl : bool
        Whether it speaks TLS.
    started_s : float
        Seconds since the epoch.
    waiting, running, done : int
        Tasks. Those of vinefast are bundles of calls.
    workers : int
        That are connected.
    """

    project: str
    owner: str
    host: str
    port: int
    version: str
    protocol: int | None
    ssl: bool
    started_s: float
    waiting: int
    running: int
    done: int
    workers: int


@dataclass(frozen=True)
class WorkerOfManager:
    """A worker that is connected to such a manager.

    Attributes
    ----------
    host, address : str
        Name of its machine, and whence it has connected.
    cores, memory_mb, disk_mb, gpus : int
        What it offers.
    cores_used : int
        Of those.
    running, done : int
        Tasks.
    """

    host: str
    address: str
    cores: int
    cores_used: int
    memory_mb: int
    disk_mb: int
    gpus: int
    running: int
    done: int


def _limit(pid: int, kind: int, nbytes: int) -> None:
    # A user whose own limit is lower may not raise it.
    known = [each for each in resource.prlimit(pid, kind) if each != resource.RLIM_INFINITY]
    least = min([nbytes, *known])
    resource.prlimit(pid, kind, (least, least))


class _Query:
    """One run of ``vine_status``, which asks a catalog.

    Parameters
    ----------
    hosts : str or None
        Of the catalog.

    Raises
    ------
    EngineStartError
        If there is no such program.
    """

    def __init__(self, hosts: str | None) -> None:
        command = [find_program("vine_status"), "--verbose", f"--timeout={_ANSWER_S}"]
        self._until_s = time.monotonic() + _LOOK_S
        # In a file: what a pipe holds is less than what a catalog lists.
        self._output = tempfile.TemporaryFile()
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*command, *([f"--catalog={hosts}"] if hosts else [])],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            start_new_session=True,
        )
        with suppress(ProcessLookupError):  # it has ended
            _limit(self._process.pid, resource.RLIMIT_FSIZE, _MAX_NBYTES)
            _limit(self._process.pid, resource.RLIMIT_AS, _MEMORY_NBYTES)

    @property
    def is_done(self) -> bool:
        """Whether the answer is there, or has been waited for long enough."""
        return self._process.poll() is not None or time.monotonic() >= self._until_s

    def answer(self) -> list[dict[str, Any]]:
        """Wait for the objects that are the answer.

        Raises
        ------
        EngineStartError
            If there is none; with the reason.
        """
        try:
            code = self._process.wait(max(0.0, self._until_s - time.monotonic()))
            self._output.seek(0)
            self._errors.seek(0)
            said = self._errors.read(4096).decode(errors="replace").strip()
            if code == -signal.SIGXFSZ:
                raise EngineStartError(_NO_END)
            if code:
                raise EngineStartError(_reason(said) if said else f"vine_status has ended with status {code}")
            return _objects(self._output.read())
        except subprocess.TimeoutExpired:
            raise EngineStartError(f"no answer in {_LOOK_S} s") from None
        finally:
            self.close()

    def close(self) -> None:
        """End it, whether or not it has answered."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._errors.close()


class Catalog:
    """TaskVine's catalog, asked now and then.

    Parameters
    ----------
    hosts : str or None
        ``HOST:PORT``, several with commas; None: ``CATALOG_HOST``, or else TaskVine's own.
    """

    def __init__(self, hosts: str | None = None) -> None:
        self._hosts = hosts
        self._query: _Query | None = None
        self._asked_s = 0.0
        self._found: list[ManagerState] = []
        self.error: str = ""
        """Why what is known is not of now; empty if nothing hinders."""

    def look(self, wait: bool = False) -> list[ManagerState]:
        """Give the managers that were listed last, and ask again if that is long ago.

        Parameters
        ----------
        wait : bool
            For the answer.
        """
        now_s = time.monotonic()
        try:
            if self._query is None and (not self._asked_s or now_s - self._asked_s > _CATALOG_S):
                self._asked_s = now_s
                self._query = _Query(self._hosts)
            if self._query is not None and (wait or self._query.is_done):
                query, self._query = self._query, None
                self._found = sorted(map(_manager, query.answer()), key=lambda each: (each.project, each.host))
                self.error = ""
        except EngineStartError as error:
            self.error = str(error)
        return self._found

    @property
    def is_asked(self) -> bool:
        """Whether the answer is yet to come."""
        return self._query is not None

    def close(self) -> None:
        """Ask no more."""
        if self._query is not None:
            self._query.close()
            self._query = None


def ask(host: str, port: int, tls: bool) -> tuple[ManagerState, list[WorkerOfManager]]:
    """Ask a manager how it is with it, and about its workers, as a browser can.

    TaskVine's ``vine_status --workers`` cannot read what a manager says while a task has bytes other than ASCII in its
    command, as bundles have.

    Parameters
    ----------
    host, port, tls : str, int, bool
        Where it listens, and whether it speaks TLS there.

    Raises
    ------
    EngineStartError
        If it does not answer; with the reason.
    """
    answers: queue.SimpleQueue[tuple[ManagerState, list[WorkerOfManager]] | Exception] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put(_ask(host, port, tls))
        except Exception as error:
            answers.put(error)

    # A resolver may hang, and one that sends a byte now and then is never silent.
    threading.Thread(target=answer, name="vinefast-ask", daemon=True).start()
    try:
        found = answers.get(timeout=_LOOK_S)
    except queue.Empty:
        raise EngineStartError(f"no whole answer in {_LOOK_S} s") from None
    if isinstance(found, Exception):
        raise found
    return found


def _ask(host: str, port: int, tls: bool) -> tuple[ManagerState, list[WorkerOfManager]]:
    managers = _get(host, port, tls, "/manager_status")
    if not managers:
        raise EngineStartError("what has answered says nothing of itself")
    manager = _manager({"name": host, "port": port, **managers[0]})
    return manager, [_worker(each) for each in _get(host, port, tls, "/worker_status")]


def _get(host: str, port: int, tls: bool, path: str) -> list[dict[str, Any]]:
    data = bytearray()
    try:
        with closing(_connection(host, port, tls)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            while part := answer.read1(1 << 16):
                data += part
                if len(data) > _MAX_NBYTES:
                    raise EngineStartError(_NO_END)
    except InvalidURL as error:
        raise EngineStartError(str(error)) from None
    except HTTPException as error:
        raise EngineStartError(f"it does not speak HTTP ({type(error).__name__})") from None
    except OSError as error:
        raise EngineStartError(error.strerror or str(error)) from None
    except (UnicodeError, OverflowError) as error:  # no machine, and no port, can have this name
        raise EngineStartError(str(error)) from None
    return _objects(bytes(data))


def _connection(host: str, port: int, tls: bool) -> HTTPConnection:
    if not tls:
        return HTTPConnection(host, port, timeout=_ANSWER_S)
    # The certificate of a manager is its own; what comes is shown, and nothing else.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=_ANSWER_S, context=context)


def _objects(data: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise EngineStartError(f"what has answered is no JSON: {error}") from None
    if not isinstance(found, list):
        raise EngineStartError("what has answered is no list")
    return [each for each in found if isinstance(each, dict)]


def _manager(said: dict[str, Any]) -> ManagerState:
    return ManagerState(
        project=_text(said, "project"),
        owner=_text(said, "owner"),
        host=_text(said, "name"),
        port=_number(said, "port"),
        version=_text(said, "version"),
        protocol=_number(said, "protocol") if "protocol" in said else None,
        ssl=said.get("ssl") is True,
        started_s=float(_number(said, "starttime")),
        waiting=_number(said, "tasks_waiting"),
        running=_number(said, "tasks_running"),
        done=_number(said, "tasks_complete"),
        workers=_number(said, "workers"),
    )


def _worker(said: dict[str, Any]) -> WorkerOfManager:
    return WorkerOfManager(
        host=_text(said, "hostname"),
        address=_text(said, "addrport"),
        cores=_number(said, "cores_total"),
        cores_used=_number(said, "cores_inuse"),
        memory_mb=_number(said, "memory_total"),
        disk_mb=_number(said, "disk_total"),
        gpus=_number(said, "gpus_total"),
        running=_number(said, "total_tasks_running"),
        done=_number(said, "total_tasks_complete"),
    )


def _reason(said: str) -> str:
    """Give the last line of what vine_status has written, without its name, the time, and an errno that was none."""
    last = said.splitlines()[-1]
    return re.sub(r"^.*?vine_status(\[\d+\]fatal)?: |: Success$", "", last).strip()


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name, "")
    return value if isinstance(value, str) else str(value)


def _number(said: dict[str, Any], name: str) -> int:
    value = said.get(name, 0)
    # No count is larger, and a float holds each of these.
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1 << 64 else 0
