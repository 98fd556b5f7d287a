"""Where TaskVine's programs are, and the script that starts its worker."""

from __future__ import annotations

import os
import shutil

from vinefast.errors import EngineStartError

# TaskVine's own name for it.
RESOURCE_MONITOR_VARIABLE = "CCTOOLS_RESOURCE_MONITOR"

START_SCRIPT: str = os.path.join(os.path.dirname(__file__), "start-worker.sh")
"""Runs a worker, the rest of its arguments, in a directory that is the worker's alone."""

_PREFIX_VARIABLE = "VINEFAST_TASKVINE_PREFIX"


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
    return _find(
        name,
        "There is no program",
        "TaskVine's programs come with 'conda install -c conda-forge ndcctools', with Debian's package "
        "coop-computing-tools (13 or newer), or with vinefast's scripts/install-taskvine. VINEFAST_TASKVINE_PREFIX "
        "names a prefix to look in first.",
    )


def found_by(path: str) -> str:
    """Say why `find_program` has found a program there."""
    directory = os.path.dirname(path)
    prefixes = {_PREFIX_VARIABLE: os.environ.get(_PREFIX_VARIABLE), "the prefix of the build": _built_with()}
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
        chosen = os.environ.get(_PREFIX_VARIABLE)
        if chosen and not os.path.isdir(os.path.join(chosen, "bin")):
            raise EngineStartError(
                f"{_PREFIX_VARIABLE} is {chosen!r}, but there is no {os.path.join(chosen, 'bin')}: unset it, or let it "
                f"name a prefix in which TaskVine is installed. {advice}"
            )
        prefixes = [chosen, _built_with()]
        places = [os.path.join(prefix, "bin") for prefix in prefixes if prefix] + os.get_exec_path()
    found = shutil.which(os.path.basename(name), path=os.pathsep.join(places))
    if found is None:
        raise EngineStartError(f"{lack} {name!r}; looked in {', '.join(places)}. {advice}")
    return os.path.abspath(found)


def _built_with() -> str | None:
    try:
        from vinefast._build_info import TASKVINE_PREFIX
    except ImportError:
        return None
    return TASKVINE_PREFIX
