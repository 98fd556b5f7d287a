"""Files and values that stay on the workers: written there by one call, read there by others."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl.data_provider.files import File

from vinefast._core import TempHandle, plan_of_call
from vinefast.errors import InputMissing, InvalidConfiguration
from vinefast.library import files as on_worker
from vinefast.settings import rules

Forget = Callable[[], None]
Bring = Callable[..., tuple[Future[Any], Forget]]


def without_maker(name: str) -> InputMissing:
    """Make the error of a call that reads a temporary file which no call makes."""
    return InputMissing(
        f"{name!r}: no app makes this temporary file; give it to one, as outputs=[...], before it is read"
    )


class Store:
    """What all copies of a `TempFile` share, and what a call's future shares with its `Kept`.

    Attributes
    ----------
    name : str
        What the user calls the file.
    handle : TempHandle or None
        Of the engine on whose workers the file lies, for the one call that makes the file; None while there is none.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: TempHandle | None = None
        self._bring: Bring | None = None
        self._directory = ""
        # Memory may be cleaned up at any point, and whatever that calls may come here.
        self._lock = threading.RLock()
        self._fetched: tuple[str, Future[Any]] | None = None

    def claim(self, handle: TempHandle, engine: object, bring: Bring, directory: str) -> TempHandle | None:
        """Let a call make the file: the first one, or one after those before have failed.

        Parameters
        ----------
        handle : TempHandle
            New, of the engine.
        engine : Engine
            That of the call.
        bring : callable
            Runs a function of the library there, before other calls: ``bring(function, *arguments, output=None)`` gives
            a future, and what forgets the output.
        directory : str
            For what is fetched.

        Returns
        -------
        TempHandle or None
            The handle before, for `withdraw`.

        Raises
        ------
        InvalidConfiguration
            If another call makes the file, or has made it.
        """
        with self._lock:
            before = self.handle
            if before is None or before.temp.is_spoiled:
                self.handle, self._bring, self._directory = handle, bring, directory
                return before
        if before.belongs_to(engine):
            raise InvalidConfiguration(
                f"the temporary file {self.name!r} is made by another call already, and calls that read it could not "
                "say whose they want; give each call that makes one a new TempFile"
            )
        raise InvalidConfiguration(
            f"the temporary file {self.name!r} lies on the workers of another executor, which alone can make it; "
            "make a TempFile for each executor"
        )

    def withdraw(self, handle: TempHandle, before: TempHandle | None) -> None:
        """Take back what `claim` did: the call could not be submitted."""
        with self._lock:
            if self.handle is handle:
                self.handle = before

    def lies_with(self, engine: object) -> bool:
        """Whether the file lies on the workers of an engine, where the engine's calls can read it."""
        return self.handle is not None and self.handle.belongs_to(engine)

    def run(self, function: Callable[..., Any], *args: Any, output: str | None = None) -> tuple[Future[Any], Forget]:
        """Run a function of the library where the file is, as `claim` says."""
        if self._bring is None or self.handle is None or not self.handle.temp.has_maker:
            raise without_maker(self.name)
        return self._bring(function, *args, output=output)

    def wait(self, future: Future[Any], timeout: float | None) -> Any:
        """Wait for the result of what `run` has begun, on whatever thread."""
        assert self.handle is not None
        return self.handle.result_of(future, timeout)

    def fetch(self, reader: Any, path: str | None, timeout: float | None) -> str:
        """Bring the file to this machine; returns the path there."""
        if path is not None:
            future, forget = self.run(on_worker.copy, reader, output=path)
            try:
                self.wait(future, timeout)
            except BaseException:
                # Whoever has stopped waiting may use the path for something else.
                forget()
                future.cancel()
                raise
            return path
        with self._lock:
            if self._fetched is None or _is_gone(*self._fetched):
                # Other programs may use this directory, and whoever has a path may keep it beyond this object's life.
                place = os.path.join(self._directory, uuid.uuid4().hex, self.name)
                self._fetched = place, self.run(on_worker.copy, reader, output=place)[0]
            place, future = self._fetched
        self.wait(future, timeout)
        return place


def _is_gone(place: str, future: Future[Any]) -> bool:
    """Whether a file could not be fetched, or is not there any more."""
    return future.done() and (future.cancelled() or future.exception() is not None or not os.path.lexists(place))


class TempFile(File):
    """A file that is written on a worker and stays on workers.

    An app makes the file when its ``outputs`` have it, and other apps read the file as any Parsl `File`, on the same
    worker or on another one, which fetches it from there. The file comes to this machine by `fetch` only, or when its
    path is asked for here. When nothing refers to the file any more, workers delete it.

    One call makes the file. Another call may do so only after the first has failed or was cancelled, as when Parsl
    tries again.

    As many workers hold the file as TaskVine's ``temp-replica-count`` says. If all of them are lost, the call that made
    the file runs again as soon as the file is needed.

    Parameters
    ----------
    name : str
        Name of the file for apps and in messages; names need not be unique. Of a path the last part counts, since the
        file lies on workers alone. A directory serves as well as a file.

    Examples
    --------
    >>> @parsl.python_app
    ... def write(n, outputs=()):
    ...     with open(outputs[0], "w") as file:
    ...         file.write("x" * n)
    >>> @parsl.python_app
    ... def count(data):
    ...     with open(data) as file:
    ...         return len(file.read())
    >>> written = write(1000, outputs=[vinefast.TempFile("x.txt")])
    >>> count(written.outputs[0]).result()
    1000
    """

    def __init__(self, name: str) -> None:
        base = os.path.basename(name) if isinstance(name, str) else ""
        if not rules.is_file_name(base):
            raise InvalidConfiguration(f"the name of a TempFile is {name!r}; accepted: a string that can name a file")
        self._begin(Store(base))

    def _begin(self, store: Store) -> None:
        super().__init__(f"file:{store.name}")
        # As it is, whatever a URL would make of it.
        self.path: str = store.name
        self.filename: str = store.name
        self._store = store

    def cleancopy(self) -> TempFile:
        """Make another object for the same file."""
        copy = TempFile.__new__(TempFile)
        copy._begin(self._store)
        return copy

    @property
    def filepath(self) -> str:
        """Path of the file, which is on its worker for an app; elsewhere this brings the file to this machine."""
        return self.fetch()

    def fetch(self, path: str | os.PathLike[str] | None = None, timeout: float | None = None) -> str:
        """Bring the file to this machine.

        Parameters
        ----------
        path : path, optional
            Where to. A file replaces the file that is there; a directory fills the directory that is there. If not
            given, the file is brought once, into a directory of its own in the run directory, and stays there until you
            remove it.
        timeout : float, optional
            Seconds to wait for the file at the most.

        Returns
        -------
        str
            Path of the file on this machine.

        Raises
        ------
        InvalidConfiguration
            If `timeout` is no number.
        vinefast.errors.InputMissing
            If no app makes the file.
        TimeoutError
            If the file has not come in time. Nothing is put to `path` any more.
        OSError
            If something of another kind is at `path`, which stays as it is, or if the file cannot be written there.
        Exception
            What failed the app that makes the file, or what keeps the file from coming.
        """
        rules.require("timeout", timeout, rules.optional(rules.SECONDS))
        return self._store.fetch(self, None if path is None else os.fspath(path), timeout)

    def __repr__(self) -> str:
        return f"<TempFile {self._store.name!r}>"

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        plan = plan_of_call()
        if plan is not None:
            path = plan.path_of(self._store)
            if path is not None:
                return on_worker.temp_file, (path,)
        # For somebody else's process, which sees this machine's files at the best.
        return _plain_file, (self.fetch(),)


def _plain_file(path: str) -> File:
    file = File("file")
    file.path = file.local_path = path
    return file


class Kept:
    """What an app with ``keep=True`` returned: a value that is on a worker.

    Another app that gets this as an argument finds the value in its place. Anywhere else, `result` brings the value.

    Attributes
    ----------
    nbytes : int
        Size of the value, serialized.
    """

    def __init__(self, store: Store, nbytes: int) -> None:
        self._store = store
        self.nbytes = nbytes

    def result(self, timeout: float | None = None) -> Any:
        """Bring the value to this process.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for the value at the most.

        Raises
        ------
        InvalidConfiguration
            If `timeout` is no number.
        TimeoutError
            If the value has not come in time.
        Exception
            What keeps the value from coming.
        """
        rules.require("timeout", timeout, rules.optional(rules.SECONDS))
        return self._store.wait(self._store.run(on_worker.identity, self)[0], timeout)

    def __repr__(self) -> str:
        return f"<Kept result of {self._store.name}, {self.nbytes:,} bytes>"

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        plan = plan_of_call()
        if plan is not None:
            path = plan.path_of(self._store)
            if path is not None:
                return on_worker.read_kept, (path,)
        return on_worker.identity, (self.result(),)
