"""Python environments that travel to workers: ``env_pack`` and ``app_pack``, and ``python_env`` of the factory.

Workers unpack them with library/environment.sh.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
import shlex
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from parsl.executors.taskvine import TaskVineManagerConfig

from vinefast import library
from vinefast._log_fields import fields
from vinefast.errors import InvalidConfiguration
from vinefast.workers import packing

logger: logging.Logger = logging.getLogger(__name__)

# Workers need the same one, to the minor version: calls hold byte code.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

SCRIPT = os.path.join(os.path.dirname(library.__file__), "environment.sh")

_KINDS = (
    "a tarball made by conda-pack, venv-pack or poncho_package_create, the path or name of a conda environment, "
    "or the path of a virtual environment"
)
# Archives that nobody has used for so long are removed.
_KEPT_S = 30 * 86400
_ARCHIVE_SUFFIXES = (".tar", ".gz", ".tgz", ".bz2", ".xz")


@dataclass(frozen=True)
class Environment:
    """An environment as it travels.

    Attributes
    ----------
    archive : str
        Path of the tarball.
    directory : str
        Name of the directory into which workers unpack it; another one for other content.
    """

    archive: str
    directory: str

    def command(self, script: str, archive: str, parent: str) -> str:
        """Give the beginning of a shell command, which runs the rest of it in the environment.

        Parameters
        ----------
        script, archive : str
            Where a worker has `SCRIPT` and the tarball.
        parent : str
            Where it may unpack it.
        """
        return shlex.join(["bash", script, archive, os.path.join(parent, self.directory), PYTHON])


def calls_environment(config: TaskVineManagerConfig, label: str | None = None) -> Environment | None:
    """Give the environment that calls are to run in, packed if need be; None: what workers have.

    `label` is that of the executor, for its log records.

    Raises
    ------
    InvalidConfiguration
        If there is none, or it cannot be used or packed.
    """
    if config.app_pack:
        return _packed("manager_config.app_pack", sys.prefix, config.extra_pkgs or [], label)
    if config.extra_pkgs:
        logger.warning(
            "Ignoring %s: app_pack is not set", _whose("manager_config.extra_pkgs", label), extra=fields(label)
        )
    if config.env_pack is None:
        return None
    return named_environment("manager_config.env_pack", config.env_pack, label)


def named_environment(field: str, name: str | os.PathLike[str], label: str | None = None) -> Environment:
    """Give the environment that a configuration field names, packed if need be.

    Parameters
    ----------
    field : str
        For error messages.
    name : str or path
        Of a tarball, a conda environment or a virtual environment.
    label : str, optional
        Of the executor, for its log records.

    Raises
    ------
    InvalidConfiguration
        If there is none, or it cannot be used or packed.
    """
    path = os.fspath(name)
    if os.path.isfile(path):
        return _ready_made(field, os.path.abspath(path))
    if os.path.isdir(path):
        return _packed(field, os.path.abspath(path), [], label)
    if os.sep in path or path.endswith(_ARCHIVE_SUFFIXES):
        raise InvalidConfiguration(f"{field} is {path!r}, which does not exist; accepted: {_KINDS}")
    return _packed(field, packing.conda_prefix(field, path), [], label)


def _ready_made(field: str, path: str) -> Environment:
    try:
        with tarfile.open(path) as archive:
            # The first will do: reading the whole of a large one takes long. Whether it runs is seen by the worker.
            paths = (os.path.normpath(member.name) for member in archive)
            version = next((found[1] for each in paths if (found := re.match(r"lib/python(\d+\.\d+)/", each))), None)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InvalidConfiguration(f"{field} is {path!r}, which is no tarball: {error}; accepted: {_KINDS}") from error
    if version is None:
        raise InvalidConfiguration(f"{field} is {path!r}, which holds no lib/python{PYTHON}; accepted: {_KINDS}")
    _check_version(field, path, [version])
    status = os.stat(path)
    return Environment(path, _directory(path, status.st_size, status.st_mtime_ns))


def _packed(field: str, prefix: str, extra_pkgs: Sequence[str], label: str | None) -> Environment:
    """Pack an environment, unless that has been done since it changed."""
    if not packing.is_conda(prefix) and not packing.is_virtual(prefix):
        raise InvalidConfiguration(
            f"{field}: {prefix!r} is neither a conda nor a virtual environment; make one, for example with "
            "'python -m venv', with parsl and your packages"
        )
    if packing.is_conda(prefix) and extra_pkgs:
        raise InvalidConfiguration(
            f"manager_config.extra_pkgs is {extra_pkgs!r}, which works with virtual environments alone; "
            f"install them into the conda environment {prefix!r}"
        )
    _check_version(field, prefix, packing.pythons_of(prefix))
    known, what = fields(label), _whose(field, label)
    projects = packing.editable_projects(prefix)
    projects.pop("vinefast", None)
    if packing.is_conda(prefix) and projects:
        logger.warning("%s: left out, since they are installed as editable: %s", what, ", ".join(projects), extra=known)
    if packing.uses_base_packages(prefix):
        logger.warning("%s: packages of the Python that %s is based on stay behind", what, prefix, extra=known)
    sources = [prefix, *projects.values(), *extra_pkgs]
    directory = _directory(sys.version, *sources, *(entry for source in sources for entry in _listing(source)))
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vinefast")
    archive = os.path.join(cache, f"{directory}.tar.gz")
    if os.path.exists(archive):
        logger.info("%s: %s has not changed since it was packed into %s", what, prefix, archive, extra=known)
    else:
        os.makedirs(cache, exist_ok=True)
        _pack(field, prefix, extra_pkgs, archive, label)
        _tidy(cache)
    # The time of change stays: TaskVine takes another one for another file.
    os.utime(archive, ns=(time.time_ns(), os.stat(archive).st_mtime_ns))
    return Environment(archive, directory)


def _pack(field: str, prefix: str, extra_pkgs: Sequence[str], archive: str, label: str | None) -> None:
    known, what = fields(label), _whose(field, label)
    logger.info("%s: packing %s", what, prefix, extra=known)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="packing-", dir=os.path.dirname(archive)) as scratch:
        draft = os.path.join(scratch, "environment.tar.gz")
        packing.pack(field, prefix, extra_pkgs, draft)
        os.replace(draft, archive)
    logger.info(
        "%s: packed %s%s into %s, %.0f MB, in %.1f s",
        what,
        prefix,
        f" and {', '.join(extra_pkgs)}" if extra_pkgs else "",
        archive,
        os.path.getsize(archive) / 1e6,
        time.monotonic() - began_s,
        extra=known,
    )


def _whose(field: str, label: str | None) -> str:
    return field if label is None else f"{field} of executor {label}"


def _tidy(cache: str) -> None:
    for path in glob.glob(os.path.join(glob.escape(cache), "vinefast-environment-*.tar.gz")):
        with suppress(FileNotFoundError):
            if time.time() - os.stat(path).st_atime > _KEPT_S:
                os.unlink(path)


def _check_version(field: str, path: str, versions: list[str]) -> None:
    if PYTHON not in versions:
        raise InvalidConfiguration(
            f"{field}: {path!r} has {' and '.join(f'Python {version}' for version in versions) or 'no Python'}, but "
            f"calls hold byte code of Python {PYTHON}, which runs here; make the environment with that version"
        )


def _directory(*parts: object) -> str:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=12)
    return f"vinefast-environment-{digest.hexdigest()}"


def _listing(source: str) -> Iterator[tuple[str, int, int]]:
    """List what tells whether a file, or those below a directory, are still the same."""
    if os.path.isfile(source):
        status = os.stat(source)
        yield source, status.st_size, status.st_mtime_ns
    for directory, subdirectories, names in os.walk(source):
        subdirectories[:] = sorted(
            name for name in subdirectories if name != "__pycache__" and not name.startswith(".")
        )
        for name in sorted(names):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            yield path, status.st_size, status.st_mtime_ns
