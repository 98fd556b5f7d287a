"""The words of a worker's command line, and of a shell's that runs it."""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import suppress

from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast.errors import EngineStartError
from vinefast.workers.contact import Contact
from vinefast.workers.programs import find_program, is_foreign
from vinefast.workers.scratch import Scratch

# A worker that was started by hand looks so long for a manager that it has lost: the network may come back, a program
# that was killed does not, and somebody else may get its port. TaskVine's own default is a quarter of an hour.
RECONNECT_S = 60
_NEVER_S = 10**9


def worker_arguments(config: TaskVineFactoryConfig, contact: Contact, elsewhere: bool = False) -> list[str]:
    """Give what a worker is told of itself and of the manager, which may be on another machine."""
    options = [*as_arguments(resource_options(config)), *ssl_arguments(contact)]
    # The last of equal options wins: the user's.
    return [*options, *shlex.split(config.worker_options or ""), *target(contact, elsewhere)]


def password_arguments(contact: Contact) -> list[str]:
    """Name the file with the password, if there is one, where workers see this machine's files."""
    return as_arguments({"--password": contact.password_file})


def copy_password(contact: Contact, scratch: Scratch) -> str | None:
    """Keep the password where workers find it though the run directory is removed; gives the copy, if there is one."""
    if contact.password_file is None:
        return None
    return shutil.copy(contact.password_file, os.path.join(scratch.path, "password"))


def ssl_arguments(contact: Contact) -> list[str]:
    """Have workers speak TLS, if the manager does."""
    # Also where a catalog says so, which anybody may have written into.
    return ["--ssl"] if contact.ssl else []


def as_arguments(values: dict[str, object]) -> list[str]:
    """Give options with their values; those that are None are left out."""
    return [text for name, value in values.items() if value is not None for text in (name, str(value))]


def leaving_arguments(config: TaskVineFactoryConfig) -> list[str]:
    """Give the options of workers that are ours: they leave with the manager or their parent, and never before."""
    return [
        "--single-shot",
        "--parent-death",
        f"--connect-timeout={config.worker_timeout}",
        f"--idle-timeout={_NEVER_S}",
    ]


def resource_options(config: TaskVineFactoryConfig) -> dict[str, object]:
    """Give the options that say how large a worker is; one that has no value: as large as its machine."""
    return {f"--{name}": getattr(config, name) or None for name in ("cores", "gpus", "memory", "disk")}


def fewer_cores() -> int | None:
    """Give the cores that this process may run on, if the machine has others, which a worker would take as well.

    So it is in a batch system's job. start-worker.sh does the same where workers run elsewhere.
    """
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or 1) else None


def target(contact: Contact, elsewhere: bool) -> list[str]:
    """Say where the manager is: by its name, if that is known elsewhere; else by its address."""
    if contact.project_name is not None and elsewhere:
        return [*(["--catalog", contact.catalog] if contact.catalog else []), "-M", contact.project_name]
    return [contact.address, str(contact.port)]


def name_for_a_shell(program: str) -> str:
    """Give the path of a program that is here, but not on PATH, where there is none or that of another TaskVine, which
    the manager would send away; any other name as it is, for it may be elsewhere.
    """
    on_path = shutil.which(program)
    if on_path is None or is_foreign(on_path):
        with suppress(EngineStartError):
            return find_program(program)
    return program


def word_for_a_shell(program: str) -> str:
    """Give what a shell elsewhere is to run: the program as that finds it; if it does not, the one that is here."""
    here = name_for_a_shell(program)
    name = shlex.quote(program)
    if here == program:
        return name
    if shutil.which(program) is not None:  # that of another TaskVine, and jobs often get this PATH
        return f"$(command -v {shlex.quote(here)} || echo {name})"
    return f"$(command -v {name} || echo {shlex.quote(here)})"
