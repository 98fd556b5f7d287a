"""What the core is started with, made of what users configure."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from parsl.executors.taskvine import TaskVineManagerConfig

from vinefast.errors import EngineStartError
from vinefast.library import parsl_side, protocol
from vinefast.library.context import FILE as CONTEXT_FILE
from vinefast.library.context import Context
from vinefast.library.share import THREAD_VARIABLES
from vinefast.settings.tuning import Tuning
from vinefast.workers.command import (
    ARCHIVE_NAME,
    LIBRARY_ARCHIVE,
    LIBRARY_PACKAGE,
    SCRIPT_NAME,
    environment_command,
    library_archive,
    library_program,
    python_command,
)
from vinefast.workers.environment import SCRIPT, Environment
from vinefast.workers.programs import find_resource_monitor


@dataclass(frozen=True)
class EngineSettings:
    """What the core is started with.

    Attributes
    ----------
    runtime_dir : str
        Where TaskVine keeps its logs.
    exec_mode : "serverless" or "regular"
        Calls in warm processes of a library, or each in a fresh process.
    library_files : list of (str or bytes, str)
        What workers need: local path or content, and name in the sandbox.
    command : str
        Shell command of the library, or of one call in regular mode.
    port : int
        0: any free port.
    listen_address : str or None
        The number of the only address at which the manager listens; None: at all of this machine's.
    project_name, password_file : str or None
        As in TaskVine.
    key_and_certificate : (str, str) or None
        Files with which the manager speaks TLS; None: it speaks none.
    slots : int
        Function slots per library; 0: as many as the worker has cores.
    library_cores, library_memory, library_disk : int or None
        Resources of a library; None: all of the worker.
    library_gpus : int or None
        GPUs of a library; None: none, since TaskVine gives none that are not asked for.
    env_vars : dict
        Environment of calls.
    max_retries : int or None
        How often a task is tried again when its worker is lost; None: for ever.
    tuning : Tuning
        All numbers that users may choose.
    category : str or None
        TaskVine's category of calls that do not name one; None: the name of their function.
    resource_monitor : str or None
        TaskVine's program that measures each task; None: they are not measured.
    allocation_mode : str or None
        Parsl's name of TaskVine's way to choose resources from what was measured.
    debug : bool
        Keep TaskVine's debug log.
    events_path, about : str or None, str
        The file of the event log, if there is to be one, and JSON that it begins with.
    idle_timeout_s : int
        Workers that had nothing to do for so long are let go; 0: none is.
    min_workers : int
        As many are kept nevertheless.
    ends_workers : bool
        Whether somebody ends the workers that have not heard from the manager that they are to leave.
    context : Context or None
        Of all functions that ask for one and have none of their own.
    """

    runtime_dir: str
    exec_mode: Literal["serverless", "regular"]
    library_files: list[tuple[str | bytes, str]]
    command: str
    port: int = 0
    listen_address: str | None = None
    project_name: str | None = None
    password_file: str | None = None
    key_and_certificate: tuple[str, str] | None = None
    slots: int = 0
    library_cores: int | None = None
    library_memory: int | None = None
    library_disk: int | None = None
    library_gpus: int | None = None
    env_vars: dict[str, str] = field(default_factory=dict)
    max_retries: int | None = 1
    tuning: Tuning = field(default_factory=Tuning)
    category: str | None = None
    resource_monitor: str | None = None
    allocation_mode: str | None = None
    debug: bool = False
    events_path: str | None = None
    about: str = "{}"
    idle_timeout_s: int = 0
    min_workers: int = 0
    ends_workers: bool = False
    context: Context | None = None

    @property
    def placing(self) -> bool:
        """Whether vinefast chooses workers: if it may, and each has one library, which takes it whole."""
        resources = (self.library_cores, self.library_memory, self.library_disk)
        may = self.tuning.scheduler == "vinefast"
        return may and self.exec_mode == "serverless" and resources == (None, None, None)


def tuning_of(config: TaskVineManagerConfig) -> Tuning:
    """Collect what a manager configuration tunes: ``tune_parameters``, and the fields that are parameters too."""
    tuning = Tuning(peer_transfers=config.enable_peer_transfers)
    if config.wait_for_workers is not None:
        tuning.wait_for_workers = config.wait_for_workers
    if config.autolabel and config.autolabel_window is not None:
        tuning.category_steady_n_tasks = config.autolabel_window
    tuning.update(Tuning.of(config.tune_parameters))
    return tuning


def engine_settings(
    config: TaskVineManagerConfig,
    exec_mode: Literal["serverless", "regular"],
    runtime_dir: str,
    password_file: str | None,
    working_dir: str | None,
    cores: int | None = None,
    gpus: int | None = None,
    environment: Environment | None = None,
    python: str | None = sys.executable,
    module_path: Sequence[str] = (),
    context: Context | None = None,
    context_file: str | None = None,
    project_name: str | None = None,
    listen_address: str | None = None,
    key_and_certificate: tuple[str, str] | None = None,
    idle_timeout_s: int = 0,
    min_workers: int = 0,
    ends_workers: bool = False,
    output_dir: str | None = None,
    events_path: str | None = None,
    about: str = "{}",
) -> EngineSettings:
    """Turn Parsl's manager configuration, which stays as it is, into the core's settings.

    Parameters
    ----------
    config : TaskVineManagerConfig
        Checked already.
    exec_mode : "serverless" or "regular"
        The executor's function_exec_mode.
    runtime_dir : str
        Where TaskVine keeps its logs.
    password_file : str or None
        The user's, or a generated one.
    working_dir : str or None
        Where calls run; None: in their sandbox.
    cores, gpus : int, optional
        Of a worker.
    environment : Environment, optional
        What they run in.
    python : str or None
        Without an environment, the interpreter to prefer where it exists; None: that of the worker.
    module_path : sequence of str
        Where calls look for modules first.
    context : Context, optional
        The executor's context.
    context_file : str, optional
        Where it lies for libraries to load it before they have calls.
    project_name : str, optional
        By which workers find the manager in TaskVine's catalog; without a name, they are given its address.
    listen_address : str, optional
        As in `EngineSettings`.
    key_and_certificate : (str, str), optional
        As in `EngineSettings`.
    idle_timeout_s, min_workers : int
        As in `EngineSettings`.
    ends_workers : bool
        As in `EngineSettings`.
    output_dir : str, optional
        Where slots leave what calls print; without one, it comes back with results.
    events_path, about : str, optional
        As in `EngineSettings`.

    Raises
    ------
    EngineStartError
        If a file that workers need cannot be read.
    """
    library = config.library_config or {}
    env_vars = {
        protocol.VINEFAST_USERS_ + name if name in THREAD_VARIABLES else name: str(value)
        for name, value in (config.env_vars or {}).items()
    }
    env_vars.setdefault(protocol.VINEFAST_VERSIONS, parsl_side.versions())
    tuned = tuning_of(config)
    env_vars.setdefault(protocol.VINEFAST_RESULT_NBYTES, str(tuned.max_task_stdout_storage))
    env_vars.setdefault(protocol.VINEFAST_PEER_STALL_S, str(tuned.peer_stall_timeout))
    env_vars.setdefault(protocol.VINEFAST_STOP_GRACE_S, str(tuned.stop_grace))
    env_vars.setdefault(protocol.VINEFAST_SLOT_MAX_CALLS, str(tuned.slot_max_calls))
    env_vars.setdefault(protocol.VINEFAST_SLOT_MAX_GROWTH_NBYTES, str(tuned.slot_max_growth))
    env_vars.setdefault(protocol.VINEFAST_CONTEXT_TIMEOUT_S, str(tuned.context_timeout))
    env_vars.setdefault(protocol.VINEFAST_KEPT_FUNCTIONS_NBYTES, str(tuned.kept_functions_nbytes))
    env_vars.setdefault(protocol.VINEFAST_KEPT_CONTEXTS, str(tuned.kept_contexts))
    # Never those of an executor in whose call this one may be.
    env_vars.setdefault(protocol.VINEFAST_OUTPUT, output_dir or "")
    env_vars.setdefault(protocol.VINEFAST_OUTPUT_NBYTES, str(tuned.output_nbytes))
    if working_dir is not None:
        env_vars.setdefault(protocol.VINEFAST_CWD, working_dir)
    if module_path:
        env_vars.setdefault(protocol.VINEFAST_PATH, os.pathsep.join(module_path))
    module = LIBRARY_PACKAGE if exec_mode == "serverless" else f"{LIBRARY_PACKAGE}.once"
    slots = library.get("num_slots") or 0
    if exec_mode == "serverless":
        options = {"--children": slots, "--worker-cores": cores}
        module += "".join(f" {name} {value}" for name, value in options.items() if value)
    program = library_program(module)
    init_command = config.init_command or ""
    try:
        files: list[tuple[str | bytes, str]] = [(library_archive(), LIBRARY_ARCHIVE)]
    except OSError as error:
        raise EngineStartError(
            f"{error.filename}, which workers need, cannot be read ({error.strerror}): has vinefast's installation "
            "changed?"
        ) from error
    if context_file is not None:
        files.append((context_file, CONTEXT_FILE))
    if environment is None:
        command = python_command(program, init_command, python)
    else:
        files += [(SCRIPT, SCRIPT_NAME), (environment.archive, ARCHIVE_NAME)]
        command = environment_command(environment, program, init_command, "PYTHONPATH" in env_vars)
    for path, _ in files:
        if isinstance(path, str) and not os.access(path, os.R_OK):
            # TaskVine would try to send it for ever, without a word to anybody.
            raise EngineStartError(f"{path}, which workers need, cannot be read")
    return EngineSettings(
        runtime_dir=runtime_dir,
        exec_mode=exec_mode,
        library_files=files,
        command=command,
        port=config.port,
        listen_address=listen_address,
        project_name=project_name,
        password_file=password_file,
        key_and_certificate=key_and_certificate,
        slots=slots,
        library_cores=library.get("cores"),
        library_memory=library.get("memory"),
        library_disk=library.get("disk"),
        library_gpus=gpus or None,
        env_vars=env_vars,
        max_retries=config.max_retries,
        tuning=tuned,
        category=None if config.autocategory else "parsl-default",
        events_path=events_path,
        about=about,
        resource_monitor=find_resource_monitor() if config.autolabel else None,
        allocation_mode=config.autolabel_algorithm if config.autolabel else None,
        debug=os.environ.get("VINEFAST_DEBUG", "") not in ("", "0"),
        idle_timeout_s=idle_timeout_s,
        min_workers=min_workers,
        ends_workers=ends_workers,
        context=context,
    )
