"""Versions of all that takes part, and where TaskVine's programs are."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from vinefast import _core
from vinefast._build_info import TASKVINE_PREFIX, TASKVINE_VERSION
from vinefast._version import VERSION
from vinefast.errors import EngineStartError
from vinefast.workers.programs import find_program, found_by

_PACKAGES = ("parsl", "cloudpickle", "dill", "numpy", "psutil")
_PROGRAMS = ("vine_worker", "vine_factory", "vine_status")
_ANSWER_S = 5.0


def versions() -> dict[str, str | None]:
    """Give the versions of what runs in this process; None: it is not installed."""
    return {
        "vinefast": VERSION,
        **{name: _version_of(name) for name in _PACKAGES},
        "TaskVine (built with)": TASKVINE_VERSION,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
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


def speak_alike(one: str, other: str) -> bool:
    """Tell whether two releases of TaskVine have the same protocol: it was changed with 7.17."""
    return _is_newer(one) == _is_newer(other)


def _is_newer(release: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) >= (7, 17)


def built_prefix() -> str:
    """Give the prefix of the TaskVine that vinefast was built with."""
    return TASKVINE_PREFIX
