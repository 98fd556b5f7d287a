"""The Pythons of this machine that extension modules can be built for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

MINORS = range(10, 15)

# Asked of a Python: its version, and what it lacks. A free-threaded one, and another than CPython, have another ABI.
ABOUT = """
import json, os, sys, sysconfig
has = {
    "headers": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    "GIL": not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "CPython": sys.implementation.name == "cpython",
}
json.dump([sys.version_info[:2], [what for what in has if not has[what]], sys.executable], sys.stdout)
"""


def about(python: str | Path) -> tuple[tuple[int, int], str] | None:
    """Return version and path of a Python that can be built for; say why another one cannot."""
    try:
        run = subprocess.run([python, "-c", ABOUT], capture_output=True, text=True, timeout=60)
        version, lacking, path = json.loads(run.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if lacking:
        print(f"{path}: no wheel, since it has no {', no '.join(lacking)}.")
        return None
    return tuple(version), path


def find() -> dict[tuple[int, int], str]:
    """Return a Python of each minor version that is on PATH or in pyenv."""
    found: dict[tuple[int, int], str] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in MINORS:
        name = f"python3.{minor}"
        places = [shutil.which(name), *sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"), reverse=True)]
        seen = next(filter(None, (about(place) for place in places if place)), None)
        if seen and seen[0] == (3, minor):
            found[seen[0]] = seen[1]
        else:
            print(f"No Python 3.{minor} with headers is on PATH or in pyenv: no wheel for it.")
    return found
