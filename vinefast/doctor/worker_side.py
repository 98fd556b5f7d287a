"""What a call tells of its worker. It travels by its code, so vinefast need not be installed there."""

from __future__ import annotations

from types import FunctionType
from typing import Any


def look() -> dict[str, Any]:
    """Tell of the Python that runs calls, and what it lacks."""
    import importlib
    import importlib.util
    import os
    import platform
    import resource
    import shutil
    import sys
    import tempfile
    import time

    found: dict[str, Any] = {
        "host": platform.node(),
        "python": platform.python_version(),
        "program": sys.executable,
        "time_s": time.time(),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "packages": {},
    }
    for name, module in (("parsl", "parsl.version"), ("vinefast", "vinefast._version"), ("dill", "dill")):
        try:
            if importlib.util.find_spec(name) is None:
                found["packages"][name] = None
                continue
            there = importlib.import_module(module)
            found["packages"][name] = str(getattr(there, "VERSION", None) or getattr(there, "__version__", "unknown"))
        except BaseException as error:
            found["packages"][name] = f"broken: {type(error).__name__}: {error}"
    found["temporary_directory"] = tempfile.gettempdir()
    found["room_nbytes"] = shutil.disk_usage(found["temporary_directory"]).free
    found["cores"] = len(os.sched_getaffinity(0))
    return found


def travelling() -> Any:
    """Give `look` as a function that is pickled by its code: a worker may have no such module."""
    function = FunctionType(look.__code__, {"__name__": "__main__", "__builtins__": __builtins__}, "look")
    function.__module__ = "__main__"
    return function
