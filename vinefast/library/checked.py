"""Entry of both modes: ``python vinefast_library.zip 3.11 MODULE ARGUMENTS`` runs the module if this Python can.

Calls hold byte code, which only the Python version that made it can run, and other versions crash on. Neither does
anything work if the environment that was sent along could not be unpacked (environment.sh), or if init_command has
ended the shell. Then every call is answered with the reason.

A worker may have any Python 3: this file, `refusal`, `arguments` and `protocol` use no syntax newer than 3.6.
"""

import os
import platform
import runpy
import stat
import sys

from .protocol import VINEFAST_INIT_COMMAND, VINEFAST_INIT_STATUS, VINEFAST_PROBLEM

_LAST_WORDS_NBYTES = 1000


def _last_words() -> str:
    """Give the end of what was written to our standard output so far; a worker takes it into a file."""
    try:
        if not stat.S_ISREG(os.fstat(1).st_mode):
            return ""
        with open("/proc/self/fd/1", "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _LAST_WORDS_NBYTES))
            words = file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return "Its last words: " + words if words else "It said nothing."


def _problem(version: str) -> str:
    """Say why no call can run here; empty if they can."""
    if VINEFAST_PROBLEM in os.environ:
        return os.environ[VINEFAST_PROBLEM]
    if VINEFAST_INIT_STATUS in os.environ:
        status, command = os.environ[VINEFAST_INIT_STATUS], os.environ[VINEFAST_INIT_COMMAND]
        return f"init_command failed on {platform.node()} with exit status {status}: {command}\n{_last_words()}"
    if platform.python_version_tuple()[:2] == tuple(version.split(".")):
        return ""
    return (
        f"the worker's Python ({sys.executable}, version {platform.python_version()}, on {platform.node()}) cannot run "
        f"what Python {version} on the submit side has pickled. Send an environment along (env_pack or app_pack of "
        f"manager_config), or bring Python {version} with init_command"
    )


def main() -> None:
    """Run what the arguments say, or answer calls with the reason why not."""
    version, module = sys.argv[1:3]
    del sys.argv[1:3]
    problem = _problem(version)
    if not problem:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    from . import refusal

    if module.endswith(".once"):
        refusal.refuse_call(problem)
    else:
        refusal.refuse_calls(problem)
