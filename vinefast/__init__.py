"""A drop-in Parsl executor on the TaskVine engine, with a Cython core for thousands of short Python calls a second."""

from vinefast import _gil
from vinefast._core import CallFuture
from vinefast._version import VERSION as __version__
from vinefast.calls.apps import mark, python_app
from vinefast.calls.waiting import as_completed, wait
from vinefast.data.cached import CachedFile
from vinefast.data.staging import URLStaging
from vinefast.data.temps import Kept, TempFile
from vinefast.errors import (
    CallDied,
    CallTimedOut,
    ContextError,
    EngineFailure,
    EngineStartError,
    EngineStopped,
    InputChanged,
    InvalidConfiguration,
    MemoryLimitExceeded,
    OutOfMemory,
    RemoteError,
    ResultTooLarge,
    TaskFailure,
    UnreachableFile,
    VineFastError,
)
from vinefast.executor import VineFastExecutor
from vinefast.settings.resources import ResourceSpecification
from vinefast.settings.tuning import Tuning

_gil.require()

__all__ = [
    "CachedFile",
    "CallDied",
    "CallFuture",
    "CallTimedOut",
    "ContextError",
    "EngineFailure",
    "EngineStartError",
    "EngineStopped",
    "InputChanged",
    "InvalidConfiguration",
    "Kept",
    "MemoryLimitExceeded",
    "OutOfMemory",
    "RemoteError",
    "ResourceSpecification",
    "ResultTooLarge",
    "TaskFailure",
    "TempFile",
    "Tuning",
    "URLStaging",
    "UnreachableFile",
    "VineFastError",
    "VineFastExecutor",
    "__version__",
    "as_completed",
    "mark",
    "python_app",
    "wait",
]
