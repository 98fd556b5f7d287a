"""What a program says of itself in its event log."""

from __future__ import annotations

import json
import os
import platform
import socket
import sys

from vinefast._build_info import TASKVINE_VERSION
from vinefast._version import VERSION
from vinefast.library import process

EVENTS = "events"
"""Name of the event log in the executor's part of the run directory."""


def about_run(label: str, run_dir: str) -> str:
    """Give JSON about this program.

    Parameters
    ----------
    label, run_dir : str
        Of the executor.
    """
    return json.dumps(
        {
            "label": label,
            "run_dir": os.path.abspath(run_dir),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": process.started_at(os.getpid()).get(os.getpid(), b"").decode(),
            "program": [sys.executable, *sys.argv],
            "python": platform.python_version(),
            "vinefast": VERSION,
            "taskvine": TASKVINE_VERSION,
        }
    )
