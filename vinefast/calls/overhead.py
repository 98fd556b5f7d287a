"""Where a call's time goes: the counters of `VineFastExecutor.stats`, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vinefast.display import html

_HEADER = ("stage", "a call spends, us", "share", "work, us", "what happens")
_N_NUMBERS = 3  # columns, after the first


@dataclass(frozen=True)
class Stage:
    """One stage of a call's way.

    Attributes
    ----------
    name : str
        As in docs/architecture.md.
    spent_us : float
        Mean time that a call spent there, in microseconds; over all stages they add up to the time from submit to
        result.
    work_us : float or None
        Mean time that a thread or a slot worked on a call there; None where calls only wait.
    meaning : str
        What happens there.
    """

    name: str
    spent_us: float
    work_us: float | None
    meaning: str


@dataclass(frozen=True)
class Overhead:
    """Where the time of a number of calls went. As a string, and in a notebook, this is a table.

    Attributes
    ----------
    n_calls : int
        Calls that came back.
    stages : tuple of Stage
        In the order of a call's way.
    """

    n_calls: int
    stages: tuple[Stage, ...]

    @property
    def _title(self) -> str:
        return f"Where the time of {self.n_calls:,} calls went, means per call"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        """Give the stages, and the sum at last."""
        total_us = sum(stage.spent_us for stage in self.stages)
        for stage in self.stages:
            share = f"{stage.spent_us / total_us:.1%}" if total_us else ""
            work = "" if stage.work_us is None else f"{stage.work_us:,.2f}"
            yield stage.name, f"{stage.spent_us:,.2f}", share, work, stage.meaning
        work_us = sum(stage.work_us or 0.0 for stage in self.stages)
        yield "all", f"{total_us:,.2f}", "", f"{work_us:,.2f}", ""

    def table(self) -> Table:
        """Make a table of the stages."""
        table = Table(title=self._title)
        for place, title in enumerate(_HEADER):
            table.add_column(title, justify="right" if 0 < place <= _N_NUMBERS else "left")
        *rows, total = self._rows()
        for row in rows:
            table.add_row(*map(Text, row))
        table.add_section()
        table.add_row(*total)
        return table

    def _repr_html_(self) -> str:
        return html.table(self._title, self._rows(), _HEADER, _N_NUMBERS)

    def __str__(self) -> str:
        console = Console(width=120, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get()


def overhead(after: Mapping[str, int], before: Mapping[str, int] | None = None) -> Overhead:
    """Compute where calls spent their time.

    Parameters
    ----------
    after : mapping
        What `VineFastExecutor.stats` returns.
    before : mapping, optional
        The same from an earlier moment: only what came after that moment counts.

    Returns
    -------
    Overhead
        All zero if no call has come back.
    """

    def count(name: str) -> int:
        return after.get(name, 0) - (before or {}).get(name, 0)

    n_calls = count("calls_returned")

    def mean_us(ns: int, n: int = n_calls) -> float:
        return ns / n / 1000 if n > 0 else 0.0

    serialize_us = mean_us(count("serialize_ns"), count("calls_submitted"))
    execute_us = mean_us(count("calls_ns"))
    complete_us = mean_us(count("complete_ns"))
    companions_us = mean_us(count("bundle_ns") - count("calls_ns"))
    slot_us = mean_us(count("run_ns") - count("calls_ns"))
    return Overhead(
        n_calls,
        (
            Stage("serialize", serialize_us, serialize_us, "function and arguments to bytes, in submit"),
            Stage("queue", mean_us(count("queue_ns")), mean_us(count("pack_ns")), "until it is packed into a bundle"),
            Stage("dispatch", mean_us(count("dispatch_ns")), None, "until TaskVine has sent the bundle"),
            Stage("transfer", mean_us(count("transfer_ns")), None, "to the worker's library, and back"),
            Stage("library", mean_us(count("library_ns")), None, "until a slot is free"),
            Stage("companions", companions_us, slot_us, "the others of its bundle, and the slot's own work"),
            Stage("execute", execute_us, execute_us, "unpickle, run, pickle"),
            Stage("return", mean_us(count("return_ns")), None, "until the demux thread has it"),
            Stage("complete", complete_us, complete_us, "result to future, with callbacks"),
        ),
    )
