"""What all ways to launch workers have in common."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast.workers.contact import Contact
from vinefast.workers.launch.arguments import RECONNECT_S, name_for_a_shell, password_arguments, worker_arguments

# What start-worker.sh does, as far as one word can; whoever pastes it may have no script.
_PRIVATE_WORKSPACE = '--workspace "$(mktemp -d -t worker-XXXXXXXXXX)"'

OnFailure = Callable[[Exception], None]


class Launcher:
    """What all methods have in common.

    Parameters
    ----------
    config : TaskVineFactoryConfig
        What workers get.
    directory : str
        Where logs go.

    Attributes
    ----------
    worker_command : str
        Shell command that starts one worker; empty before `start`.
    """

    local: bool = False
    """Whether workers run on this machine, and so see the same files."""

    fixed: bool = False
    """Whether all workers are here from the start, and alike: none will be larger."""

    ends_workers: bool = False
    """Whether `stop` ends workers that have not heard from the manager that they are to leave."""

    brings_python: bool = False
    """Whether workers run in an environment that was sent to them."""

    idle_timeout_s: int = 0
    """Workers that have nothing to do for so long are to leave; 0: none is."""

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        self.config = config
        self.directory = directory
        self.worker_command: str = ""

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Start workers; `on_failure` is called, on another thread, if it turns out that none can run."""
        arguments = [*password_arguments(contact), *self._arguments_by_hand(contact)]
        program = shlex.quote(name_for_a_shell(self.config.worker_executable))
        self.worker_command = f"{program} {_PRIVATE_WORKSPACE} {shlex.join(arguments)}"

    def _arguments_by_hand(self, contact: Contact) -> list[str]:
        # Managers of the same name may follow each other; nothing follows at an address.
        reconnection = [f"--connect-timeout={RECONNECT_S}"] if contact.project_name is None else []
        return [*reconnection, *worker_arguments(self.config, contact, elsewhere=True)]

    def retire(self) -> None:
        """Replace no worker that leaves from now on."""

    def stop(self) -> None:
        """End what was started, within seconds. Idempotent."""

    def left(self) -> list[str]:
        """Say what there still is, after `stop`, of what was started on this machine."""
        return []

    def diagnosis(self) -> str:
        """Say where to look if no worker comes."""
        raise NotImplementedError
