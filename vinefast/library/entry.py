"""What both entries do before anything else is imported."""

from __future__ import annotations

import builtins
import os
import sys
import types

from .protocol import VINEFAST_PATH

# The module that is running must not be freed under us.
_kept: list[types.ModuleType] = []


def find_users_modules() -> None:
    """Look for modules where the user's program does, and first, as it does: what lies beside a script is there."""
    directories = os.environ.get(VINEFAST_PATH, "").split(os.pathsep)
    sys.path[:0] = [directory for directory in directories if directory and directory not in sys.path]


def clean_imports() -> None:
    """Take the library out of the way of user code.

    The directory that holds this package leaves ``sys.path`` if it is there because the package was started from it: no
    file beside it may shadow a user's module. And ``__main__`` becomes an empty module: dill binds functions of the
    user's script to the globals of ``__main__``, which should not be ours (nor started again by ``multiprocessing``).
    """
    package = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0] or ".") == os.path.dirname(package):
        del sys.path[0]
    _kept.append(sys.modules["__main__"])
    empty = types.ModuleType("__main__")
    empty.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = empty
