"""The files of a call that TaskVine moves: where they lie while the call runs.

Behind the call's own payload comes a pickled `Plan` and its length as ``u32``.
"""

from __future__ import annotations

import os
import pickle
import shutil
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from . import kept, parsl_side

WORKER_PACKAGE = "vinefast_library"

_LENGTH = struct.Struct("<I")

# Of the bundle that runs now.
_sandbox = "."


class Plan(NamedTuple):
    """What is to be done around a call.

    Attributes
    ----------
    directory:
        Where the call runs, under the sandbox; None: where all calls do.
    outputs:
        Paths, under the sandbox, that the call may write to.
    required:
        Of these, those that it must have written to, and what the user calls them.
    own:
        Outputs that are inputs too.
    made:
        Outputs that stay on the worker.
    kept:
        One of these, where the call's value stays instead of going back; its size goes back then.
    """

    directory: str | None
    outputs: tuple[str, ...]
    required: tuple[tuple[str, str], ...]
    own: tuple[str, ...]
    made: tuple[str, ...] = ()
    kept: str | None = None


def enter(sandbox: bytes) -> None:
    """Note where the bundle's files are."""
    global _sandbox
    _sandbox = os.fsdecode(sandbox)


def in_sandbox(name: str) -> str:
    """Give the path of one of the bundle's files: what a `vinefast.files.WorkerPath` becomes on a worker."""
    return os.path.join(_sandbox, name)


def temp_file(name: str) -> Any:
    """Give the Parsl `File` that a `vinefast.TempFile` is on a worker."""
    from parsl.data_provider.files import File

    file = File("file")
    file.path = file.local_path = in_sandbox(name)
    file.filename = os.path.basename(name)
    return file


def read_kept(name: str) -> Any:
    """Give the value that a `vinefast.temps.Kept` is on a worker."""
    return kept.read(in_sandbox(name))


def identity(value: Any) -> Any:
    """Give what is given: a call of this brings a value back."""
    return value


def copy(file: Any, place: str) -> None:
    """Put a file, or a directory, where it is brought back from."""
    if os.path.isdir(file):
        shutil.copytree(file, place, symlinks=True)
        return
    try:
        os.link(file, place)
    except OSError:
        shutil.copy2(file, place)


# What is pickled on the submit side must name these as workers do.
for _function in (in_sandbox, temp_file, read_kept, identity, copy):
    _function.__module__ = f"{WORKER_PACKAGE}.files"


def split(payload: memoryview) -> tuple[memoryview, Plan]:
    """Separate a call's own payload from its plan."""
    (nbytes,) = _LENGTH.unpack_from(payload, len(payload) - _LENGTH.size)
    end = len(payload) - _LENGTH.size
    return payload[: end - nbytes], Plan(*pickle.loads(payload[end - nbytes : end]))


def run(plan: Plan, call: Callable[[], Any], name: str) -> Any:
    """Run a call among its files.

    Raises
    ------
    parsl.app.errors.MissingOutputs
        If it leaves without one that it should have made.
    """
    for path in plan.outputs:
        os.makedirs(os.path.dirname(in_sandbox(path)), exist_ok=True)
    for path in plan.own:
        _separate(in_sandbox(path))
    before = os.getcwd()
    if plan.directory is not None:
        directory = in_sandbox(plan.directory)
        os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
    try:
        result = call()
    finally:
        os.chdir(before)
    # An app that failed says so by what it returns.
    failed = isinstance(result, parsl_side.RemoteExceptionWrapper)
    if plan.kept is not None and not failed:
        result = kept.write(result, in_sandbox(plan.kept))
    if failed:
        _remove_all(plan.made)  # nobody is to take them for whole
    missing = [users for path, users in plan.required if not os.path.lexists(in_sandbox(path))]
    if missing and not failed:
        from parsl.app.errors import MissingOutputs
        from parsl.data_provider.files import File

        raise MissingOutputs(f"App {name} has not made {', '.join(missing)}", [File(path) for path in missing])
    return result


def _remove_all(names: tuple[str, ...]) -> None:
    for path in map(in_sandbox, names):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            os.unlink(path)


def _separate(path: str) -> None:
    """Make a copy of what is a link into the worker's cache, which other calls read as well."""
    copy = f"{path}.vinefast"
    if os.path.isdir(path):
        shutil.copytree(path, copy)
        shutil.rmtree(path)
    elif os.path.exists(path):
        shutil.copy2(path, copy)
    else:
        return
    os.rename(copy, path)
