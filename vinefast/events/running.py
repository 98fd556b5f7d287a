"""Which executors run on this machine: whose programs write an event log now."""

from __future__ import annotations

import os

from vinefast.errors import EventLogError
from vinefast.events.about import EVENTS
from vinefast.events.file import EventFile


def find_running() -> list[str]:
    """Give the paths of the event logs that programs of this user write now, sorted."""
    found = set()
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdecimal():
                continue
            try:
                if entry.stat().st_uid != os.getuid():
                    continue
                paths = [os.readlink(each.path) for each in os.scandir(f"{entry.path}/fd")]
            except OSError:
                continue  # it has ended, or is nobody's to look at
            found |= {path for path in paths if os.path.basename(path) == EVENTS and writes(path, int(entry.name))}
    return sorted(found)


def writes(path: str, pid: int) -> bool:
    """Tell whether a file is the event log of a program."""
    try:
        file = EventFile(path)
    except (FileNotFoundError, EventLogError):
        return False
    file.close()
    return file.head.pid == pid
