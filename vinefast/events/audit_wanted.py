"""Whether executors are to audit themselves: asked at each start, so it brings nothing of the audit, nor NumPy."""

from __future__ import annotations

import os

VARIABLE = "VINEFAST_AUDIT"


def is_wanted() -> bool:
    """Whether the user has said so in the environment."""
    return os.environ.get(VARIABLE, "") not in ("", "0")
