"""The end of what an executor has started, whoever asks for it, and whatever interrupts him."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

logger = logging.getLogger(__name__)

# For how long one thread may hold up a shutdown.
_JOIN_S = 5.0


def join(thread: threading.Thread) -> None:
    """Wait until a daemon thread of ours has ended, unless this is it, or it never started.

    It may be in a callback of the user's, and that may take for ever. It may also never come to its first line, if
    whoever started it was interrupted within that.
    """
    # By their numbers: on a thread that `threading` does not know, it would make up one that stays among the others.
    if thread.ident is None or thread.ident == threading.get_ident():
        return
    thread.join(_JOIN_S)
    if thread.is_alive():
        logger.warning("%s goes on, since a callback that it has called does not return", thread.name)


@contextmanager
def _patient() -> Iterator[None]:
    """Put KeyboardInterrupt off, in the main thread. At the program's end there is nothing left that it could end."""
    interrupted = False

    def note(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True

    former = signal.getsignal(signal.SIGINT)
    # One that is none of Python's could not be put back. And the exception comes to the main thread alone.
    if former is None or threading.get_ident() != threading.main_thread().ident:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if interrupted and threading.main_thread().is_alive():
            signal.raise_signal(signal.SIGINT)


class Teardown:
    """What is to be undone, last thing first, each once."""

    begun: bool = False

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._runs_on: int | None = None
        self._stack = ExitStack()

    @property
    def is_ours(self) -> bool:
        """Whether this is not the copy in a child that the user forked, which has no business with it."""
        return os.getpid() == self._pid

    def callback(self, function: Callable[..., Any], *args: Any) -> None:
        """Note one more thing to do."""
        self._stack.callback(function, *args)

    def run(self) -> None:
        """Do it here and now; wait if another thread does."""
        # What it frees may be the executor, at whose end this is called again.
        if self.is_ours and self._runs_on != threading.get_ident():
            self.begun = True
            with self._lock:
                self._runs_on = threading.get_ident()
                try:
                    self._stack.close()
                finally:
                    self._runs_on = None

    def run_at_end(self) -> None:
        """Do it here and now, as the program, or the executor, ends. Ctrl-C does not interrupt it.

        Python has no threads any more then that one could wait for, or that it would wait for. It would print what has
        interrupted us, and go on to its end, with the rest undone.
        """
        with _patient():
            self.run()

    def run_apart(self, wait: bool = True) -> None:
        """Do it on a thread of its own.

        KeyboardInterrupt comes to the main thread alone, at any line of it: there it would leave things half done, and
        the locks of `threading`'s classes locked. So this begins by one call of C, and waits by another.
        """
        done = threading.Lock()
        done.acquire()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self.run()
            except BaseException as error:
                logger.exception("A part of the shutdown has failed")
                failures.append(error)
            finally:
                done.release()

        # Python waits for it at its end.
        thread = threading.Thread(target=work, name="vinefast-shutdown", daemon=False)

        def begin() -> None:
            try:
                thread.start()
            except RuntimeError:
                work()

        try:
            _thread.start_new_thread(begin, ())
        except RuntimeError:  # Python is ending, or there are too many threads
            work()
        if wait:
            done.acquire()
            if thread.ident is not None:
                thread.join()
            for failure in failures:
                raise failure
