"""The interface that executors are measured through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

Function = Callable[..., Any]


class Peer:
    """An executor under measurement; this class fits any executor in the style of `concurrent.futures`.

    Parameters
    ----------
    slots : int
        How many calls are to run at a time.
    directory : str
        For files of the executor's own.

    Attributes
    ----------
    name : str
        Name in options, tables and records.
    package : str or None
        The distribution that it comes with; None: Python itself.
    module : str or None
        What must be importable.
    through_parsl : bool
        Whether Parsl apps can run on it.
    uses_slots : bool
        Whether calls run beside each other.
    in_this_process : bool
        Whether calls run in the process that submits them; executors that take them elsewhere are not compared to it.
    full_size : bool
        Whether it takes the full number of calls; for the others, that number is found by trying.
    """

    name: ClassVar[str]
    package: ClassVar[str | None] = None
    module: ClassVar[str | None] = None
    through_parsl: ClassVar[bool] = False
    uses_slots: ClassVar[bool] = True
    in_this_process: ClassVar[bool] = False
    full_size: ClassVar[bool] = False

    def __init__(self, slots: int, directory: str) -> None:
        self.slots = slots
        self.directory = directory
        self.executor: Any = None

    @classmethod
    def why_missing(cls) -> str | None:
        """Say why this executor cannot be measured here; None if it can."""
        if cls.module is None or _is_importable(cls.module):
            return None
        return f"the module {cls.module} is not installed; install {cls.package}"

    def start(self) -> None:
        """Start the executor, its slots included as far as it starts them by itself."""
        raise NotImplementedError

    def submit(self, function: Function, *args: Any) -> Any:
        """Submit one call; gives its future."""
        return self.executor.submit(function, *args)

    def submit_all(self, function: Function, rows: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Submit a call for each row of arguments; gives their futures."""
        submit = self.executor.submit
        return [submit(function, *row) for row in rows]

    def wait(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for all results."""
        return [future.result() for future in futures]

    def run(self, function: Function, *args: Any) -> Any:
        """Submit one call and wait for it."""
        return self.wait([self.submit(function, *args)])[0]

    def map(self, function: Function, items: Iterable[Any]) -> Iterable[Any] | None:
        """Call `function` for each item by the executor's own map in chunks; None if it has none."""
        return None

    def stop(self) -> None:
        """End the executor and all its processes."""
        self.executor.shutdown()


def _is_importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        # A package that holds it is missing.
        return False
