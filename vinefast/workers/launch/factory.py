"""Workers by TaskVine's ``vine_factory``: in jobs of a batch system, or here as many as the load asks for."""

from __future__ import annotations

import os
import subprocess

from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast.workers import batch_jobs
from vinefast.workers.contact import Contact
from vinefast.workers.environment import SCRIPT, Environment, named_environment
from vinefast.workers.launch.arguments import (
    as_arguments,
    copy_password,
    fewer_cores,
    resource_options,
    ssl_arguments,
    target,
)
from vinefast.workers.launch.launcher import OnFailure
from vinefast.workers.launch.process_launcher import ProcessLauncher
from vinefast.workers.launch.processes import spawn
from vinefast.workers.programs import START_SCRIPT, find_program, find_worker
from vinefast.workers.scratch import Scratch, local_scratch_dir

# Nobody answers there, and at once.
_NO_CATALOG = "127.0.0.1:1"
_LOCAL_GRACE_S = 0.5
_BATCH_GRACE_S = 10.0


# Runs a command; ends it and removes its scratch directory when standard input, which only we hold open, is at its end:
# also after a SIGKILL.
_LEASH = """
scratch=$1; shift
exec 3<&0
"$@" 3<&- </dev/null & child=$!
{ read -r _ <&3; while kill -TERM "$child"; do sleep 1; done; rm -rf "$scratch"; } >/dev/null 2>&1 &
exec 3<&-
wait "$child"
"""


class FactoryLauncher(ProcessLauncher):
    """Workers by TaskVine's ``vine_factory``."""

    program = "vine_factory"

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self.local: bool = config.batch_type == "local"
        self.ends_workers: bool = self.local
        self.idle_timeout_s: int = config.worker_timeout if config.min_workers < config.max_workers else 0
        # It takes up to 5 s to end its workers. Here they leave by themselves, or with its session.
        self.grace_s: float = _LOCAL_GRACE_S if self.local else _BATCH_GRACE_S
        self._factory = find_program(self.program)
        self._worker = find_worker(config.worker_executable)
        self._environment: Environment | None = None
        if config.python_env is not None:
            self._environment = named_environment("factory_config.python_env", config.python_env, self._label)
        self.brings_python: bool = self._environment is not None

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Start the factory."""
        self._place = local_scratch_dir(self.config) if self.local else self.config.scratch_dir or self.directory
        self._scratch = Scratch(self._place, janitor=False)
        copy_password(contact, self._scratch)
        self._command = [self._factory, *self._arguments(contact)]
        super().start(contact, on_failure)

    def _launch(self, index: int) -> subprocess.Popen[bytes]:
        assert self._scratch is not None
        command = ["/bin/sh", "-c", _LEASH, "sh", self._scratch.path, *self._command]
        log_path, required = self._log_path(index), self._thread is None
        return spawn(command, log_path, self._variables, self._scratch.path, subprocess.PIPE, required)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.close()

    def _log_path(self, index: int) -> str:
        return os.path.join(self.directory, "factory.log")

    def diagnosis(self) -> str:
        """Show the factory's log, and say how to ask for its jobs, which it does not name."""
        asking = batch_jobs.how_to_ask(self.config.batch_type)
        return "\n".join(filter(None, [super().diagnosis(), asking]))

    def _worker_options(self) -> str | None:
        if not self.local:
            return self.config.worker_options
        # A shell reads this: one workspace for each worker, all removed with the scratch directory.
        return f"--workspace worker-$$ {self.config.worker_options or ''}"

    def _arguments(self, contact: Contact) -> list[str]:
        config = self.config
        options = resource_options(config) | {
            # It documents "sge", and does not know it (7.14 to 7.17).
            "--batch-type": "uge" if config.batch_type == "sge" else config.batch_type,
            "--min-workers": config.min_workers,
            "--max-workers": config.max_workers,
            "--workers-per-cycle": config.workers_per_cycle,
            "--timeout": config.worker_timeout,
            "--factory-timeout": config.factory_timeout,
            # It gives these two to a shell without quotes.
            "--scratch-dir": ".",
            "--password": "password" if contact.password_file else None,
            "--worker-binary": self._worker,
            "--cores": config.cores or (fewer_cores() if self.local else None),
            "--extra-options": self._worker_options(),
            "--condor-requirements": config.condor_requirements,
            "--batch-options": config.batch_options,
            # It reports to a catalog even when it needs none; what the public one does not know is ours alone.
            "--catalog": None if contact.project_name else _NO_CATALOG,
        }
        wrapper = []
        if not self.local:
            wrapper = [f"--wrapper-input={START_SCRIPT}", f"--wrapper=sh {os.path.basename(START_SCRIPT)}"]
        if self._environment is not None:
            # As --poncho-env, but with environment.sh: poncho_package_run knows environments of conda alone.
            archive = self._environment.archive
            command = self._environment.command(os.path.basename(SCRIPT), os.path.basename(archive), ".")
            # Each goes before those that are given before it.
            wrapper += [f"--wrapper-input={SCRIPT}", f"--wrapper-input={archive}", f"--wrapper={command}"]
        return [
            *as_arguments(options),
            *ssl_arguments(contact),
            *wrapper,
            "--single-shot",
            *target(contact, elsewhere=not self.local),
        ]
