"""Which executors run on this machine: whose programs write an event log now."""

from __future__ import annotations

import os

import psutil

from vinefast.errors import EventLogError
from vinefast.events.about import EVENTS
from vinefast.events.file import EventFile


def find_running() -> list[str]:
    """Give the paths of the event logs that programs of this user write now, sorted."""
    found = set()
    for process in psutil.process_iter():
        directory = f"/proc/{process.pid}/fd"
        try:
            if process.uids().real != os.getuid():
                continue
            paths = [os.readlink(entry.path) for entry in os.scandir(directory)]
        except (OSError, psutil.Error):
            continue  # it has ended, or is nobody's to look at
        found |= {path for path in paths if os.path.basename(path) == EVENTS and writes(path, process.pid)}
    return sorted(found)


def writes(path: str, pid: int) -> bool:
    """Tell whether a file is the event log of a program."""
    try:
        file = EventFile(path)
    except (FileNotFoundError, EventLogError):
        return False
    file.close()
    return file.head.pid == pid
