"""The arguments of an executor, as whoever starts it finds them, and those that there are not."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, Protocol, TypeAlias

from parsl.data_provider.staging import Staging
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.monitoring.radios.base import RadioConfig
from parsl.providers.base import ExecutionProvider

from vinefast.settings.rules import refuse_unknown

P = ParamSpec("P")

SSL: TypeAlias = bool | tuple[str | os.PathLike[str], str | os.PathLike[str]] | None
"""Whether an executor has TLS, or the files of a key and a certificate for it; None: where workers may be elsewhere."""


class Arguments(Protocol):
    """An executor, as far as it keeps what it was given; its docstring says what each is."""

    label: str
    worker_launch_method: Literal["factory", "provider", "manual"]
    function_exec_mode: Literal["serverless", "regular"]
    manager_config: TaskVineManagerConfig
    factory_config: TaskVineFactoryConfig
    storage_access: list[Staging] | None
    remote_monitoring_radio: RadioConfig | None  # Parsl's base class has it so; ours has always one
    working_dir: str | None
    strict_resources: bool
    priority_order: Literal["highest_first", "lowest_first"]
    context: Callable[[], Any] | None
    context_scope: Literal["slot", "worker"]
    enforce_memory: bool
    cancel_running: bool
    capture_output: bool
    forward_output: bool
    require_password: bool
    ssl: SSL

    @property
    def provider(self) -> ExecutionProvider | None:
        """Of blocks, for the launch method "provider"."""


def known_only(function: Callable[P, None]) -> Callable[P, None]:
    """Have an unknown keyword refused as Python does, but with the names of parameters that are most like it."""
    signature = inspect.signature(function)
    names = [name for name in signature.parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        refuse_unknown(function.__qualname__, kwargs, names)
        function(*args, **kwargs)

    # For those who do not look at what is wrapped.
    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked
