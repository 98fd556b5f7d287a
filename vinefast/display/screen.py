"""Where bars are shown: on the terminal of standard error, or in a notebook. One thread redraws them all."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live

logger: logging.Logger = logging.getLogger(__name__)

_REFRESH_S = 0.2
# For how long an end may wait for a terminal that takes nothing.
_JOIN_S = 1.0


class Bar(Protocol):
    """What can be shown; see `vinefast.display.progress.Progress`."""

    title: str

    def look(self) -> None:
        """Be up to date."""

    def line(self) -> RenderableType:
        """Give what a terminal shows."""

    def html(self) -> str:
        """Give what a notebook shows."""

    def text(self) -> str:
        """Give what is shown where there is no HTML."""

    @property
    def is_over(self) -> bool:
        """Whether the bar goes by itself."""


class _Terminal:
    """Bars at the lower end of a terminal; what the program prints meanwhile goes above them."""

    def __init__(self) -> None:
        # Standard output is often a file while standard error is the terminal: what is printed is to go to that file.
        redirect = sys.stdout is not None and sys.stdout.isatty()
        self._live = Live(
            console=Console(stderr=True, highlight=False),
            auto_refresh=False,
            transient=True,
            redirect_stdout=redirect,
            redirect_stderr=True,
        )
        self._live.start()

    def show(self, bars: list[Bar]) -> None:
        self._live.update(Group(*(bar.line() for bar in bars)), refresh=True)

    def leave(self, bar: Bar) -> None:
        self._live.console.print(bar.line())

    def close(self) -> None:
        try:
            # What was printed without the end of its line is still with rich.
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            self._live.stop()

    def abandon(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            setattr(sys, name, getattr(stream, "rich_proxied_file", stream))


class _Notebook:
    """Each bar where it was started, as HTML, which needs no further package: rich's own bars want ipywidgets."""

    def __init__(self) -> None:
        self._handles: dict[int, Any] = {}

    def show(self, bars: list[Bar]) -> None:
        from IPython.display import display

        for bar in bars:
            shown = {"text/html": bar.html(), "text/plain": f"{bar.title} {bar.text()}"}
            handle = self._handles.get(id(bar))
            if handle is None:
                self._handles[id(bar)] = display(shown, raw=True, display_id=True)
            else:
                handle.update(shown, raw=True)

    def leave(self, bar: Bar) -> None:
        self.show([bar])
        self._handles.pop(id(bar), None)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def _find() -> type[_Terminal] | type[_Notebook] | None:
    console = Console(stderr=True)
    if console.is_jupyter:
        return _Notebook
    # rich takes a pipe for a terminal if FORCE_COLOR says so.
    if sys.stderr is not None and sys.stderr.isatty() and not console.is_dumb_terminal:
        return _Terminal
    return None


@contextmanager
def _whatever_happens() -> Iterator[None]:
    """Let nothing that shows fail whoever has it shown: the terminal is gone, say."""
    try:
        yield
    except Exception:
        logger.debug("cannot show how far calls are", exc_info=True)


class _Screen:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._bars: list[Bar] = []
        self._place: _Terminal | _Notebook | None = None
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, bar: Bar) -> None:
        kind = _find()
        if kind is None:
            return
        with self._lock:
            if bar in self._bars:
                return
            self._bars.append(bar)
            with _whatever_happens():
                if self._place is None:
                    self._place = kind()
                self._place.show(self._bars)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vinefast-progress", daemon=True)
                self._thread.start()

    def remove(self, bar: Bar) -> None:
        with self._lock:
            if bar not in self._bars:
                return
            with _whatever_happens():
                bar.look()
                self._leave(bar)
            thread = self._thread
            if self._bars or thread is None:
                return
            self._changed.set()
        if thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def _leave(self, bar: Bar) -> None:
        self._bars.remove(bar)
        place = self._place
        if place is None:
            return
        try:
            place.show(self._bars)
            place.leave(bar)
        finally:
            if not self._bars:
                self._place = None
                place.close()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            with self._lock:
                if not self._bars:
                    self._thread = None
                    return
                with _whatever_happens():
                    self._draw()
            # A terminal, or a notebook, that is slow gets less.
            self._changed.wait(max(_REFRESH_S, 4 * (time.monotonic() - began)))
            self._changed.clear()

    def _draw(self) -> None:
        for bar in list(self._bars):
            bar.look()
            if bar.is_over:
                self._leave(bar)
        if self._bars and self._place is not None:
            self._place.show(self._bars)

    def close(self) -> None:
        """Leave all that is shown: the program ends, and its terminal wants its cursor back."""
        for bar in list(self._bars):
            self.remove(bar)
        # Whoever has begun to show one may have been interrupted.
        place, self._place = self._place, None
        if place is not None:
            with _whatever_happens():
                place.close()

    def abandon(self) -> None:
        """In a child: what is shown is the parent's, whose thread has perhaps held rich's locks."""
        if self._place is not None:
            self._place.abandon()


_screen = _Screen()


def is_there() -> bool:
    """Whether there is a terminal or a notebook to show something in."""
    return _find() is not None


def add(bar: Bar) -> None:
    """Show a bar from now on, if there is where to."""
    _screen.add(bar)


def remove(bar: Bar) -> None:
    """Show the last state of a bar, and then let it be."""
    _screen.remove(bar)


def _begin_in_child() -> None:
    global _screen
    _screen.abandon()
    _screen = _Screen()


def _end() -> None:
    _screen.close()


os.register_at_fork(after_in_child=_begin_in_child)
atexit.register(_end)
