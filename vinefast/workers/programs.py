"""Where TaskVine's programs are, of which release, and the script that starts its worker."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess

from vinefast._build_info import TASKVINE_PREFIX, TASKVINE_VERSION
from vinefast.errors import EngineStartError

logger: logging.Logger = logging.getLogger(__name__)

# TaskVine's own name for it.
RESOURCE_MONITOR_VARIABLE = "CCTOOLS_RESOURCE_MONITOR"

START_SCRIPT: str = os.path.join(os.path.dirname(__file__), "start-worker.sh")
"""Runs a worker, the rest of its arguments, in a directory that is the worker's alone."""

PREFIX_VARIABLE = "VINEFAST_TASKVINE_PREFIX"
BUILD_PREFIX = "the prefix of the build"
"""What `found_by` says of the TaskVine that vinefast is linked with."""
_ANSWER_S = 5.0
# TaskVine tells its protocol to nobody but the other end.
_NEWER_PROTOCOL = ((7, 17), 13)
_OLDER_PROTOCOL = 12


def find_program(name: str) -> str:
    """Find one of TaskVine's programs.

    Parameters
    ----------
    name : str
        A path, or a name to look for: first in the prefix that ``VINEFAST_TASKVINE_PREFIX`` names, then in the one that
        vinefast was built with, then on ``PATH``.

    Raises
    ------
    EngineStartError
        If it is in none of them.
    """
    if engine_inside():
        come_from = "vinefast's wheel has TaskVine's programs inside: install it again (pip install --force-reinstall)."
    else:
        come_from = (
            "TaskVine's programs come with 'conda install -c conda-forge ndcctools', with Debian's package "
            "coop-computing-tools (13 or newer), or with vinefast's scripts/install-taskvine."
        )
    return _find(name, "There is no program", f"{come_from} {PREFIX_VARIABLE} names a prefix to look in first.")


def engine_inside() -> bool:
    """Whether this vinefast was installed from a wheel that has TaskVine inside."""
    prefix = _built_with()
    return prefix is not None and os.path.dirname(prefix) == os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def find_worker(name: str) -> str:
    """Find the program of workers on this machine, which the manager of this process is to understand.

    Parameters
    ----------
    name : str
        As in `find_program`.

    Raises
    ------
    EngineStartError
        If it is nowhere, or speaks another protocol.
    """
    path = find_program(name)
    if not _is_taskvines_own(path):
        return path
    try:
        release = program_version(path)
    except EngineStartError as error:
        logger.warning("%s; it is started all the same, though it may not understand this manager", error)
        return path
    if not speak_alike(release, TASKVINE_VERSION):
        understood = protocol_of(TASKVINE_VERSION)
        if found_by(path) == PREFIX_VARIABLE:
            way_out = f"Unset {PREFIX_VARIABLE}"
        else:
            ours = f"a vine_worker of TaskVine {TASKVINE_VERSION}"
            way_out = f"Name {ours} (factory_config.worker_executable, {PREFIX_VARIABLE})"
        raise EngineStartError(
            f"{path} is of TaskVine {release}, which speaks version {protocol_of(release)} of TaskVine's protocol, but "
            f"vinefast is built with TaskVine {TASKVINE_VERSION}, which speaks version {understood}, "
            f"and would send each such worker away. {way_out}, or build vinefast anew with TaskVine {release}."
        )
    return path


def is_foreign(path: str) -> bool:
    """Tell whether a program is a ``vine_worker`` that the manager of this process is sure not to understand."""
    try:
        return _is_taskvines_own(path) and not speak_alike(program_version(path), TASKVINE_VERSION)
    except EngineStartError:
        return False


def program_version(path: str) -> str:
    """Ask one of TaskVine's programs for its version.

    Raises
    ------
    EngineStartError
        If it does not answer.
    """
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineStartError(f"{path} --version gives no answer in {_ANSWER_S:g} s") from None
    except OSError as error:
        raise EngineStartError(f"{path} cannot be run: {error.strerror}") from error
    words = (answer.stdout + answer.stderr).strip()
    found = re.search(r"version (\d+\.\d+\S*)", words)
    if found is None:
        raise EngineStartError(
            f"{os.path.basename(path)} does not say its version (exit status {answer.returncode}): {words[-200:]}"
        )
    return found[1]


def protocol_of(release: str) -> int | None:
    """Give the version of TaskVine's protocol that a release of TaskVine speaks; None: the release is not known."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None:
        return None
    since, newer = _NEWER_PROTOCOL
    return newer if (int(found[1]), int(found[2])) >= since else _OLDER_PROTOCOL


def speak_alike(one: str, other: str) -> bool:
    """Tell whether two releases of TaskVine have the same protocol, as far as they are known."""
    return len({protocol_of(one), protocol_of(other)} - {None}) < 2


def found_by(path: str) -> str:
    """Say why `find_program` has found a program there."""
    directory = os.path.dirname(path)
    prefixes = {PREFIX_VARIABLE: os.environ.get(PREFIX_VARIABLE), BUILD_PREFIX: _built_with()}
    for reason, prefix in prefixes.items():
        if prefix and directory == os.path.abspath(os.path.join(prefix, "bin")):
            return reason
    return "PATH" if directory in map(os.path.abspath, os.get_exec_path()) else "its path"


def find_resource_monitor() -> str:
    """Find the program that measures tasks, where ``CCTOOLS_RESOURCE_MONITOR`` says or where other programs are.

    Raises
    ------
    EngineStartError
        If it is not there.
    """
    name = os.environ.get(RESOURCE_MONITOR_VARIABLE, "resource_monitor")
    return _find(
        name,
        "manager_config.autolabel needs TaskVine's program",
        "It comes with 'conda install -c conda-forge ndcctools', not with Debian's package coop-computing-tools. "
        f"{RESOURCE_MONITOR_VARIABLE} gives the path of one that is elsewhere.",
    )


def _find(name: str, lack: str, advice: str) -> str:
    if os.sep in name:
        places = [os.path.dirname(os.path.abspath(name))]
    else:
        chosen = os.environ.get(PREFIX_VARIABLE)
        if chosen and not os.path.isdir(os.path.join(chosen, "bin")):
            unset = f"unset it{', since vinefast has TaskVine inside' if engine_inside() else ''}"
            raise EngineStartError(
                f"{PREFIX_VARIABLE} is {chosen!r}, but there is no {os.path.join(chosen, 'bin')}: {unset}, or let it "
                f"name a prefix in which TaskVine is installed.{'' if engine_inside() else f' {advice}'}"
            )
        prefixes = [chosen, _built_with()]
        places = [os.path.join(prefix, "bin") for prefix in prefixes if prefix] + os.get_exec_path()
    found = shutil.which(os.path.basename(name), path=os.pathsep.join(places))
    if found is None:
        for place in places:
            path = os.path.join(place, os.path.basename(name))
            if os.path.isfile(path):
                raise EngineStartError(
                    f"{path} is there, but cannot be executed: its mode or its file system (noexec) forbids that. "
                    f"Run chmod +x {path}, or install what it belongs to elsewhere."
                )
        raise EngineStartError(f"{lack} {name!r}; looked in {', '.join(places)}. {advice}")
    return os.path.abspath(found)


def _is_taskvines_own(path: str) -> bool:
    # A script that starts one may not pass a question on, but that of scripts/install-taskvine does.
    if os.path.exists(os.path.join(os.path.dirname(path), os.pardir, "vinefast-install.json")):
        return True
    try:
        with open(path, "rb") as program:
            return program.read(4) == b"\x7fELF"
    except OSError:
        return False


def _built_with() -> str | None:
    return TASKVINE_PREFIX
