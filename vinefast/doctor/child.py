"""One group of checks in a process of its own, so that one that hangs can be ended with all that it has started."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict

from vinefast._child import begin
from vinefast.doctor.groups import GROUPS


def main() -> None:
    """Say each check of the group that the argument names."""
    say, arguments = begin()
    logging.getLogger("vinefast").setLevel(logging.ERROR)
    for check in GROUPS[arguments.pop("group")](**arguments):
        say(check=asdict(check))
    say(done=True)
    # A check that hangs has a thread, which nobody is to wait for.
    os._exit(0)
