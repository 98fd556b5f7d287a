"""Bars that show how far calls are: on a terminal by rich, in a notebook by HTML; nowhere else."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from vinefast.display import screen
from vinefast.display.state import Counts
from vinefast.display.text import duration, one_line

if TYPE_CHECKING:
    from typing_extensions import Self

logger: logging.Logger = logging.getLogger(__name__)

# The rate is that of the last seconds.
_RATE_S = 15.0
_BAR_WIDTH, _BAR_MIN_WIDTH = 30, 8


class Progress:
    """A bar, which is shown from `start` to `stop`, or in a ``with`` block.

    It is shown on standard error if that is a terminal, or in a notebook; several at once stand one below the other.
    Its last state stays there.

    Parameters
    ----------
    title : str
    count : callable
        Gives `Counts`, from any thread, and quickly: it is called several times a second.
    ends_itself : bool
        Whether `start` alone shows the bar only until all calls are done, of which there has been one.
    """

    def __init__(self, title: str, count: Callable[[], Counts], ends_itself: bool = True) -> None:
        self.title: str = one_line(title)
        self._count = count
        self._ends_itself = ends_itself
        self._counts = Counts(0, 0)
        self._samples: deque[tuple[float, int]] = deque()
        self._began = self._ended = 0.0

    def start(self) -> Self:
        """Show the bar, until `stop` or until all calls are done, whichever comes first; without waiting for that."""
        self._began = time.monotonic()
        self.look()
        screen.add(self)
        return self

    def stop(self) -> None:
        """Leave the last state where it is. More than once is fine."""
        screen.remove(self)

    def __enter__(self) -> Self:
        """Show the bar until the block is left, whatever becomes of the calls meanwhile."""
        self._ends_itself = False
        return self.start()

    def __exit__(self, *exc: object) -> Literal[False]:
        self.stop()
        return False

    def look(self) -> None:
        """Ask how far the calls are."""
        try:
            self._counts = self._count()
        except Exception:
            logger.debug("cannot tell how far %s is", self.title, exc_info=True)
            return
        now = time.monotonic()
        self._ended = now if self._counts.done < self._counts.total or not self._ended else self._ended
        self._samples.append((now, self._counts.done))
        while len(self._samples) > 2 and self._samples[1][0] < now - _RATE_S:
            self._samples.popleft()

    @property
    def is_over(self) -> bool:
        """Whether nobody has to stop it."""
        return self._ends_itself and 0 < self._counts.total <= self._counts.done

    def _rate(self) -> float:
        """Calls per second: lately, or over all the time if they are done."""
        if self._counts.done == self._counts.total:
            since, n_calls, until = self._began, self._counts.done, self._ended
        else:
            (since, before), (until, after) = self._samples[0], self._samples[-1]
            n_calls = after - before
        return n_calls / (until - since) if until > since else 0.0

    def text(self, detail: int = 2) -> str:
        """Say it all, but for the title; with less detail, where there is no room for it (`Counts.parts`)."""
        counts, rate = self._counts, self._rate() if self._samples else 0.0
        parts = [f"{counts.done:,}/{counts.total:,}", *counts.parts(detail)]
        if rate:
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
        if counts.total > counts.done and rate:
            parts.append(f"{duration((counts.total - counts.done) / rate)} left")
        elif counts.total and counts.done == counts.total:
            parts.append(f"in {duration(self._ended - self._began)}")
        return ", ".join(parts)

    def line(self) -> RenderableType:
        """Make what a terminal shows."""
        return _Line(self.title, self._counts, [self.text(detail) for detail in (2, 1, 0)])

    def html(self) -> str:
        """Make what a notebook shows."""
        bar = f'<progress max="{max(self._counts.total, 1)}" value="{self._counts.done}"></progress>'
        return f"<div>{escape(self.title)} {bar} {escape(self.text())}</div>"


@dataclass(frozen=True)
class _Line:
    """A title, a bar and a text on one line; where that is short, less of the bar, then of the text, then no bar."""

    title: str
    counts: Counts
    texts: list[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - cell_len(self.title) - 2
        text = next((text for text in self.texts if cell_len(text) <= room - _BAR_MIN_WIDTH), self.texts[-1])
        width = min(_BAR_WIDTH, room - cell_len(text))
        cut = {"no_wrap": True, "overflow": "ellipsis"}
        cells: list[RenderableType] = [Text(self.title, **cut), Text(text, **cut)]  # type: ignore[arg-type]
        if width >= _BAR_MIN_WIDTH:
            cells.insert(1, ProgressBar(max(self.counts.total, 1), self.counts.done, width=width))
        grid = Table.grid(*(Column() for _ in cells), padding=(0, 1))
        grid.add_row(*cells)
        yield grid
