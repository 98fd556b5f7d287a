"""The launch method "provider"."""

from __future__ import annotations

import glob
import os
import shlex
import shutil

from parsl.executors.taskvine import TaskVineFactoryConfig
from parsl.providers import LocalProvider
from parsl.providers.base import ExecutionProvider

from vinefast.workers import batch_jobs
from vinefast.workers.contact import Contact
from vinefast.workers.launch.arguments import leaving_arguments, password_arguments, word_for_a_shell, worker_arguments
from vinefast.workers.launch.launcher import Launcher, OnFailure
from vinefast.workers.launch.processes import log_excerpt
from vinefast.workers.listening import listening_variables
from vinefast.workers.programs import START_SCRIPT, find_worker


class ProviderLauncher(Launcher):
    """Workers as blocks of a Parsl provider; Parsl itself scales them out and in."""

    def __init__(self, config: TaskVineFactoryConfig, directory: str, provider: ExecutionProvider) -> None:
        super().__init__(config, directory)
        self.provider = provider
        self.local: bool = isinstance(provider, LocalProvider)
        self._worker = find_worker(config.worker_executable) if self.local else config.worker_executable

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Compose the command for blocks."""
        # Where they see the password's file, too; they may have no vinefast.
        script = shutil.copy(START_SCRIPT, self.directory)
        arguments = [
            *leaving_arguments(self.config),
            *password_arguments(contact),
            *worker_arguments(self.config, contact, elsewhere=not self.local),
        ]
        # Without a dollar sign of its own: some of Parsl's launchers have a shell read it twice.
        variables = listening_variables(contact.listen_address) if self.local else {}
        assignments = "".join(f"{name}={shlex.quote(value)} " for name, value in variables.items())
        worker = word_for_a_shell(self._worker)
        self.worker_command: str = f"{assignments}sh {shlex.quote(script)} {worker} {shlex.join(arguments)}"

    def diagnosis(self) -> str:
        """Point to the files that the provider makes, and show what a block had to say."""
        where = getattr(self.provider, "script_dir", None)
        said = [path for path in glob.glob(f"{glob.escape(where)}/*stderr*") if os.path.getsize(path)] if where else []
        if said:
            return log_excerpt(max(said, key=os.path.getmtime))
        output = f"The output of the provider's blocks is in {where or 'its script_dir'}"
        return output if self.local else f"{batch_jobs.describe(self.provider)} {output}"
