"""Python's built-in names as they were when the library began, for modules that run between calls.

A module whose `__builtins__` these are does not see what a call does to the names of all others.
"""

from __future__ import annotations

import builtins
from typing import Any

OWN: dict[str, Any] = vars(builtins).copy()
