"""What a program says of itself in its event log."""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from typing import Any

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


def program_state(about: dict[str, Any]) -> str:
    """Tell of a program that has not shut its executor down: ``running``, ``lost``, or ``elsewhere``.

    The last is where this cannot be told from this machine.
    """
    if about.get("host") != socket.gethostname():
        return "elsewhere"
    # The number may be another process's by now. One that was killed is a zombie until its parent asks.
    pid, started = int(about.get("pid", 0)), str(about.get("started", ""))
    return "running" if pid and not process.is_gone(pid, started.encode()) else "lost"
