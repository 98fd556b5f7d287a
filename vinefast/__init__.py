"""A drop-in Parsl executor on the TaskVine engine, with a Cython core for thousands of short Python calls a second."""

from vinefast.cached import CachedFile
from vinefast.config import VERSION as __version__
from vinefast.errors import (
    CallDied,
    EngineFailure,
    EngineStartError,
    EngineStopped,
    InvalidConfiguration,
    RemoteError,
    TaskFailure,
    UnreachableFile,
    VineFastError,
)
from vinefast.executor import VineFastExecutor
from vinefast.files import URLStaging
from vinefast.tuning import Tuning

__all__ = [
    "CachedFile",
    "CallDied",
    "EngineFailure",
    "EngineStartError",
    "EngineStopped",
    "InvalidConfiguration",
    "RemoteError",
    "TaskFailure",
    "Tuning",
    "URLStaging",
    "UnreachableFile",
    "VineFastError",
    "VineFastExecutor",
    "__version__",
]
