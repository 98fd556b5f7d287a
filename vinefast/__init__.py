"""A drop-in Parsl executor on the TaskVine engine, with a Cython core for thousands of short Python calls a second."""

from vinefast.calls.apps import mark, python_app
from vinefast.data.cached import CachedFile
from vinefast.settings.engine import VERSION as __version__
from vinefast.errors import (
    CallDied,
    ContextError,
    EngineFailure,
    EngineStartError,
    EngineStopped,
    InvalidConfiguration,
    RemoteError,
    ResultTooLarge,
    TaskFailure,
    UnreachableFile,
    VineFastError,
)
from vinefast.executor import VineFastExecutor
from vinefast.data.plan import URLStaging
from vinefast.data.temps import Kept, TempFile
from vinefast.settings.tuning import Tuning

__all__ = [
    "CachedFile",
    "CallDied",
    "ContextError",
    "EngineFailure",
    "EngineStartError",
    "EngineStopped",
    "InvalidConfiguration",
    "Kept",
    "RemoteError",
    "ResultTooLarge",
    "TaskFailure",
    "TempFile",
    "Tuning",
    "URLStaging",
    "UnreachableFile",
    "VineFastError",
    "VineFastExecutor",
    "__version__",
    "mark",
    "python_app",
]
