"""Which files TaskVine moves for a call: relative paths where workers do not see this directory, and URLs."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from parsl.data_provider.files import File
from parsl.data_provider.staging import Staging
from parsl.utils import RepresentationMixin, get_std_fname_mode

from vinefast import library, rules, urls
from vinefast._core import FILE_INPUT, FILE_OUTPUT, FILE_URL, CallFiles
from vinefast.cached import CachedFile
from vinefast.errors import InputMissing, UnreachableFile
from vinefast.library import files as on_worker

# What `vinefast._core.CallFiles` takes, without the name.
Move = tuple[Any, ...]

_numbers = itertools.count()

# On workers the library is a package of this name, and what is pickled refers to it there.
sys.modules.setdefault(on_worker.WORKER_PACKAGE, library)
sys.modules.setdefault(f"{on_worker.WORKER_PACKAGE}.files", on_worker)


class WorkerPath(str):
    """The path of a file that only workers have: an absolute path there, a mere name here.

    Attributes
    ----------
    move : tuple
        Where they get it, as in the moves of `vinefast._core.CallFiles`, without the name.
    """

    move: Move

    @classmethod
    def of_url(cls, url: str, patience: urls.Patience) -> WorkerPath:
        """Make a path for one call's view of what is at a URL."""
        path = cls._named_like(url.partition("?")[0])
        path.move = (FILE_URL, urls.curl_source(url, patience))
        return path

    @classmethod
    def of_cached(cls, file: CachedFile, patience: urls.Patience) -> WorkerPath:
        """Make a path for one call's view of a `CachedFile`."""
        try:
            caching = file.caching()
            if file.is_remote:
                path = cls.of_url(file.url, patience)
            else:
                path = cls._named_like(file.path)
                path.move = (FILE_INPUT, os.path.abspath(file.path))
        except OSError as error:
            raise InputMissing(f"{file.path!r} ({error.filename}): {error.strerror}") from None
        path.move = (*path.move[:2], caching)
        return path

    @classmethod
    def _named_like(cls, source: str) -> WorkerPath:
        # TaskVine garbles other names.
        name = os.path.basename(source.rstrip("/")).encode("ascii", "replace").decode().replace("?", "_")
        return cls(f"u{next(_numbers):x}/{name or 'file'}")

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return on_worker.in_sandbox, (str(self),)


class URLStaging(Staging, RepresentationMixin):
    """Let workers fetch ``http``, ``https`` and ``ftp`` inputs themselves: once each, for all calls that read them.

    For an executor's `storage_access`, before other providers. Workers need ``curl``.

    Parameters
    ----------
    connect_timeout_s : int
        How long a worker waits for a server's answer to its call, in seconds.
    idle_timeout_s : int
        How long it waits for the next byte.

    Raises
    ------
    InvalidConfiguration
        If one of them is not a positive whole number.
    """

    def __init__(
        self, connect_timeout_s: int = urls.Patience().connect_s, idle_timeout_s: int = urls.Patience().idle_s
    ) -> None:
        rules.require("connect_timeout_s", connect_timeout_s, rules.POSITIVE)
        rules.require("idle_timeout_s", idle_timeout_s, rules.POSITIVE)
        self.connect_timeout_s = connect_timeout_s
        self.idle_timeout_s = idle_timeout_s

    def can_stage_in(self, file: File) -> bool:
        """Whether this provider brings the file."""
        return file.scheme in ("http", "https", "ftp")

    def stage_in(self, dm: Any, executor: str, file: File, parent_fut: Any) -> None:
        """Leave it to TaskVine: nothing has to run before the call."""
        file.local_path = WorkerPath.of_url(file.url, self.patience)

    @property
    def patience(self) -> urls.Patience:
        """How long workers wait for servers."""
        return urls.Patience(self.connect_timeout_s, self.idle_timeout_s)


class StagedFiles(CallFiles):
    """The files of one call, and what is to be done with those that come back.

    Parameters
    ----------
    moves, trailer
        As `vinefast._core.CallFiles` takes them.
    returns : list of (str, str, bool)
        Where TaskVine leaves a file, where it belongs, and whether it is appended to what is there.
    """

    def __init__(self, moves: list[tuple[Any, ...]], trailer: bytes, returns: list[tuple[str, str, bool]]) -> None:
        self._returns = returns

    def deliver(self) -> None:
        """Put what came back in its place.

        Raises
        ------
        OSError
            If that is impossible.
        """
        try:
            for arrived, place, appended in self._returns:
                if os.path.lexists(arrived):
                    _append(arrived, place) if appended else _replace(arrived, place)
        finally:
            for arrived, _, _ in self._returns:
                _remove(arrived)


def seen_by_workers(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], patience: urls.Patience
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give a call's arguments with each `CachedFile` as the plain file that workers see.

    Raises
    ------
    InputMissing
        If one cannot be read.
    """

    def seen(value: Any) -> Any:
        return value.as_file(WorkerPath.of_cached(value, patience)) if isinstance(value, CachedFile) else value

    kwargs = {name: value if name in ("stdout", "stderr") else seen(value) for name, value in kwargs.items()}
    if inputs := _listed(kwargs, "inputs"):
        kwargs["inputs"] = [*map(seen, inputs)]
    return tuple(map(seen, args)), kwargs


def staged_files(args: tuple[Any, ...], kwargs: Mapping[str, Any], shared: bool) -> StagedFiles | None:
    """Find the files of a call that TaskVine has to move.

    Parameters
    ----------
    args, kwargs
        The call's arguments, as Parsl gives them: files may be any of them, and in the lists ``inputs`` and
        ``outputs``; ``stdout`` and ``stderr`` are paths that the call writes to.
    shared : bool
        Whether workers see the files of this machine; then only URLs are moved.

    Returns
    -------
    StagedFiles or None
        None if there are none.

    Raises
    ------
    UnreachableFile
        If a relative path leads out of the current directory.
    InputMissing
        If an input cannot be read.
    """
    plan = _Plan()
    for file in _inputs(args, kwargs):
        path = file.local_path if file.local_path is not None else file.path
        if isinstance(path, WorkerPath):
            plan.inputs[path] = path.move
        elif not shared and not os.path.isabs(path):
            plan.add_input(path, required=file.scheme == "file")
    if not shared:
        for file in _listed(kwargs, "outputs"):
            if isinstance(file, File):
                path = file.local_path if file.local_path is not None else file.path
                if not os.path.isabs(path):
                    plan.add_output(path, required=file.scheme == "file")
        for name in ("stdout", "stderr"):
            stream = kwargs.get(name)
            if isinstance(stream, (str, os.PathLike, tuple)):
                path, mode = get_std_fname_mode(name, stream)
                if isinstance(stream, File):
                    mode = "w"  # as Parsl's bash apps have it
                if not os.path.isabs(path):
                    plan.add_output(path, appended=mode.startswith("a"))
    return plan.files(shared) if plan.inputs or plan.outputs else None


class _Plan:
    def __init__(self) -> None:
        self.directory = f"c{next(_numbers):x}"
        self.inputs: dict[str, Move] = {}
        self.outputs: dict[str, Move] = {}
        self.required: dict[str, str] = {}
        self.returns: list[tuple[str, str, bool]] = []

    def add_input(self, path: str, required: bool) -> None:
        source = os.path.abspath(path)
        if not os.access(source, os.R_OK):
            if not required:
                return  # its staging provider brings it in the call
            reason = "it cannot be read" if os.path.exists(source) else "it does not exist"
            raise InputMissing(f"{path!r} ({source}): {reason}")
        self.inputs[self._name(path)] = (FILE_INPUT, source)

    def add_output(self, path: str, required: bool = False, appended: bool = False) -> None:
        name = self._name(path)
        if required:
            self.required[name] = path
        if name in self.outputs:
            return
        place = os.path.abspath(path)
        directory, base = os.path.split(place)
        # Under a name of its own until it is whole: what is there stays until then.
        arrived = os.path.join(directory, f".{base[:100]}.vinefast-{uuid.uuid4().hex}")
        os.makedirs(directory, exist_ok=True)
        self.outputs[name] = (FILE_OUTPUT, arrived)
        self.returns.append((arrived, place, appended))

    def files(self, shared: bool) -> StagedFiles:
        own = tuple(name for name in self.outputs if name in self.inputs)
        trailer = (None if shared else self.directory, tuple(self.outputs), tuple(self.required.items()), own)
        moves = [
            (kind, source, name, *caching)
            for part in (self.inputs, self.outputs)
            for name, (kind, source, *caching) in part.items()
        ]
        return StagedFiles(moves, pickle.dumps(trailer, 5), self.returns)

    def _name(self, path: str) -> str:
        inside = os.path.normpath(path)
        if inside == ".." or inside.startswith("../"):
            raise UnreachableFile(
                f"{path!r} leads out of the current directory, and workers do not share its file system: give a path "
                "below it, an absolute path that they can reach, or set manager_config.shared_fs if they do"
            )
        return os.path.join(self.directory, inside)


def _inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[File]:
    for value in args:
        if isinstance(value, File):
            yield value
    for name, value in kwargs.items():
        if isinstance(value, File) and name not in ("stdout", "stderr"):
            yield value
    for value in _listed(kwargs, "inputs"):
        if isinstance(value, File):
            yield value


def _listed(kwargs: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = kwargs.get(name)
    return value if isinstance(value, (list, tuple)) else ()


def _append(arrived: str, place: str) -> None:
    with open(arrived, "rb") as new, open(place, "ab") as all_of_it:
        shutil.copyfileobj(new, all_of_it)


def _replace(arrived: str, place: str) -> None:
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    os.replace(arrived, place)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
