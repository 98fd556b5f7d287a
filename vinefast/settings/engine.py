"""What users configure, checked once and turned into what the core takes."""

from __future__ import annotations

import glob
import logging
import os
import shlex
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import cloudpickle
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from vinefast.workers.environment import PYTHON, SCRIPT, Environment
from vinefast.errors import InvalidConfiguration
from vinefast.library import parsl_side
from vinefast.library.by_value import PACKAGES
from vinefast.library.context import FILE as CONTEXT_FILE
from vinefast.library.context import Context
from vinefast.library.share import THREAD_VARIABLES, USERS_PREFIX
from vinefast.workers.programs import find_resource_monitor
from vinefast.settings.rules import (
    CONTEXT,
    COUNT,
    FLAG,
    NAME,
    PATH,
    POSITIVE,
    TEXT,
    Rule,
    instance_of,
    is_environment,
    is_int,
    is_names,
    one_of,
    optional,
    require,
)
from vinefast.settings.tuning import Tuning

logger = logging.getLogger(__name__)

try:
    VERSION = version("vinefast")
except PackageNotFoundError:  # run from a source tree
    VERSION = "unknown"

LIBRARY_PACKAGE = "vinefast_library"

# In the sandbox of a worker's task.
_SCRIPT = f"{LIBRARY_PACKAGE}/environment.sh"
_ARCHIVE = "vinefast_environment"

# TaskVine keeps challenge and password in a buffer of 2 KB and does not look.
_PASSWORD_MAX_NBYTES = 1024

AUTOLABEL_ALGORITHMS = ("max-xput", "bucketing", "max")

_MANAGER_RULES: dict[str, Rule] = {
    "port": (lambda value: is_int(value) and 0 <= value < 65536, "a port number, or 0 for any free port"),
    "address": optional(NAME),
    "project_name": optional(NAME),
    "project_password_file": optional(PATH),
    "env_vars": optional((is_environment, "a dict of values by name of variable")),
    "init_command": optional(TEXT),
    "env_pack": optional(PATH),
    "app_pack": FLAG,
    "extra_pkgs": optional((is_names, "a list of what pip can install")),
    "max_retries": optional(COUNT),
    "library_config": optional((lambda value: isinstance(value, Mapping), "a dict")),
    "shared_fs": FLAG,
    "autocategory": FLAG,
    "autolabel": FLAG,
    "autolabel_algorithm": one_of(*AUTOLABEL_ALGORITHMS),
    "autolabel_window": optional(POSITIVE),
    "enable_peer_transfers": FLAG,
    "wait_for_workers": optional(COUNT),
    "vine_log_dir": optional(PATH),
}

_LIBRARY_KEYS = ("num_slots", "cores", "memory", "disk")

_BATCH_TYPES = (
    *("local", "condor", "slurm", "sge", "uge", "pbs", "torque", "moab", "lsf", "flux", "cluster"),
    *("amazon", "k8s", "dryrun"),
)

_FACTORY_RULES: dict[str, Rule] = {
    "factory_timeout": COUNT,
    "scratch_dir": optional(PATH),
    "min_workers": COUNT,
    "max_workers": POSITIVE,
    "workers_per_cycle": COUNT,
    "worker_options": optional(TEXT),
    "worker_executable": NAME,
    "worker_timeout": POSITIVE,
    "cores": optional(COUNT),
    "gpus": optional(COUNT),
    "memory": optional(COUNT),
    "disk": optional(COUNT),
    "python_env": optional(PATH),
    "batch_type": (lambda value: value in _BATCH_TYPES, "one of " + ", ".join(map(repr, _BATCH_TYPES))),
    "condor_requirements": optional(TEXT),
    "batch_options": optional(TEXT),
}


def check_manager_config(config: TaskVineManagerConfig) -> None:
    """Raise `InvalidConfiguration` for the first field of a manager configuration that cannot work."""
    require("manager_config", config, instance_of(TaskVineManagerConfig))
    for name, rule in _MANAGER_RULES.items():
        require(f"manager_config.{name}", getattr(config, name), rule)
    for key, value in (config.library_config or {}).items():
        require("a key of manager_config.library_config", key, one_of(*_LIBRARY_KEYS))
        require(f"manager_config.library_config[{key!r}]", value, optional(POSITIVE))
    Tuning.of(config.tune_parameters)


def check_working_dir(path: str) -> None:
    """Make the directory where staging puts files, or raise `InvalidConfiguration`."""
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(
            f"working_dir is {path!r}; accepted: a directory in which this program can make files ({error})"
        ) from None


def check_factory_config(config: TaskVineFactoryConfig) -> None:
    """Raise `InvalidConfiguration` for the first field of a factory configuration that cannot work."""
    require("factory_config", config, instance_of(TaskVineFactoryConfig))
    for name, rule in _FACTORY_RULES.items():
        require(f"factory_config.{name}", getattr(config, name), rule)
    if config.min_workers > config.max_workers:
        raise InvalidConfiguration(
            f"factory_config.min_workers is {config.min_workers}; accepted: at most max_workers, {config.max_workers}"
        )


def check_autolabel(config: TaskVineManagerConfig, exec_mode: str) -> None:
    """Raise `InvalidConfiguration` if resources of calls are to be measured that have no process of their own."""
    if config.autolabel and exec_mode != "regular":
        raise InvalidConfiguration(
            f"manager_config.autolabel is True and function_exec_mode is {exec_mode!r}; accepted: autolabel with "
            "function_exec_mode='regular' alone, since TaskVine measures processes, and warm ones run many calls"
        )


def check_context(context: Callable[[], Any] | None, scope: str, exec_mode: str) -> None:
    """Raise `InvalidConfiguration` if an executor's context, or its scope, cannot work."""
    require("context", context, optional(CONTEXT))
    require("context_scope", scope, one_of("slot", "worker"))
    if scope == "worker" and context is None:
        raise InvalidConfiguration("context_scope is 'worker' and context is None; accepted: with a context alone")
    if scope == "worker" and exec_mode != "serverless":
        raise InvalidConfiguration(
            f"context_scope is 'worker' and function_exec_mode is {exec_mode!r}; accepted: context_scope='worker' with "
            "function_exec_mode='serverless' alone, since fresh processes share nothing"
        )


def warn_of_unused_fields(config: TaskVineFactoryConfig, launch_method: str) -> None:
    """Warn of fields of a factory configuration that are set, but mean nothing to this batch system."""
    batch_type = config.batch_type if launch_method == "factory" else None
    for name, used in (
        ("condor_requirements", batch_type == "condor"),
        ("batch_options", batch_type not in (None, "local")),
    ):
        value = getattr(config, name)
        if value is not None and not used:
            logger.warning(
                "Ignoring factory_config.%s, %r: worker_launch_method is %r, factory_config.batch_type %r",
                name,
                value,
                launch_method,
                config.batch_type,
            )


def check_password_file(path: str) -> None:
    """Raise `InvalidConfiguration` if TaskVine cannot use a password file."""
    try:
        with open(path, "rb") as file:
            password = file.read(_PASSWORD_MAX_NBYTES + 1)
    except OSError as error:
        raise InvalidConfiguration(
            f"manager_config.project_password_file is {path!r}, which cannot be read: {error.strerror}"
        ) from error
    if not password.strip() or b"\0" in password or len(password) > _PASSWORD_MAX_NBYTES:
        raise InvalidConfiguration(
            f"manager_config.project_password_file is {path!r}; accepted: a file with 1 to {_PASSWORD_MAX_NBYTES} "
            "bytes of text"
        )


@dataclass
class EngineSettings:
    """What the core is started with.

    Attributes
    ----------
    runtime_dir : str
        Where TaskVine keeps its logs.
    exec_mode : "serverless" or "regular"
        Calls in warm processes of a library, or each in a fresh process.
    library_files : list of (str, str)
        Local path and name in the sandbox of what workers need.
    command : str
        Shell command of the library, or of one call in regular mode.
    port : int
        0: any free port.
    project_name, password_file : str or None
        As in TaskVine.
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
    idle_timeout_s : int
        Workers that had nothing to do for so long are let go; 0: none is.
    min_workers : int
        As many are kept nevertheless.
    context : Context or None
        Of all functions that ask for one and have none of their own.
    """

    runtime_dir: str
    exec_mode: Literal["serverless", "regular"]
    library_files: list[tuple[str, str]]
    command: str
    port: int = 0
    project_name: str | None = None
    password_file: str | None = None
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
    idle_timeout_s: int = 0
    min_workers: int = 0
    context: Context | None = None

    @property
    def placing(self) -> bool:
        """Whether vinefast chooses workers: if it may, and each has one library, which takes it whole."""
        resources = (self.library_cores, self.library_memory, self.library_disk)
        may = self.tuning.scheduler == "vinefast"
        return may and self.exec_mode == "serverless" and resources == (None, None, None)


def tuning(config: TaskVineManagerConfig) -> Tuning:
    """Give what a manager configuration tunes: its ``tune_parameters``, and the fields that are parameters too."""
    tuning = Tuning(peer_transfers=config.enable_peer_transfers)
    if config.wait_for_workers is not None:
        tuning.wait_for_workers = config.wait_for_workers
    if config.autolabel and config.autolabel_window is not None:
        tuning.category_steady_n_tasks = config.autolabel_window
    tuning.update(Tuning.of(config.tune_parameters))
    return tuning


def program_path() -> list[str]:
    """Give the directories where this program finds modules of its own, neither Python's nor installed ones."""
    installed = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    return [
        os.path.abspath(directory)
        for directory in sys.path
        if not directory.startswith(installed)
        and os.path.basename(directory) not in ("site-packages", "dist-packages")
        and os.path.isdir(os.path.abspath(directory))
    ]


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
    """
    library = config.library_config or {}
    env_vars = {
        USERS_PREFIX + name if name in THREAD_VARIABLES else name: str(value)
        for name, value in (config.env_vars or {}).items()
    }
    env_vars.setdefault("VINEFAST_VERSIONS", parsl_side.versions())
    tuned = tuning(config)
    env_vars.setdefault("VINEFAST_RESULT_NBYTES", str(tuned.max_task_stdout_storage))
    env_vars.setdefault("VINEFAST_PEER_STALL_S", str(tuned.peer_stall_timeout))
    env_vars.setdefault("VINEFAST_CONTEXT_TIMEOUT_S", str(tuned.context_timeout))
    env_vars.setdefault("VINEFAST_KEPT_FUNCTIONS_NBYTES", str(tuned.kept_functions_nbytes))
    env_vars.setdefault("VINEFAST_KEPT_CONTEXTS", str(tuned.kept_contexts))
    if working_dir is not None:
        env_vars.setdefault("VINEFAST_CWD", working_dir)
    if module_path:
        env_vars.setdefault("VINEFAST_PATH", os.pathsep.join(module_path))
    module = LIBRARY_PACKAGE if exec_mode == "serverless" else f"{LIBRARY_PACKAGE}.once"
    slots = library.get("num_slots") or 0
    if exec_mode == "serverless":
        options = {"--children": slots, "--worker-cores": cores}
        module += "".join(f" {name} {value}" for name, value in options.items() if value)
    program = f"-m {LIBRARY_PACKAGE}.checked {PYTHON} {module}"
    init_command = config.init_command or ""
    files = library_files()
    if context_file is not None:
        files.append((context_file, CONTEXT_FILE))
    if environment is None:
        command = python_command(program, init_command, python)
    else:
        files += [(SCRIPT, _SCRIPT), (environment.archive, _ARCHIVE)]
        command = environment_command(environment, program, init_command, "PYTHONPATH" in env_vars)
    return EngineSettings(
        runtime_dir=runtime_dir,
        exec_mode=exec_mode,
        library_files=files,
        command=command,
        port=config.port,
        project_name=config.project_name,
        password_file=password_file,
        slots=slots,
        library_cores=library.get("cores"),
        library_memory=library.get("memory"),
        library_disk=library.get("disk"),
        library_gpus=gpus or None,
        env_vars=env_vars,
        max_retries=config.max_retries,
        tuning=tuned,
        category=None if config.autocategory else "parsl-default",
        resource_monitor=find_resource_monitor() if config.autolabel else None,
        allocation_mode=config.autolabel_algorithm if config.autolabel else None,
        debug=os.environ.get("VINEFAST_DEBUG", "") not in ("", "0"),
        context=context,
    )


def library_files() -> list[tuple[str, str]]:
    """List what a worker needs to run calls: local path and name in the sandbox."""
    directory = os.path.join(os.path.dirname(__file__), "library")
    files = [(path, f"{LIBRARY_PACKAGE}/{os.path.basename(path)}") for path in _sources(directory)]
    package = os.path.join(LIBRARY_PACKAGE, PACKAGES, "cloudpickle")
    files += [(path, f"{package}/{os.path.basename(path)}") for path in _sources(os.path.dirname(cloudpickle.__file__))]
    return files


def _sources(directory: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(directory), "*.py")))


# Without it, a worker would try in vain to start the program, and say nothing of why.
_PYTHON_LEFT = """\
if [ -n "$vinefast_before" ] && ! command -v python3 >/dev/null; then
echo "There is no python3 on PATH after it: $PATH"
exit 127
fi"""


def environment_command(environment: Environment, program: str, init_command: str = "", keep_path: bool = False) -> str:
    """Give the shell command that runs a Python program in an environment on a worker; arguments may be appended.

    A ``PYTHONPATH`` of the worker's own would bring packages of another environment, so it goes unless `keep_path`.
    """
    # The directories of a worker's tasks lie side by side.
    run = environment.command(_SCRIPT, _ARCHIVE, parent="..")
    lines = ["" if keep_path else "unset PYTHONPATH", f"exec {run} python3 {program}"]
    return _after(init_command, [line for line in lines if line])


def python_command(program: str, init_command: str = "", python: str | None = sys.executable) -> str:
    """Give the shell command that runs a Python program on a worker; arguments may be appended.

    The submit side's interpreter is preferred where it exists, since it has the packages that the calls need; but a
    ``python3`` that `init_command` brings is there for a reason.
    """
    usable = f"[ -x {shlex.quote(python or '')} ]"
    if init_command:
        usable = f'[ "$vinefast_python" = "$vinefast_before" ] && {usable}'
    start = [
        'vinefast_python="$(command -v python3)"',
        f"if {usable}; then vinefast_python={shlex.quote(python or '')}; fi",
        f'exec "${{vinefast_python:-python3}}" {program}',
    ]
    return _after(init_command, start, _PYTHON_LEFT)


def _after(init_command: str, start: list[str], check: str = "") -> str:
    """Give the shell command that runs `init_command` and then `start`, the last line of which takes arguments.

    If `init_command` ends the shell, for which an error of syntax is enough, the program is started nevertheless, and
    answers calls with the reason (library/checked.py). A status other than 0 alone is no failure, since a test for
    something optional may be the last thing that it does; but it is one before ``&&``, as which stock takes it, and so
    is 127, by which a shell tells that there is no such command.
    `check` may end the shell as well, after `init_command`.
    """
    if not init_command:
        return "\n".join(start)
    required = init_command.rstrip().endswith("&&")
    init_command = init_command.rstrip().removesuffix("&&")
    return f"""\
vinefast_init={shlex.quote(init_command)}
vinefast_start() {{
unset IFS
cd "$vinefast_home"
{chr(10).join(start)} $vinefast_arguments
}}
vinefast_refuse() {{
VINEFAST_INIT_STATUS=$?
VINEFAST_INIT_COMMAND="$vinefast_init"
trap - EXIT
PATH="$vinefast_path"
export PATH VINEFAST_INIT_STATUS VINEFAST_INIT_COMMAND
vinefast_start
}}
vinefast_run() {{
vinefast_home="$PWD" vinefast_path="$PATH" vinefast_arguments="$*"
vinefast_before="$(command -v python3)"
trap vinefast_refuse EXIT
eval "$vinefast_init"{" || exit" if required else f"{chr(10)}[ $? != 127 ] || exit 127"}
{check}
trap - EXIT
vinefast_start
}}
vinefast_run"""
