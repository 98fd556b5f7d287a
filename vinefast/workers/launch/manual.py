"""The launch method "manual"."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress

from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast.workers import by_hand
from vinefast.workers.contact import Contact
from vinefast.workers.launch.launcher import Launcher, OnFailure


class ManualLauncher(Launcher):
    """Workers that somebody else starts: it leaves a file for ``vinefast worker``, and starts nothing."""

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self._announced: str | None = None

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Compose the command, and leave the file."""
        super().start(contact, on_failure)
        arguments = self._arguments_by_hand(contact)
        self._announced = by_hand.announce(self.directory, self.config.worker_executable, arguments, contact)

    def stop(self) -> None:
        """Remove the file."""
        announced, self._announced = self._announced, None
        if announced is not None:
            with suppress(OSError):
                os.unlink(announced)

    def diagnosis(self) -> str:
        """Say how to start one."""
        return (
            f"Workers are to be started by hand, with: vinefast worker {shlex.quote(self.directory)}\n"
            f"or, where there is no vinefast, with: {self.worker_command}"
        )
