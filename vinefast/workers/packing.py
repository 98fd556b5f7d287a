"""Pack a conda or a virtual environment into a tarball that can be unpacked anywhere."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from types import ModuleType
from urllib.parse import unquote, urlsplit

from vinefast.errors import InvalidConfiguration


def is_conda(prefix: str) -> bool:
    """Whether a directory is a conda environment."""
    return os.path.isdir(os.path.join(prefix, "conda-meta"))


def is_virtual(prefix: str) -> bool:
    """Whether a directory is a virtual environment."""
    return os.path.isfile(os.path.join(prefix, "pyvenv.cfg"))


def uses_base_packages(prefix: str) -> bool:
    """Whether a directory is a virtual environment that sees the packages of its base Python, too."""
    if not is_virtual(prefix):
        return False
    with open(os.path.join(prefix, "pyvenv.cfg")) as file:
        return re.search(r"(?im)^include-system-site-packages\s*=\s*true", file.read()) is not None


def pythons_of(prefix: str) -> list[str]:
    """List the versions of Python in an environment, such as 3.11."""
    return sorted(path.rpartition("python")[2] for path in _inside(prefix, "lib", "python*.*") if os.path.isdir(path))


def editable_projects(prefix: str) -> dict[str, str]:
    """Give the directories, by name of project, that are installed in an environment as editable."""
    projects = {}
    for distribution in metadata.distributions(path=_inside(prefix, "lib", "python*.*", "site-packages")):
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            projects[distribution.metadata["Name"].lower()] = unquote(urlsplit(origin["url"]).path)
    return projects


def conda_prefix(field: str, name: str) -> str:
    """Give the directory of the conda environment of that name.

    Raises
    ------
    InvalidConfiguration
        If conda does not know it.
    """
    conda_pack = _import("conda_pack", "conda-pack", field)
    try:
        prefix: str = conda_pack.CondaEnv.from_name(name, ignore_editable_packages=True).prefix
        return prefix
    except (conda_pack.CondaPackException, OSError) as error:
        raise InvalidConfiguration(
            f"{field} is {name!r}, which is neither a file nor a directory here, nor the name of a conda environment: "
            f"{error}"
        ) from error


def pack(field: str, prefix: str, extra_pkgs: Sequence[str], archive: str) -> None:
    """Pack the environment in a directory.

    Parameters
    ----------
    field : str
        The configuration field, for error messages.
    prefix : str
        Where the environment is.
    extra_pkgs : sequence of str
        What pip is to install into the packed copy.
    archive : str
        The tarball to write, in the directory for temporary files too.

    Raises
    ------
    InvalidConfiguration
        If that is impossible.
    """
    if is_conda(prefix):
        conda_pack = _import("conda_pack", "conda-pack", field)
        try:
            conda_pack.pack(
                prefix=prefix,
                output=archive,
                format="tar.gz",
                force=True,
                ignore_editable_packages=True,
                ignore_missing_files=True,
            )
        except conda_pack.CondaPackException as error:
            raise InvalidConfiguration(f"{field}: {prefix!r} cannot be packed: {error}") from error
        return
    projects = editable_projects(prefix)
    if not projects and not extra_pkgs:
        _pack_virtual(field, prefix, archive)
        return
    with tempfile.TemporaryDirectory(dir=os.path.dirname(archive)) as scratch:
        copy = os.path.join(scratch, "environment")
        _copy_virtual(prefix, copy)
        if projects:
            _pip(field, copy, "uninstall", "--yes", *projects)
        # Workers need no vinefast; what else is editable is installed as its users would.
        wanted = [path for name, path in projects.items() if name != "vinefast"] + list(extra_pkgs)
        if wanted:
            _pip(field, copy, "install", *wanted)
        _pack_virtual(field, copy, archive)


def _pack_virtual(field: str, prefix: str, archive: str) -> None:
    venv_pack = _import("venv_pack", "venv-pack2", field)
    try:
        venv_pack.pack(prefix=prefix, output=archive, format="tar.gz", force=True)
    except venv_pack.VenvPackException as error:
        raise InvalidConfiguration(f"{field}: {prefix!r} cannot be packed: {error}") from error


def _copy_virtual(prefix: str, copy: str) -> None:
    shutil.copytree(prefix, copy, symlinks=True)
    before, after = os.fsencode(os.path.join(prefix, "bin")), os.fsencode(os.path.join(copy, "bin"))
    for path in _inside(copy, "bin", "*"):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "r+b") as script:
                content = script.read()
                if content.startswith(b"#!"):
                    script.seek(0)
                    script.truncate()
                    script.write(content.replace(before, after, 1))


def _pip(field: str, prefix: str, *arguments: str) -> None:
    python = os.path.join(prefix, "bin", "python")
    command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "-q", *arguments]
    # What PYTHONPATH brings is not of this environment.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    if done.returncode:
        raise InvalidConfiguration(
            f"{field}: 'pip {' '.join(arguments)}' failed in the copy of the environment:\n{done.stderr.strip()}"
        )


def _import(module: str, project: str, field: str) -> ModuleType:
    try:
        return __import__(module)
    except ImportError as error:
        raise InvalidConfiguration(
            f"{field} needs {project} to pack an environment: pip install 'vinefast[env]', or give a tarball"
        ) from error


def _inside(prefix: str, *pattern: str) -> list[str]:
    return glob.glob(os.path.join(glob.escape(prefix), *pattern))
