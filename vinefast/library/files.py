"""The files of a call that TaskVine moves: where they lie while the call runs.

TaskVine has a name of ours for each, an alias, beside the call's directory: names of users are not all that it can
write, and may meet. Inputs are put in their places before the call, and outputs taken from theirs after it. Only what
has a directory of its own, and a name that TaskVine can write, lies in its place from the beginning.

Behind the call's own payload comes a pickled `Plan` and its length as ``u32``.
"""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from . import parsl_side, seals, trees, value_file
from .failure import Unrunnable, pack_changed
from .protocol import STATUS_INPUT_CHANGED, STATUS_INPUT_SPOILED

WORKER_PACKAGE = "vinefast_library"

_LENGTH = struct.Struct("<I")

# Of the bundle that runs now.
_sandbox = b"."


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
        Inputs of which the call gets copies: those that are outputs too, and those that it may write to.
    made:
        Outputs that stay on the worker.
    value:
        One of these, where the call's value stays instead of going back; its size goes back then.
    inputs:
        Aliases and paths of what comes from the submit side.
    directories:
        Of these, directories that the call may write new files to; TaskVine gives a link to what all calls see.
    read:
        Aliases and paths of what other calls have made.
    aliases:
        Of the outputs, in their order.
    read_only:
        Inputs that the call's user may not write to.
    streams:
        Outputs that are taken even if the call's process dies.
    """

    directory: str | None
    outputs: tuple[str, ...]
    required: tuple[tuple[str, str], ...]
    own: tuple[str, ...]
    made: tuple[str, ...] = ()
    value: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    directories: tuple[str, ...] = ()
    read: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()


def enter(sandbox: bytes) -> None:
    """Note where the bundle's files are."""
    global _sandbox
    _sandbox = sandbox


def in_sandbox(name: str) -> str:
    """Give the path of one of the bundle's files: what a `vinefast.data.staging.WorkerPath` becomes on a worker."""
    return os.path.join(os.fsdecode(_sandbox), name)


def temp_file(name: str) -> Any:
    """Give the Parsl `File` that a `vinefast.TempFile` is on a worker."""
    from parsl.data_provider.files import File

    file = File("file")
    file.path = file.local_path = in_sandbox(name)
    file.filename = os.path.basename(name)
    return file


def read_kept(name: str) -> Any:
    """Give the value that a `vinefast.data.temps.Kept` is on a worker."""
    return value_file.read(in_sandbox(name))


def identity(value: Any) -> Any:
    """Give what is given: a call of this brings a value back."""
    return value


def copy(file: Any, place: str) -> None:
    """Put a file, or a directory, where it is brought back from."""
    trees.link(file, place) if os.path.isdir(file) else trees.link_file(file, place)


# What is pickled on the submit side must name these as workers do.
for _function in (in_sandbox, temp_file, read_kept, identity, copy):
    _function.__module__ = f"{WORKER_PACKAGE}.files"


def split(payload: memoryview) -> tuple[memoryview, Plan]:
    """Separate a call's own payload from its plan.

    Raises
    ------
    ValueError
        If it has none.
    """
    end = len(payload) - _LENGTH.size
    (nbytes,) = _LENGTH.unpack_from(payload, end) if end >= 0 else (0,)
    if not 0 < nbytes <= end:
        raise ValueError(f"a payload of {len(payload)} bytes with a plan of {nbytes}")
    return payload[: end - nbytes], Plan(*pickle.loads(payload[end - nbytes : end]))


def place(plan: Plan) -> list[tuple[seals.Seal, str]]:
    """Put what TaskVine has brought for a call in its places.

    Returns
    -------
    list of (Seal, str)
        Files that the call shares with others, and what the user calls them.

    Raises
    ------
    Unrunnable
        If another call has written to one of them.
    """
    sealed: list[tuple[seals.Seal, str]] = []
    read_only = set(plan.read_only)
    for alias, path in plan.inputs:
        source, goal = in_sandbox(alias), in_sandbox(path)
        if path in plan.own:
            if not seals.is_intact(source):
                raise Unrunnable(STATUS_INPUT_SPOILED, b"")
            _make_room(goal)
            _copy_to_write(source, goal)
            continue
        if path in plan.directories:
            _make_room(goal)
            trees.link(source, goal)
        else:
            _put(alias, path)
        sealed += _seal(goal, path.partition("/")[2], path in read_only)
    for alias, path in plan.read:
        if os.path.lexists(os.path.join(in_sandbox(alias), trees.PACKED)):
            _unpack(alias, path)
        else:
            _put(alias, path)
            sealed += _seal(in_sandbox(path), os.path.basename(path), False)
    for alias, path in zip(plan.aliases, plan.outputs, strict=True):
        source, goal = in_sandbox(alias), in_sandbox(path)
        os.makedirs(os.path.dirname(goal), exist_ok=True)
        if path in plan.streams and not os.path.lexists(goal):
            os.symlink(os.path.abspath(source), goal)
    return sealed


def run(plan: Plan, sealed: list[tuple[seals.Seal, str]], call: Callable[[], Any], name: str) -> Any:
    """Run a call among its files.

    Raises
    ------
    parsl.app.errors.MissingOutputs
        If it leaves without one that it should have made.
    Unrunnable
        If one of `sealed` was written to meanwhile.
    """
    before = os.getcwd()
    if plan.directory is not None:
        directory = in_sandbox(plan.directory)
        os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
    failed = True
    try:
        result = call()
        # An app that failed says so by what it returns.
        raised = isinstance(result, parsl_side.RemoteExceptionWrapper)
        if plan.value is not None and not raised:
            result = value_file.write(result, in_sandbox(plan.value))
        failed = raised
    finally:
        os.chdir(before)
        changed = {users for seal, users in sealed if seal.is_broken()}
        if failed or changed:
            with suppress(Exception):
                _take(plan, True)
        if changed:
            raise Unrunnable(STATUS_INPUT_CHANGED, pack_changed(name, sorted(changed)))
    if not failed:
        missing = [users for path, users in plan.required if not os.path.exists(in_sandbox(path))]
        _take(plan, failed=bool(missing))
        if missing:
            from parsl.app.errors import MissingOutputs
            from parsl.data_provider.files import File

            raise MissingOutputs(f"App {name} has not made {', '.join(missing)}", [File(path) for path in missing])
    return result


def _take(plan: Plan, failed: bool) -> None:
    """Put what a call has made where TaskVine takes it from."""
    outputs = set(plan.outputs)
    for alias, path in zip(plan.aliases, plan.outputs, strict=True):
        if failed and path in plan.made:
            continue  # nobody is to take it for whole
        source, goal = in_sandbox(path), in_sandbox(alias)
        if not os.path.exists(source) or os.path.realpath(source) == os.path.realpath(goal):
            continue
        if os.path.isdir(source) and not trees.returns_as_it_is(source):
            os.mkdir(goal)
            trees.pack(source, os.path.join(goal, trees.PACKED))
        elif os.path.islink(source) or _lies_within(path, outputs):
            _copy(source, goal)
        else:
            os.rename(source, goal)
        seals.unseal(goal)


def _seal(goal: str, users: str, read_only: bool) -> list[tuple[seals.Seal, str]]:
    if os.path.islink(goal) and os.path.isdir(goal):
        seals.close_tree(goal)
        return []
    files = [goal]
    if os.path.isdir(goal):
        files = [entry.path for _, entry in trees.walk(goal) if entry.is_file(follow_symlinks=False)]
    sealed = []
    for file in files:
        seal = seals.seal(file, read_only)
        if seal is None:
            raise Unrunnable(STATUS_INPUT_SPOILED, b"")
        sealed.append((seal, users))
    return sealed


def _put(alias: str, path: str) -> None:
    if alias != path:
        _make_room(in_sandbox(path))
        os.rename(in_sandbox(alias), in_sandbox(path))


def _unpack(alias: str, path: str) -> None:
    goal = in_sandbox(path)
    if alias == path:
        moved = f"{os.path.dirname(goal)}-packed"  # there is nothing else in it
        os.rename(os.path.dirname(goal), moved)
        packed = os.path.join(moved, os.path.basename(goal))
    else:
        packed = in_sandbox(alias)
    _make_room(goal)
    trees.unpack(os.path.join(packed, trees.PACKED), goal)


def _make_room(goal: str) -> None:
    os.makedirs(os.path.dirname(goal), exist_ok=True)
    if os.path.isdir(goal) and not os.path.islink(goal):
        shutil.rmtree(goal)
    elif os.path.lexists(goal):
        os.unlink(goal)


def _lies_within(path: str, others: set[str]) -> bool:
    while path := os.path.dirname(path):
        if path in others:
            return True
    return False


def _copy_to_write(source: str, goal: str) -> None:
    _copy(source, goal)
    for path in [goal, *(entry.path for _, entry in trees.walk(goal))] if os.path.isdir(goal) else [goal]:
        if not os.path.islink(path):
            os.chmod(path, os.stat(path).st_mode & 0o777 | stat.S_IWUSR)


def _copy(source: str, goal: str) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, goal, symlinks=True)
    else:
        shutil.copy2(source, goal)
