"""The groups of checks, each of which runs in a process of its own (`child`)."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from copy import copy

from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from vinefast import VineFastExecutor
from vinefast.doctor.check import Check, ok, refusal
from vinefast.doctor.configuration import check_executors, launcher_of
from vinefast.doctor.joining import judge
from vinefast.doctor.loading import load
from vinefast.doctor.machine import check_machine
from vinefast.doctor.trial import try_command, try_own_worker
from vinefast.errors import VineFastError
from vinefast.workers.programs import find_program


def _machine(directory: str, run_dir: str | None) -> Iterator[Check]:
    yield from check_machine(run_dir)


def _engine(directory: str, with_tls: bool, patience_s: float) -> Iterator[Check]:
    _keep_all_in(directory)
    name = "engine with TLS" if with_tls else "engine"
    checks = judge(name, try_own_worker(directory, with_tls, patience_s))
    # The worker is the same one, and its Python is this one.
    yield from (check for check in checks if check.name == name or check.level != "ok")


def _worker(directory: str, command: str, patience_s: float) -> Iterator[Check]:
    _keep_all_in(directory)
    executor = VineFastExecutor(
        label="doctor", worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, shared_fs=False)
    )
    yield from judge("worker", try_command(directory, command, executor, patience_s))


def _configuration(directory: str, where: str, command: str | None, patience_s: float) -> Iterator[Check]:
    loaded = load(where)
    if loaded.problems:
        yield from loaded.problems
        return
    # What the program itself finds there has been chosen.
    yield from check_executors(loaded, directory)
    _keep_all_in(directory)
    for executor in loaded.executors:
        if isinstance(executor, VineFastExecutor):
            yield from _tried(executor, directory, command, patience_s)


def _tried(executor: VineFastExecutor, directory: str, command: str | None, patience_s: float) -> Iterator[Check]:
    name = f"{executor.label}: a worker"
    config = executor.manager_config
    own = os.path.join(directory, executor.label)
    os.makedirs(own, exist_ok=True)
    try:
        launcher = launcher_of(executor, own)
        if command is None and launcher.local:
            program = shlex.quote(find_program(executor.factory_config.worker_executable))
            command = f"{program} --cores 1 {executor.factory_config.worker_options or ''}"
        if command is None:
            yield ok(name, "not tried: workers are elsewhere, and there is no --worker-command")
            return
        sent = (config.env_pack, executor.factory_config.python_env)
        if config.app_pack or any(place is not None and not os.path.isfile(place) for place in sent):
            yield ok(name, "not tried: its environment would be packed first, which takes minutes")
            return
        copied = _by_hand(executor, launcher.local)
    except VineFastError as problem:
        yield refusal(name, str(problem), "the message names it")
        return
    yield from judge(name, try_command(own, command, copied, patience_s))


def _by_hand(executor: VineFastExecutor, local: bool) -> VineFastExecutor:
    """Make an executor like one that is configured, but for workers that come by hand, at any port."""
    config = copy(executor.manager_config)
    config.port, config.project_name, config.wait_for_workers = 0, None, None
    config.vine_log_dir = None
    if local and config.address is None:
        # Where workers of this machine come to.
        config.address = "127.0.0.1"
    return VineFastExecutor(
        label="doctor",
        worker_launch_method="manual",
        function_exec_mode=executor.function_exec_mode,
        manager_config=config,
        factory_config=TaskVineFactoryConfig(),
        ssl=executor.ssl,
        require_password=executor.require_password,
    )


def _keep_all_in(directory: str) -> None:
    """Have all that is made lie in the one directory, which is removed in the end, also what workers make."""
    os.environ["TMPDIR"] = tempfile.tempdir = directory


GROUPS: dict[str, Callable[..., Iterator[Check]]] = {
    "machine": _machine,
    "engine": _engine,
    "worker": _worker,
    "configuration": _configuration,
}
"""By name; each takes a directory for its files, and arguments of its own."""
