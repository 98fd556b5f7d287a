"""All groups of checks that are asked for, one after the other, each in a process that is ended in time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vinefast._child import Child, last_line
from vinefast.doctor.check import Check, error

# To import vinefast from a cold disk, and to end what has been started.
_OVERHEAD_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What is to be looked at.

    Attributes
    ----------
    run_dir : str or None
        Of a run, or where there may be one.
    configuration : str or None
        ``FILE.py[:NAME]``.
    worker_command : str or None
        Of a shell.
    patience_s : float
        For how long a worker is waited for.
    """

    run_dir: str | None = None
    configuration: str | None = None
    worker_command: str | None = None
    patience_s: float = 30.0

    def groups(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the name and the arguments of each group of checks."""
        yield "machine", {"run_dir": self.run_dir}
        trial = {"patience_s": self.patience_s}
        if self.configuration is not None:
            yield "configuration", {"where": self.configuration, "command": self.worker_command, **trial}
        elif self.worker_command is not None:
            yield "worker", {"command": self.worker_command, **trial}
        else:
            yield "engine", {"with_tls": False, **trial}
            yield "engine", {"with_tls": True, **trial}


def examine(plan: Plan, directory: str) -> Iterator[Check]:
    """Carry out a plan; gives each check as it is made.

    Parameters
    ----------
    plan : Plan
        What to look at.
    directory : str
        For files that nobody needs afterwards.
    """
    for number, (group, arguments) in enumerate(plan.groups()):
        own = os.path.join(directory, str(number))
        os.makedirs(own, exist_ok=True)
        log_path = os.path.join(directory, f"log{number}")
        wait_s = plan.patience_s + _OVERHEAD_S
        given = {"group": group, "directory": own, **arguments}
        done, late = False, False
        # Where the user is, since that is where a program would run.
        try:
            with open(log_path, "wb") as log, Child("vinefast.doctor.child", given, os.getcwd(), log) as child:
                for message in child.messages(wait_s):
                    if message is None:
                        late = True
                        break
                    done = "done" in message
                    if not done:
                        yield Check(**message["check"])
        except OSError as problem:
            yield error(group, f"no process can look at it: {problem}", "raise the limit, or make room, that it names")
            continue
        if not done:
            how = f"no answer in {wait_s:g} s" if late else f"its process ended with {child.process.returncode}"
            yield error(group, f"{how}: {last_line(log_path)}", "report that, with what stands above, if it stays so")
