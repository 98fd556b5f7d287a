"""Files and values that stay on the workers: written there by one call, read there by others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from parsl.data_provider.files import File

from vinefast import rules
from vinefast.errors import InputMissing, InvalidConfiguration
from vinefast.library import files as on_worker

if TYPE_CHECKING:
    from vinefast._core import TempHandle

# Whether there has ever been any: programs without pay nothing for them.
in_use = False

# The plan of the call whose arguments this thread serializes.
_serializing = threading.local()


def use() -> None:
    """Note that there are calls whose files or values stay on the workers."""
    global in_use
    in_use = True


class Plan(Protocol):
    """What a plan of a call's files knows of those on workers (`vinefast.files.CallPlan`)."""

    def path_of(self, store: Store) -> str | None:
        """Give the path of what the call reads or makes in the sandbox of its bundle; None if it is elsewhere."""


def serialize_for(plan: Plan | None) -> Plan | None:
    """From now on what this thread serializes is for the call with this plan, or for none; gives what was so before."""
    before = getattr(_serializing, "plan", None)
    _serializing.plan = plan
    return before


def without_maker(name: str) -> InputMissing:
    """Give the error of those who read a temporary file that no call makes."""
    return InputMissing(
        f"{name!r}: no app makes this temporary file; give it to one, as outputs=[...], before it is read"
    )


class Store:
    """What all copies of a `TempFile` share, and the call's future and its `Kept`.

    Attributes
    ----------
    name : str
        The user's.
    handle : TempHandle or None
        Of the engine on whose workers it lies; None while no call makes it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: TempHandle | None = None
        self._submit: Callable[..., Any] | None = None
        self._directory = ""
        self._lock = threading.Lock()
        self._fetched: str | None = None

    def bind(self, make_handle: Callable[[str], TempHandle], submit: Callable[..., Any], directory: str) -> None:
        """Lie on the workers of an engine from now on.

        Parameters
        ----------
        make_handle : callable
            Makes a handle for a name.
        submit : callable
            Runs a function of the library there, before other calls: ``submit(function, *arguments, output=None)``.
        directory : str
            For what is fetched.
        """
        if self.handle is None:
            self.handle = make_handle(self.name)
            self._submit, self._directory = submit, directory

    def refuse_other(self, engine: object) -> None:
        """Raise `InvalidConfiguration` if it lies on the workers of another engine."""
        if self.handle is not None and not self.handle.belongs_to(engine):
            raise InvalidConfiguration(
                f"the temporary file {self.name!r} lies on the workers of another executor, which alone can make it; "
                "make a TempFile for each executor"
            )

    def lies_with(self, engine: object) -> bool:
        """Whether calls of an engine can read it on its workers."""
        return self.handle is not None and self.handle.belongs_to(engine)

    @property
    def has_maker(self) -> bool:
        """Whether a call has been submitted that makes it."""
        return self.handle is not None and self.handle.temp.has_maker

    def run(
        self, function: Callable[..., Any], *args: Any, output: str | None = None, timeout: float | None = None
    ) -> Any:
        """Run a function of the library where the file is, and wait for what it returns."""
        if self._submit is None or not self.has_maker:
            raise without_maker(self.name)
        return self._submit(function, *args, output=output).result(timeout)

    def fetch(self, reader: Any, path: str | None, timeout: float | None) -> str:
        """Bring the file to this machine; gives where it lies."""
        if path is not None:
            self.run(on_worker.copy, reader, output=os.path.abspath(path), timeout=timeout)
            return path
        with self._lock:
            if self._fetched is None:
                place = os.path.join(self._directory, f"{id(self):x}", self.name)
                self.run(on_worker.copy, reader, output=place, timeout=timeout)
                self._fetched = place
            return self._fetched


class TempFile(File):
    """A file that is written on a worker and stays on workers.

    An app makes it when it has it among its ``outputs``, and others read it as any Parsl `File`, on the same worker or
    on another, which fetches it from there. It comes to this machine by `fetch` only, or where its path is asked for
    here. When nothing refers to it any more it is deleted.

    What TaskVine's ``temp-replica-count`` says, that many workers hold it. If all are lost, the call that made it runs
    again, when it is needed.

    Parameters
    ----------
    name : str
        Its name for apps and in messages; names need not be unique. A directory serves as well as a file.

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
        self.path = self.filename = store.name
        self._store = store
        use()

    def cleancopy(self) -> TempFile:
        """Give another object for the same file."""
        copy = TempFile.__new__(TempFile)
        copy._begin(self._store)
        return copy

    @property
    def filepath(self) -> str:
        """Where it lies: on a worker, for the app there; on this machine, to which this brings it."""
        return self.fetch()

    def fetch(self, path: str | None = None, timeout: float | None = None) -> str:
        """Bring the file to this machine.

        Parameters
        ----------
        path : str, optional
            Where to; if not given, into the run directory, and only once.
        timeout : float, optional
            Seconds to wait for it at the most.

        Returns
        -------
        str
            Where it lies.

        Raises
        ------
        vinefast.errors.InputMissing
            If no app makes it.
        TimeoutError
            If it has not come in time.
        Exception
            What failed the app that makes it, or what keeps it from coming.
        """
        return self._store.fetch(self, path, timeout)

    def __repr__(self) -> str:
        return f"<TempFile {self._store.name!r}>"

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        plan = getattr(_serializing, "plan", None)
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
    """What an app with ``keep=True`` returned: its value is on a worker.

    Given to another app, it is the value there. Anywhere else, `result` brings it.

    Attributes
    ----------
    nbytes : int
        Of the value, serialized.
    """

    def __init__(self, store: Store, nbytes: int) -> None:
        self._store = store
        self.nbytes = nbytes

    def result(self, timeout: float | None = None) -> Any:
        """Bring the value to this process.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for it at the most.

        Raises
        ------
        TimeoutError
            If it has not come in time.
        Exception
            What keeps it from coming.
        """
        return self._store.run(on_worker.identity, self, timeout=timeout)

    def __repr__(self) -> str:
        return f"<Kept result of {self._store.name}, {self.nbytes:,} bytes>"

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        plan = getattr(_serializing, "plan", None)
        if plan is not None:
            path = plan.path_of(self._store)
            if path is not None:
                return on_worker.read_kept, (path,)
        return on_worker.identity, (self.result(),)
