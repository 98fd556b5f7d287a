"""Versions of all that takes part, and where TaskVine's programs are."""

from __future__ import annotations

import platform
import ssl
import sys
from importlib.metadata import PackageNotFoundError, version

from vinefast import _core, _gil
from vinefast._build_info import TASKVINE_PREFIX, TASKVINE_VERSION
from vinefast._version import VERSION
from vinefast.errors import EngineStartError
from vinefast.workers.programs import find_program, found_by, program_version

_PACKAGES = ("parsl", "cloudpickle", "dill", "numpy", "psutil")
_PROGRAMS = ("vine_worker", "vine_factory", "vine_status")
_GIL_IS_ON = ", free-threaded, with the GIL switched on, which vinefast needs" if _gil.is_optional() else ""


def versions() -> dict[str, str | None]:
    """Give the versions of what runs in this process; None: it is not installed."""
    return {
        "vinefast": VERSION,
        **{name: _version_of(name) for name in _PACKAGES},
        "TaskVine (built with)": TASKVINE_VERSION,
        "Python": f"{platform.python_version()} ({platform.python_implementation()}{_GIL_IS_ON})",
        "Python program": sys.executable,
        "core": _core.__file__,
        "OpenSSL of Python": ssl.OPENSSL_VERSION,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()) or "unknown",
    }


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def programs() -> dict[str, dict[str, str | None]]:
    """Say of each of TaskVine's programs where it is and by what it was found, its version, or why there is none."""
    return {name: program(name) for name in _PROGRAMS}


def program(name: str) -> dict[str, str | None]:
    """Say where one of TaskVine's programs is: its ``path``, ``found_by``, ``version``, and ``problem``."""
    found: dict[str, str | None] = dict.fromkeys(("path", "found_by", "version", "problem"))
    try:
        found["path"] = path = find_program(name)
        found["found_by"] = found_by(path)
        found["version"] = program_version(path)
    except EngineStartError as error:
        found["problem"] = str(error)
    return found


def built_prefix() -> str:
    """Give the prefix of the TaskVine that vinefast was built with."""
    return TASKVINE_PREFIX
