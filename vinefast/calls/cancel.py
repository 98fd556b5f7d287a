"""Calls are cancelled by the futures that users have, which may be Parsl's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from parsl.dataflow.futures import AppFuture

from vinefast._core import CallFuture, cancel_sent
from vinefast.calls.retries import latest_try, task_record_of


def cancel(future: Future[Any]) -> bool:
    """Do what `VineFastExecutor.cancel` says, for the future of a call or of a Parsl app."""
    call = call_of(future)
    if call is None:
        return False
    with _without_retries(call):
        return cancel_sent(call)


def call_of(future: Future[Any]) -> CallFuture[Any] | None:
    """Give the future of the call that an app has now, or `future` if it is that of a call; None: the app has none.

    Raises
    ------
    TypeError
        If it is the future of something else.
    """
    call: Any = future
    if isinstance(future, AppFuture):
        call = latest_try(future.task_record)
        return call if isinstance(call, CallFuture) else None
    if not isinstance(call, CallFuture):
        raise TypeError(f"{future!r} is no future of a call or app; accepted: what submit, or an app, has returned")
    return call


@contextmanager
def _without_retries(call: CallFuture[Any]) -> Iterator[None]:
    """Keep Parsl from trying an app again whose call is cancelled within this."""
    found = map(task_record_of, list(call._done_callbacks))  # type: ignore[attr-defined]
    # Those of another cancel that goes on are left to that one.
    costs = [(record, record["fail_cost"]) for record in found if record and record["fail_cost"] != math.inf]
    for record, _ in costs:
        record["fail_cost"] = math.inf
    try:
        yield
    finally:
        if not call.cancelled():
            for record, cost in costs:
                record["fail_cost"] = cost
