"""What ``vinefast worker`` needs to know of an executor: a file in the executor's directory, for its owner alone."""

from __future__ import annotations

import glob
import json
import os
import pwd
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from vinefast.errors import EngineStartError
from vinefast.library import parsl_side
from vinefast.workers.contact import Contact

NAME = "contact.json"


@dataclass(frozen=True)
class WorkerStart:
    """How to start a worker of an executor by hand.

    Attributes
    ----------
    program : str
        TaskVine's worker: a name to look for, or a path.
    arguments : sequence of str
        Its arguments, without the password.
    address : str
        Name or number of the manager's host.
    port : int
        The manager's port.
    by_name : bool
        Whether workers find the manager in a catalog, and not at that address.
    password_file : str or None
        What workers have to know; None: nothing.
    versions : str
        What the program has, and workers are to have.
    """

    program: str
    arguments: Sequence[str]
    address: str
    port: int
    by_name: bool = False
    password_file: str | None = None
    versions: str = ""


def announce(directory: str, program: str, arguments: Sequence[str], contact: Contact) -> str:
    """Write the file for workers of an executor with this directory; give its path.

    Parameters
    ----------
    directory : str
        Where it goes.
    program, arguments : str, sequence of str
        As in `WorkerStart`.
    contact : Contact
        How workers reach the manager.
    """
    password_file = contact.password_file
    if password_file is not None and os.path.dirname(password_file) == directory:
        # Elsewhere, what is above the directory may have another name.
        password_file = os.path.basename(password_file)
    path = os.path.join(directory, NAME)
    passing = f"{path}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(passing)
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w") as file:
            json.dump(
                {
                    "program": program,
                    "arguments": list(arguments),
                    "address": contact.address,
                    "port": contact.port,
                    "by_name": contact.project_name is not None,
                    "password_file": password_file,
                    "versions": parsl_side.versions(),
                },
                file,
            )
        os.replace(passing, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(passing)
        raise
    return path


def find(run_dir: str) -> WorkerStart:
    """Read how to start a worker of the executor with this directory, or of the only one in this run directory.

    Raises
    ------
    EngineStartError
        If there is none, or several, or the file cannot be read, or could be somebody else's work: it names a program
        that is going to run.
    """
    found = [path for path in (os.path.join(run_dir, NAME),) if os.path.exists(path)]
    found = found or sorted(glob.glob(os.path.join(glob.escape(run_dir), "*", NAME)))
    if not found:
        contacts = glob.glob(os.path.join(glob.escape(run_dir), "*", "*", NAME))
        if contacts:
            places = ", ".join(sorted({os.path.dirname(os.path.dirname(path)) for path in contacts}))
            raise EngineStartError(f"{run_dir} has the directories of runs; name one: {places}")
        raise EngineStartError(
            f"There is no {NAME} in {run_dir}, nor in a directory there: the run is over, or has not begun, or its "
            "executor starts its workers itself (its worker_launch_method is not 'manual')"
        )
    if len(found) > 1:
        places = ", ".join(os.path.dirname(path) for path in found)
        raise EngineStartError(f"{run_dir} has several executors; name one: {places}")
    (path,) = found
    try:
        with open(path) as file:
            _check_owner(os.path.dirname(path) or ".", os.stat(os.path.dirname(path) or "."))
            _check_owner(path, os.fstat(file.fileno()))
            start = WorkerStart(**json.load(file))
    except OSError as error:
        raise EngineStartError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise EngineStartError(f"{path} is not by this version of vinefast: {error}") from error
    if start.password_file is None:
        return start
    password_file = os.path.join(os.path.dirname(os.path.abspath(path)), start.password_file)
    if not os.access(password_file, os.R_OK):
        reason = "cannot be read by you" if os.path.exists(password_file) else "is gone: the run is over"
        raise EngineStartError(f"The password file {password_file}, which {path} names, {reason}")
    return WorkerStart(**{**vars(start), "password_file": password_file})


def _check_owner(path: str, status: os.stat_result) -> None:
    """Raise `EngineStartError` if somebody else but root could have written what is there.

    A group may write to a directory, as some masks have it: what it puts there is its own, which shows.
    """
    if status.st_uid not in (os.geteuid(), 0):
        reason = f"belongs to user {_name_of(status.st_uid)}"
    elif status.st_mode & (stat.S_IWOTH | (0 if stat.S_ISDIR(status.st_mode) else stat.S_IWGRP)):
        reason = f"can be written to by others (its mode is {stat.S_IMODE(status.st_mode):o})"
    else:
        return
    raise EngineStartError(
        f"{path} {reason}, and what {NAME} says is run as it is; accepted: a run of your own, to which nobody else can "
        "write. For another one, give HOST:PORT and --password FILE"
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
