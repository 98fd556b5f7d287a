"""Where workers come from: one class per launch method.

Why local workers are not left to ``vine_factory``: it starts one as fast as we do (0.03 s against 0.02 s), but it takes
up to 5 s to end where a worker takes 0.02 s, and looks for dead workers and for its parent's death once in 35 s. It is
used where its work is needed: for batch systems, and where the number of local workers follows the load.
"""

from __future__ import annotations

import os

from parsl.executors.taskvine import TaskVineFactoryConfig
from parsl.providers.base import ExecutionProvider

from vinefast.workers.launch.factory import FactoryLauncher
from vinefast.workers.launch.launcher import Launcher
from vinefast.workers.launch.local import LocalLauncher, warn_of_more_than_here
from vinefast.workers.launch.manual import ManualLauncher
from vinefast.workers.launch.provider import ProviderLauncher


def make_launcher(
    method: str, config: TaskVineFactoryConfig, directory: str, provider: ExecutionProvider | None
) -> Launcher:
    """Give the launcher for a worker_launch_method."""
    if method == "manual":
        return ManualLauncher(config, directory)
    if method == "provider":
        assert provider is not None
        return ProviderLauncher(config, directory, provider)
    if config.batch_type == "local":
        warn_of_more_than_here(config, os.path.basename(directory))
    fixed = config.min_workers == config.max_workers and config.python_env is None
    if config.batch_type == "local" and fixed:
        return LocalLauncher(config, directory)
    return FactoryLauncher(config, directory)
