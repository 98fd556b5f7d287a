"""Which files TaskVine moves for a call: relative paths where workers do not see this directory, and URLs."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from parsl.data_provider.files import File
from parsl.utils import get_std_fname_mode

from vinefast._core import FILE_INPUT, FILE_MADE, FILE_OUTPUT, FILE_READ, CallFiles, Engine, TempHandle
from vinefast.data import arrivals, delivery, temps, urls
from vinefast.data.cached import CachedFile, caching_of_directory
from vinefast.data.staging import Move, WorkerPath, file_name, unreadable
from vinefast.data.temps import Kept, Store, TempFile
from vinefast.errors import InputMissing, UnreachableFile
from vinefast.library import files as on_worker
from vinefast.library import trees

# As `StagedFiles` takes them.
Return = tuple[str, str | None, bool]

_numbers = itertools.count()


class Temporary(NamedTuple):
    """What a call reads or makes on its worker, by that handle, in the sandbox of its bundle."""

    handle: TempHandle
    path: str


class StagedFiles(CallFiles):
    """The files of one call, and what is to be done with those that come back.

    Parameters
    ----------
    moves, trailer
        As `vinefast._core.CallFiles` takes them.
    returns : list of (str, str or None, bool)
        Where TaskVine leaves a file, where it belongs, if anybody still wants it, and whether it is appended to what is
        there.
    handles : list of TempHandle
        What has to stay on the workers until the call is done.
    kept : Store, optional
        Where the call's value stays.
    """

    def __init__(
        self,
        moves: list[tuple[Any, ...]],
        trailer: bytes,
        returns: list[Return],
        handles: Sequence[TempHandle] = (),
        kept: Store | None = None,
    ) -> None:
        self._returns = returns
        self._handles = handles
        self._kept = kept

    def result(self, value: Any) -> Any:
        """Make a `Kept` of the size of a value that stays on a worker."""
        if self._kept is None or not isinstance(value, int):
            return value  # an app that failed says so by what it returns
        return Kept(self._kept, value)

    def deliver(self) -> None:
        """Put what came back in its place.

        Raises
        ------
        OSError
            If that is impossible.
        """
        try:
            for arrived, place, appended in sorted(self._returns, key=lambda each: each[1] or ""):  # directories first
                if place is not None and os.path.lexists(arrived):
                    _unpack(arrived)
                    delivery.put(arrived, place, appended)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what came back, or is left of it."""
        for arrived, _, _ in self._returns:
            delivery.remove(arrived)


class CallPlan:
    """Which files TaskVine moves for one call, and how.

    Files may be any of a call's arguments, and in the lists ``inputs`` and ``outputs``; ``stdout`` and ``stderr`` are
    paths that the call writes to. What stays on workers (`TempFile`, `Kept`), or is kept there (`CachedFile`), is found
    wherever it is among the arguments, while these are serialized: it asks for the plan then
    (`vinefast._core.plan_of_call`).

    Parameters
    ----------
    shared : bool
        Whether workers see the files of this machine; then only URLs and what stays on workers are moved.
    engine : Engine, optional
        Whose workers these are.
    claim : callable, optional
        Lets the call make a `Store`, by a new handle of that engine; gives the one before.
    timeouts : urls.Timeouts, optional
        With the servers of URLs.

    Attributes
    ----------
    error : Exception or None
        Why the call cannot be submitted, whatever serializers made of it.
    """

    def __init__(
        self,
        shared: bool,
        engine: Engine | None = None,
        claim: Callable[[Store, TempHandle], TempHandle | None] | None = None,
        timeouts: urls.Timeouts | None = None,
    ) -> None:
        self._timeouts = timeouts or urls.Timeouts()
        self._seen: dict[int, tuple[CachedFile, File]] = {}
        self.error: Exception | None = None
        self._shared = shared
        self._engine = engine
        self._claim = claim
        self._directory = f"c{next(_numbers):x}"
        self._inputs: dict[str, Move] = {}
        self._outputs: dict[str, Move] = {}
        self._required: dict[str, str] = {}
        self._directories: set[str] = set()
        self._writable: set[str] = set()
        self._read_only: set[str] = set()
        self._streams: set[str] = set()
        self._returns: list[Return] = []
        self._made: dict[Store, Temporary] = {}
        self._read: dict[Store, Temporary] = {}
        self._before: dict[Store, TempHandle | None] = {}
        self._kept: Store | None = None
        self._brings = False

    def find(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallPlan:
        """Find files among the arguments of a call, as Parsl gives them.

        Raises
        ------
        UnreachableFile
            If a relative path leads out of the current directory.
        InputMissing
            If an input cannot be read.
        InvalidConfiguration
            If it makes a temporary file that another call, or executor, makes.
        OSError
            If an output cannot be put where it belongs.
        """
        for file in _files_in(args, kwargs):
            path = file.local_path if file.local_path is not None else file.path
            if isinstance(path, WorkerPath):
                self._read_at(path)
            elif not self._shared and not os.path.isabs(path):
                self._add_input(path, required=file.scheme == "file")
        for file in _listed(kwargs, "outputs"):
            if isinstance(file, TempFile):
                self._make(file._store)
            elif isinstance(file, File) and not self._shared:
                path = file.local_path if file.local_path is not None else file.path
                if not os.path.isabs(path):
                    self._add_output(path, required=file.scheme == "file")
        for name in () if self._shared else ("stdout", "stderr"):
            stream = kwargs.get(name)
            if isinstance(stream, (str, os.PathLike, tuple)):
                path, mode = get_std_fname_mode(name, stream)
                if isinstance(stream, File):
                    mode = "w"  # as Parsl's bash apps have it
                if not os.path.isabs(path):
                    self._add_output(path, appended=mode.startswith("a"), is_file=True)
                    self._streams.add(self._name(path))
        return self

    def keep(self, store: Store) -> CallPlan:
        """Let the call's value stay on its worker."""
        self._make(store)
        self._kept = store
        return self

    def only_bring(self) -> CallPlan:
        """Note that the call does nothing but bring back what lies on workers."""
        self._brings = True
        return self

    def bring(self, place: str) -> WorkerPath:
        """Bring one more file back, to an absolute path; gives the path that the call has to write to."""
        name = os.path.join(self._directory, "brought", os.path.basename(place))
        self._return(name, place)
        return WorkerPath(name)

    def forget_returns(self) -> None:
        """Put nothing that comes back from now on anywhere."""
        self._returns[:] = [(arrived, None, appended) for arrived, _, appended in self._returns]

    def withdraw(self) -> None:
        """Let others make what the call was to make: it could not be submitted."""
        for store, before in self._before.items():
            store.withdraw(self._made[store].handle, before)

    def __bool__(self) -> bool:
        """Whether anything was found so far."""
        return bool(self._inputs or self._outputs or self._made or self._read)

    def seen(self, cached: CachedFile) -> File:
        """Return a `CachedFile` as workers see it.

        Raises
        ------
        InputMissing
            If the source cannot be read.
        """
        # Serializers may ask again, if pickle is not up to the other arguments.
        known = self._seen.get(id(cached))
        if known is None:
            try:
                path = WorkerPath.of_cached(cached, self._timeouts)
            except InputMissing as error:
                self.error = error
                raise
            known = self._seen[id(cached)] = cached, cached.as_file(path)
            self._read_at(path)
        return known[1]

    def _read_at(self, path: WorkerPath) -> None:
        self._inputs[name := str(path)] = path.move
        if path.writable or path.read_only:
            (self._writable if path.writable else self._read_only).add(name)

    def path_of(self, store: Store) -> str | None:
        """Return where the bundle's sandbox has what is on workers; None if it is on those of another executor."""
        if store in self._made:
            return self._made[store].path
        handle = store.handle
        if handle is not None and not handle.belongs_to(self._engine):
            return None
        if handle is None or not handle.temp.has_maker:
            self.error = temps.without_maker(store.name)
            raise self.error
        return self._read.setdefault(store, Temporary(handle, self._name_of(store))).path

    def files(self) -> StagedFiles | None:
        """Return what was found; None if nothing is moved."""
        if not self:
            return None
        # For TaskVine each has a name of ours: names of users are not all that it can write, and may meet. To rename
        # costs, so what is alone in a directory keeps one that it can write.
        aliases = (f"{self._directory}-{n:x}" for n in itertools.count())
        moves: list[Move] = []

        def moved(kind: int, source: Any, path: str, *caching: Any, alone: bool = False) -> tuple[str, str]:
            alias = path if alone and trees.is_plain_name(path) else next(aliases)
            moves.append((kind, source, alias, *caching))
            return alias, path

        inputs = [
            moved(kind, source, path, *caching, alone=path in self._read_only)
            for path, (kind, source, *caching) in self._inputs.items()
        ]
        outputs = [moved(kind, source, path) for path, (kind, source) in self._outputs.items()]
        read = [moved(FILE_READ, handle.temp, path, alone=True) for handle, path in self._read.values()]
        made = [moved(FILE_MADE, handle.temp, path) for handle, path in self._made.values()]
        trailer = on_worker.Plan(
            None if self._shared else self._directory,
            tuple(path for _, path in (*outputs, *made)),
            (*self._required.items(), *((temporary.path, store.name) for store, temporary in self._made.items())),
            (*(path for path in self._outputs if path in self._inputs), *self._writable),
            tuple(path for _, path in made),
            self._made[self._kept].path if self._kept is not None else None,
            tuple(sorted(inputs, key=lambda each: each[1])),  # directories before what lies in them
            tuple(self._directories),
            tuple(read),
            tuple(alias for alias, _ in (*outputs, *made)),
            tuple(self._read_only),
            tuple(self._streams),
        )
        handles = [handle for handle, _ in (*self._read.values(), *self._made.values())]
        files = StagedFiles(moves, pickle.dumps(tuple(trailer), 5), self._returns, handles, self._kept)
        files.brings = self._brings
        return files

    def _make(self, store: Store) -> None:
        if store in self._made:
            return
        assert self._engine is not None
        assert self._claim is not None
        # Each try has a record of its own in the engine, where the former may not be over.
        handle = TempHandle(self._engine, store.name)
        self._before[store] = self._claim(store, handle)
        self._made[store] = Temporary(handle, self._name_of(store))

    def _name_of(self, store: Store) -> str:
        return os.path.join(self._directory, f"t{len(self._made) + len(self._read)}", file_name(store.name))

    def _add_input(self, path: str, required: bool) -> None:
        source = os.path.abspath(path)
        if not os.access(source, os.R_OK):
            if not required:
                return  # its staging provider brings it in the call
            reason = "it cannot be read" if os.path.exists(source) else "it does not exist"
            raise InputMissing(f"{path!r} ({source}): {reason}")
        if not os.path.isdir(source):
            self._inputs[self._name(path)] = (FILE_INPUT, source)
            return
        try:
            caching = caching_of_directory(source)
        except OSError as error:
            raise unreadable(path, error) from None
        self._directories.add(name := self._name(path))
        self._inputs[name] = (FILE_INPUT, caching.source, caching)

    def _add_output(self, path: str, required: bool = False, appended: bool = False, is_file: bool = False) -> None:
        name = self._name(path)
        if required:
            self._required[name] = path
        if name not in self._outputs:
            self._return(name, path, appended, is_file)

    def _return(self, name: str, place: str, appended: bool = False, is_file: bool = False) -> None:
        place = delivery.checked(place, is_file)
        directory = os.path.dirname(place)
        # Under a name of its own until it is whole: what is there stays until then.
        arrived = arrivals.path_in(directory)
        os.makedirs(directory, exist_ok=True)
        self._outputs[name] = (FILE_OUTPUT, arrived)
        self._returns.append((arrived, place, appended))

    def _name(self, path: str) -> str:
        inside = os.path.normpath(path)
        if inside == ".." or inside.startswith("../"):
            raise UnreachableFile(
                f"{path!r} leads out of the current directory, and workers do not share its file system: give a path "
                "below it, an absolute path that they can reach, or set manager_config.shared_fs if they do"
            )
        return os.path.join(self._directory, inside)


def _files_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[File]:
    """Yield the files that a call reads, but for those that are found while they are serialized."""
    named = (value for name, value in kwargs.items() if name not in ("stdout", "stderr"))
    for value in itertools.chain(args, named, _listed(kwargs, "inputs")):
        if isinstance(value, File) and not isinstance(value, (CachedFile, TempFile)):
            yield value


def _listed(kwargs: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = kwargs.get(name)
    return value if isinstance(value, (list, tuple)) else ()


def _unpack(arrived: str) -> None:
    archive = os.path.join(arrived, trees.PACKED)
    if os.path.lexists(archive):
        unpacked = f"{arrived}-unpacked"
        try:
            trees.unpack(archive, unpacked)
            shutil.rmtree(arrived)
            os.rename(unpacked, arrived)
        except BaseException:
            delivery.remove(unpacked)
            raise
