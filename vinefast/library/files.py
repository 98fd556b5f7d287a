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

from . import parsl_side

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
    """

    directory: str | None
    outputs: tuple[str, ...]
    required: tuple[tuple[str, str], ...]
    own: tuple[str, ...]


def enter(sandbox: bytes) -> None:
    """Note where the bundle's files are."""
    global _sandbox
    _sandbox = os.fsdecode(sandbox)


def in_sandbox(name: str) -> str:
    """Give the path of one of the bundle's files: what a `vinefast.files.WorkerPath` becomes on a worker."""
    return os.path.join(_sandbox, name)


# What is pickled on the submit side must name this as workers do.
in_sandbox.__module__ = f"{WORKER_PACKAGE}.files"


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
    missing = [users for path, users in plan.required if not os.path.lexists(in_sandbox(path))]
    # An app that failed says so by what it returns.
    if missing and not isinstance(result, parsl_side.RemoteExceptionWrapper):
        from parsl.app.errors import MissingOutputs
        from parsl.data_provider.files import File

        raise MissingOutputs(f"App {name} has not made {', '.join(missing)}", [File(path) for path in missing])
    return result


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
