"""What Parsl notes about an app, which decides whether it tries the app again."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from parsl.dataflow.dflow import DataFlowKernel

_LATEST = "vinefast_call"


def task_record_of(callback: Callable[..., Any]) -> dict[str, Any] | None:
    """Give Parsl's record of the app whose call it waits for with this callback; None: it is another callback."""
    if isinstance(callback, functools.partial) and callback.args:
        record = callback.args[0]
        if isinstance(record, dict) and "fail_cost" in record and "status" in record:
            return record
    return None


def dataflow_kernel_of(callback: Callable[..., Any]) -> DataFlowKernel | None:
    """Give the kernel that waits for a call with this callback; None: it is another callback."""
    kernel = getattr(getattr(callback, "func", None), "__self__", None)
    return kernel if isinstance(kernel, DataFlowKernel) else None


def begin_try(callback: Callable[..., Any], call: Any) -> None:
    """Note the call that an app has now, if this is how Parsl waits for it.

    Parsl itself does so later, when the call may be done and another try may have begun, whose call it overwrites.
    """
    record = task_record_of(callback)
    if record is not None:
        record[_LATEST] = call
        if (report := call.report_late) is not None:  # it is back already, with nobody to tell which try it is
            report(callback)


def latest_try(record: Any) -> Any:
    """Give the future of the latest try of an app, by Parsl's record of it; None: it has none."""
    noted = record.get("exec_fu")
    latest = record.get(_LATEST, noted)
    # Of calls, the one that was noted here came last; what else Parsl has noted is of another executor.
    return latest if noted is None or isinstance(noted, type(latest)) else noted


def forgo_retries(callback: Callable[..., Any]) -> None:
    """Keep Parsl from trying an app again, if this is how it waits for a call that has been cancelled."""
    record = task_record_of(callback)
    if record is not None:
        record["fail_cost"] = math.inf
