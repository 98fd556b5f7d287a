"""The GIL, which the core needs, and which a free-threaded Python can do without."""

from __future__ import annotations

import sys
import sysconfig


def is_optional() -> bool:
    """Whether this Python can do without."""
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def require() -> None:
    """Refuse to go on without; to be called once the core is imported, for which Python has switched it on.

    Raises
    ------
    ImportError
        If it was told not to.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError(
            "vinefast needs Python's GIL, which PYTHON_GIL=0 or -X gil=0 keeps off: its futures have no other lock. "
            "Without these, a free-threaded Python switches it on for vinefast"
        )
