"""What Parsl notes about an app, which decides whether it tries the app again."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any


def task_record_of(callback: Callable[..., Any]) -> dict[str, Any] | None:
    """Give Parsl's record of the app whose call it waits for with this callback; None: it is another callback."""
    if isinstance(callback, functools.partial) and callback.args:
        record = callback.args[0]
        if isinstance(record, dict) and "fail_cost" in record and "status" in record:
            return record
    return None


def begin_try(callback: Callable[..., Any], call: Any) -> None:
    """Note the call that an app has now, if this is how Parsl waits for it: Parsl itself does so only later."""
    record = task_record_of(callback)
    if record is not None:
        record["exec_fu"] = call


def forgo_retries(callback: Callable[..., Any]) -> None:
    """Keep Parsl from trying an app again, if this is how it waits for a call that has been cancelled."""
    record = task_record_of(callback)
    if record is not None:
        record["fail_cost"] = math.inf
