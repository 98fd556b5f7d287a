"""Workers on this machine, as many from the first moment to the last."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress

from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast._log_fields import fields
from vinefast.workers.contact import Contact
from vinefast.workers.launch.arguments import (
    as_arguments,
    copy_password,
    fewer_cores,
    leaving_arguments,
    worker_arguments,
)
from vinefast.workers.launch.launcher import OnFailure
from vinefast.workers.launch.process_launcher import ProcessLauncher
from vinefast.workers.launch.processes import spawn
from vinefast.workers.programs import find_worker
from vinefast.workers.scratch import Scratch, local_scratch_dir

logger: logging.Logger = logging.getLogger(__name__)


class LocalLauncher(ProcessLauncher):
    """A fixed number of workers on this machine."""

    local = True
    fixed = True
    ends_workers = True

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self.count: int = config.min_workers
        self._worker = find_worker(config.worker_executable)
        self._workspaces: dict[int, str] = {}

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Start the workers."""
        self._place = local_scratch_dir(self.config)
        self._scratch = Scratch(self._place)
        self._arguments = [
            *leaving_arguments(self.config),
            *as_arguments({"--password": copy_password(contact, self._scratch), "--cores": fewer_cores()}),
            *worker_arguments(self.config, contact),
        ]
        super().start(contact, on_failure)

    def _launch(self, index: int) -> subprocess.Popen[bytes]:
        assert self._scratch is not None
        self._remove_workspace(index)
        workspace = tempfile.mkdtemp(prefix="worker-", dir=self._scratch.path)
        self._workspaces[index] = workspace
        command = [self._worker, "--workspace", workspace, *self._arguments]
        return spawn(command, self._log_path(index), self._variables, required=self._thread is None)

    def _remove_workspace(self, index: int) -> None:
        workspace = self._workspaces.pop(index, None)
        if workspace is not None:
            shutil.rmtree(workspace, ignore_errors=True)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)

    def _log_path(self, index: int) -> str:
        return os.path.join(self.directory, f"worker-{index}.log")


def warn_of_more_than_here(config: TaskVineFactoryConfig, label: str) -> None:
    """Warn of an executor's workers that take themselves for larger than this machine, which they believe if told."""
    here = {
        "cores": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    }
    with suppress(OSError):  # which is met again where it matters
        here["disk"] = shutil.disk_usage(local_scratch_dir(config) or tempfile.gettempdir()).total >> 20
    for name, there_is in here.items():
        wanted = getattr(config, name)
        if wanted and wanted > there_is:
            logger.warning(
                "factory_config.%s of executor %s is %s, but this machine has %d%s: "
                "calls will be given more than there is",
                name,
                label,
                wanted,
                there_is,
                "" if name == "cores" else " MB",
                extra=fields(label),
            )
