"""Entry of both modes: ``python -m vinefast_library.checked 3.11 MODULE ARGUMENTS``, which runs the module if it can.

Calls hold byte code, which only the Python version that made it can run, and other versions crash on. Neither does
anything work if the environment that was sent along could not be unpacked (environment.sh). Then every call is
answered with the reason.

A worker may have any Python 3: this file, `refusal` and `arguments` use no syntax newer than 3.6.
"""

import os
import platform
import runpy
import sys


def _problem(version):
    """Say why no call can run here; empty if they can."""
    if "VINEFAST_PROBLEM" in os.environ:
        return os.environ["VINEFAST_PROBLEM"]
    if platform.python_version_tuple()[:2] == tuple(version.split(".")):
        return ""
    return (
        f"the worker's Python ({sys.executable}, version {platform.python_version()}, on {platform.node()}) cannot run "
        f"what Python {version} on the submit side has pickled. Send an environment along (env_pack or app_pack of "
        f"manager_config), or bring Python {version} with init_command"
    )


def _main():
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


if __name__ == "__main__":
    _main()
