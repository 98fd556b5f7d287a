"""The Pythons that extension modules can be built for: those of this machine, and of Debian those that it lacks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import debian_python
import root_directory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conf"))

from debian import DebianError  # noqa: E402

MINORS = range(10, 15)

# Asked of a Python: its version, and what it lacks. A free-threaded one, and another than CPython, have another ABI.
ABOUT = """
import json, os, sys, sysconfig
has = {
    "headers": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    "GIL": not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "CPython": sys.implementation.name == "cpython",
}
lacking = [what for what in has if not has[what]]
json.dump([sys.version_info[:2], lacking, sys.executable, sysconfig.get_path("include")], sys.stdout)
"""


class Python(NamedTuple):
    """One that can be built for, and where its headers are."""

    version: tuple[int, int]
    path: str
    include: Path


def about(python: str | Path) -> Python | None:
    """Return a Python that can be built for; say why another one cannot."""
    try:
        run = subprocess.run([python, "-c", ABOUT], capture_output=True, text=True, timeout=60)
        version, lacking, path, include = json.loads(run.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if lacking:
        print(f"{path}: no wheel, since it has no {', no '.join(lacking)}.")
        return None
    return Python(tuple(version), path, Path(include))


def find() -> dict[tuple[int, int], Python]:
    """Return a Python of each minor version that is on PATH or in pyenv."""
    found: dict[tuple[int, int], Python] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in MINORS:
        name = f"python3.{minor}"
        places = [shutil.which(name), *sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"), reverse=True)]
        seen = next(filter(None, (about(place) for place in places if place)), None)
        if seen and seen.version == (3, minor):
            found[seen.version] = seen
    return found


def find_or_unpack(directory: Path) -> list[Python]:
    """Return a Python of each minor version: of this machine, else of Debian, unpacked into directory."""
    found = find()
    for version in ((3, minor) for minor in MINORS):
        if version not in found and (python := unpack(version, directory)):
            found[version] = python
    return [found[version] for version in sorted(found)]


def named(python: str, directory: Path) -> Python | None:
    """Return the Python of that path or name, of Debian if the machine has no program of that name."""
    if not shutil.which(python) and (name := re.fullmatch(r"python(\d)\.(\d+)", python)):
        return unpack((int(name[1]), int(name[2])), directory)
    return about(python)


def unpack(version: tuple[int, int], directory: Path) -> Python | None:
    """Return Debian's Python of that version; say why there is none."""
    reason = "No release of Debian has it."
    try:
        if version in root_directory.SUITES:
            return about(debian_python.unpack(version, directory))
    except DebianError as error:
        reason = str(error)
    print(f"No Python {version[0]}.{version[1]} with headers is on PATH or in pyenv: no wheel for it. {reason}")
    return None
