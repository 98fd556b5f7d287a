"""The locks of `logging`'s handlers, which Ctrl-C can leave locked, other than in Python 3.13."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from vinefast._locks import IS_LEFT_LOCKED, held


def hold_safely() -> None:
    """Let handlers hold their locks by a `with` that Ctrl-C cannot leave locked, in the whole process.

    Before Python 3.13, they called `acquire` and then began a `try`. KeyboardInterrupt, which has mostly come while the
    main thread waited for the lock, is raised between the two. Then nobody releases it, and whichever thread logs next
    waits for ever: one that runs Parsl's callbacks or launches tasks, and so the end of the program, which joins them.
    From 3.13 on they hold it by `with`, into which it comes from 3.14 on (`vinefast._locks`).
    """
    for owner, name, safely in (
        (logging.Handler, "handle", _handling),
        (logging.StreamHandler, "flush", _flushing),
    ):
        before = getattr(owner, name)
        # As the standard library has it, and not as that of 3.13, nor what somebody else has put there.
        if before.__module__ == logging.__name__ and (IS_LEFT_LOCKED or "acquire" in before.__code__.co_names):
            setattr(owner, name, safely(before))


def _is_plain(handler: logging.Handler) -> bool:
    """Whether its lock is all that there is to `acquire` and `release`."""
    kind = type(handler)
    return (
        handler.lock is not None and kind.acquire is logging.Handler.acquire and kind.release is logging.Handler.release
    )


def _handling(before: Callable[..., Any]) -> Callable[..., Any]:
    def handle(self: logging.Handler, record: logging.LogRecord) -> Any:
        if not _is_plain(self):
            return before(self, record)
        passed: Any = self.filter(record)
        if passed:
            with held(self.lock):
                # From 3.12 on a filter may give another record.
                self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    return handle


def _flushing(before: Callable[..., None]) -> Callable[..., None]:
    def flush(self: logging.StreamHandler[Any]) -> None:
        if not _is_plain(self):
            return before(self)
        with held(self.lock):
            if self.stream and hasattr(self.stream, "flush"):
                self.stream.flush()
        return None

    return flush
