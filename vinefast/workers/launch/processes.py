"""Processes with logs: how they are started, and how they end with all that they have started."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

from vinefast.errors import EngineStartError
from vinefast.library.process import GRACE_S
from vinefast.library.protocol import VINEFAST_LIBRARY
from vinefast.workers.descriptors import why_none_is_left, with_former_limit

logger: logging.Logger = logging.getLogger(__name__)

# What passes when somebody else needs less.
LACKS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)

_EXCERPT_LINES = 4
# Twice, since what tidies up has that time once more when the janitor has killed what was deaf.
_JANITOR_S = 2 * GRACE_S + 0.5
_LOOK_S = 0.02


def spawn(
    command: list[str],
    log_path: str,
    variables: Mapping[str, str],
    cwd: str | None = None,
    stdin: int = subprocess.DEVNULL,
    required: bool = True,
) -> subprocess.Popen[bytes]:
    """Start a process.

    Parameters
    ----------
    command
        The program and its arguments.
    log_path
        To which file its output is appended.
    variables
        Of its environment, besides ours.
    cwd, stdin
        As for `subprocess.Popen`.
    required
        Whether it is not to start without its log.

    Raises
    ------
    EngineStartError
        If it cannot be run.
    OSError
        One of `LACKS`, or that of the log.
    """
    with _open_log(log_path, required) as log:
        try:
            # A session of its own: Ctrl-C in the terminal is for the user's program alone.
            return subprocess.Popen(
                with_former_limit(command),
                cwd=cwd,
                env={**os.environ, **variables},
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno in LACKS:
                raise
            raise EngineStartError(f"Cannot run {command[0]}: {error.strerror}") from error


def _open_log(path: str, required: bool) -> IO[bytes]:
    """Open a log; unless it is required, calls are to go on without it where the run directory was removed, say."""
    try:
        return open(path, "ab")
    except OSError as error:
        if required or error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        logger.warning("What goes on in a new process is not kept: %s", error)
        return open(os.devnull, "ab")


def why_lacking(lack: OSError) -> str:
    """Say what no process can be started for lack of."""
    return why_none_is_left(lack.errno) if lack.errno in (errno.EMFILE, errno.ENFILE) else str(lack)


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and of all that it started, and free what we hold of it."""
    # What calls have started is ended by the library's janitor, which gives it time to tidy up.
    deadline_s = time.monotonic() + _JANITOR_S
    while members := session_members(process.pid):
        overdue_s = time.monotonic() - deadline_s
        for pid in members:
            if overdue_s > 0 or not _is_of_a_library(pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        if overdue_s > 0:
            break
        time.sleep(_LOOK_S)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _is_of_a_library(pid: int) -> bool:
    """Tell whether a library of our workers, and not one that we may be in ourselves, has started a process."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return False
    ours = f"{VINEFAST_LIBRARY}={os.environ.get(VINEFAST_LIBRARY)}".encode()
    return any(variable.startswith(VINEFAST_LIBRARY.encode() + b"=") and variable != ours for variable in variables)


def session_members(session: int) -> list[int]:
    """Give the living processes of a session, which a worker's tasks, in process groups of their own, are in, too."""
    members = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] != b"Z":
                members.append(int(name))
    return members


def log_excerpt(path: str, start: int = 0) -> str:
    """Name a log and quote the first and the last lines from `start` on."""
    try:
        with open(path, errors="replace") as log:
            log.seek(start)
            lines = log.read().splitlines()
    except OSError as error:
        return f"Its log {path} cannot be read: {error.strerror}"
    if len(lines) > 2 * _EXCERPT_LINES:
        lines[_EXCERPT_LINES:-_EXCERPT_LINES] = ["..."]
    return "\n".join([f"From {path}:", *(lines or ["(empty)"])])
