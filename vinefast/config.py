"""What users configure, checked once and turned into what the core takes."""

from __future__ import annotations

import functools
import glob
import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral, Real
from typing import Any, Literal

from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from vinefast.errors import InvalidConfiguration
from vinefast.tuning import checked_tune_parameters

logger = logging.getLogger(__name__)

try:
    VERSION = version("vinefast")
except PackageNotFoundError:  # run from a source tree
    VERSION = "unknown"

LIBRARY_PACKAGE = "vinefast_library"

# TaskVine keeps challenge and password in a buffer of 2 KB and does not look.
_PASSWORD_MAX_NBYTES = 1024

Rule = tuple[Callable[[Any], bool], str]


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_name(value: object) -> bool:
    return _is_text(value) and value != ""


def _is_path(value: object) -> bool:
    return isinstance(value, os.PathLike) or _is_name(value)


def _is_environment(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_name(name) and "=" not in name for name in value)


def optional(rule: Rule) -> Rule:
    """Make a rule that accepts None as well."""
    accepts, words = rule
    return lambda value: value is None or accepts(value), f"{words}, or None"


_COUNT: Rule = (lambda value: _is_int(value) and value >= 0, "a whole number, 0 or more")
POSITIVE: Rule = (lambda value: _is_int(value) and value > 0, "a positive whole number")
_FLAG: Rule = (lambda value: isinstance(value, bool), "True or False")
_TEXT: Rule = (_is_text, "a string")
_NAME: Rule = (_is_name, "a string that is not empty")
_PATH: Rule = (_is_path, "a path")

_MANAGER_RULES: dict[str, Rule] = {
    "port": (lambda value: _is_int(value) and 0 <= value < 65536, "a port number, or 0 for any free port"),
    "address": optional(_NAME),
    "project_name": optional(_NAME),
    "project_password_file": optional(_PATH),
    "env_vars": optional((_is_environment, "a dict of values by name of variable")),
    "init_command": optional(_TEXT),
    "max_retries": optional(_COUNT),
    "library_config": optional((lambda value: isinstance(value, Mapping), "a dict")),
    "shared_fs": _FLAG,
    "autocategory": _FLAG,
    "enable_peer_transfers": _FLAG,
    "wait_for_workers": optional(_COUNT),
    "vine_log_dir": optional(_PATH),
}

_LIBRARY_KEYS = ("num_slots", "cores", "memory", "disk")

_BATCH_TYPES = ("local", "condor", "uge", "sge", "pbs", "lsf", "torque", "moab", "slurm", "amazon", "k8s", "dryrun")

_FACTORY_RULES: dict[str, Rule] = {
    "factory_timeout": _COUNT,
    "scratch_dir": optional(_PATH),
    "min_workers": _COUNT,
    "max_workers": POSITIVE,
    "workers_per_cycle": _COUNT,
    "worker_options": optional(_TEXT),
    "worker_executable": _NAME,
    "worker_timeout": POSITIVE,
    "cores": optional(_COUNT),
    "gpus": optional(_COUNT),
    "memory": optional(_COUNT),
    "disk": optional(_COUNT),
    "python_env": optional(_PATH),
    "batch_type": (lambda value: value in _BATCH_TYPES, "one of " + ", ".join(map(repr, _BATCH_TYPES))),
    "condor_requirements": optional(_TEXT),
    "batch_options": optional(_TEXT),
}

_NOT_YET = {
    "env_pack": None,
    "app_pack": False,
    "extra_pkgs": None,
    "autolabel": False,
    "autolabel_algorithm": "max-xput",
    "autolabel_window": None,
}


def require(name: str, value: object, rule: Rule) -> None:
    """Raise `InvalidConfiguration` unless the rule accepts the value."""
    accepts, words = rule
    if not accepts(value):
        raise InvalidConfiguration(f"{name} is {value!r}; accepted: {words}")


def one_of(*choices: str) -> Rule:
    """Make a rule that accepts the choices."""
    return lambda value: value in choices, " or ".join(map(repr, choices))


def instance_of(kind: type) -> Rule:
    """Make a rule that accepts objects of a class."""
    return lambda value: isinstance(value, kind), f"a {kind.__name__}"


def check_manager_config(config: TaskVineManagerConfig) -> None:
    """Raise `InvalidConfiguration` for the first field of a manager configuration that cannot work."""
    require("manager_config", config, instance_of(TaskVineManagerConfig))
    for name, default in _NOT_YET.items():
        value = getattr(config, name)
        if value != default:
            raise InvalidConfiguration(
                f"manager_config.{name} is {value!r}, which vinefast {VERSION} does not support yet; "
                f"leave it at its default, {default!r}"
            )
    for name, rule in _MANAGER_RULES.items():
        require(f"manager_config.{name}", getattr(config, name), rule)
    for key, value in (config.library_config or {}).items():
        require("a key of manager_config.library_config", key, one_of(*_LIBRARY_KEYS))
        require(f"manager_config.library_config[{key!r}]", value, optional(POSITIVE))
    checked_tune_parameters(config.tune_parameters)


def check_factory_config(config: TaskVineFactoryConfig) -> None:
    """Raise `InvalidConfiguration` for the first field of a factory configuration that cannot work."""
    require("factory_config", config, instance_of(TaskVineFactoryConfig))
    for name, rule in _FACTORY_RULES.items():
        require(f"factory_config.{name}", getattr(config, name), rule)
    if config.min_workers > config.max_workers:
        raise InvalidConfiguration(
            f"factory_config.min_workers is {config.min_workers}; accepted: at most max_workers, {config.max_workers}"
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


@dataclass(frozen=True)
class CallSpec:
    """A resource specification, checked. Equal specifications are the same object.

    Attributes
    ----------
    cores : float or None
        Cores; None here and below: what the engine gives.
    memory, disk : int or None
        In MB.
    gpus : int or None
        GPUs.
    priority : float
        Higher goes first, as in TaskVine.
    category : str or None
        TaskVine's category.
    running_time_min : int or None
        Seconds that the worker must have left to live.
    """

    cores: float | None = None
    memory: int | None = None
    disk: int | None = None
    gpus: int | None = None
    priority: float = 0.0
    category: str | None = None
    running_time_min: int | None = None


_AMOUNT: Rule = (lambda value: _is_number(value) and value >= 0, "a number, 0 or more")
_WHOLE: Rule = (lambda value: _is_number(value) and value >= 0 and value == int(value), "a whole number, 0 or more")
_SPEC_RULES: dict[str, tuple[Rule, type]] = {
    "cores": (_AMOUNT, float),
    "memory": (_WHOLE, int),
    "disk": (_WHOLE, int),
    "gpus": (_WHOLE, int),
    "priority": ((_is_number, "a number"), float),
    "category": ((lambda value: _is_name(value) and value.isprintable(), "a name"), str),
    "running_time_min": (_WHOLE, int),
}

_warned_keys: set[str] = set()


def call_spec(specification: Mapping[str, Any], exec_mode: str) -> CallSpec | None:
    """Check a resource specification.

    Parameters
    ----------
    specification : mapping
        As users write it. Keys that are not known are ignored with one warning each.
    exec_mode : str
        The executor's own function_exec_mode.

    Returns
    -------
    CallSpec or None
        None if nothing is asked for.

    Raises
    ------
    parsl.executors.errors.InvalidResourceSpecification
        If the value of a known key cannot work.
    """
    try:
        # 1, 1.0 and True are equal, but True is no number of cores.
        return _interned_spec(exec_mode, *((key, type(value), value) for key, value in specification.items()))
    except (TypeError, AttributeError):
        if not isinstance(specification, Mapping):
            raise InvalidResourceSpecification(set(), f"It is {specification!r}; accepted: a dict") from None
        unhashable = {key: value for key, value in specification.items() if value.__hash__ is None}
        if not unhashable:
            raise
        raise InvalidResourceSpecification(set(unhashable), f"Got {unhashable!r}; accepted: plain values") from None


@functools.lru_cache(maxsize=4096)
def _interned_spec(exec_mode: str, *items: tuple[str, type, Any]) -> CallSpec | None:
    wanted = {}
    for key, _, value in items:
        if value is None:
            continue
        if key == "exec_mode":
            if value != exec_mode:
                raise InvalidResourceSpecification(
                    {key}, f"{key} is {value!r}; accepted: the executor's function_exec_mode, {exec_mode!r}"
                )
        elif key in _SPEC_RULES:
            (accepts, words), convert = _SPEC_RULES[key]
            if not accepts(value):
                raise InvalidResourceSpecification({key}, f"{key} is {value!r}; accepted: {words}")
            wanted[key] = convert(value)
        elif key not in _warned_keys:
            _warned_keys.add(key)
            logger.warning("Ignoring %r in a resource specification; known: %s", key, ", ".join(_SPEC_RULES))
    spec = CallSpec(**wanted)
    return None if spec == CallSpec() else _one_of_equals(spec)


@functools.lru_cache(maxsize=4096)
def _one_of_equals(spec: CallSpec) -> CallSpec:
    return spec


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
    env_vars : dict
        Environment of calls.
    max_retries : int or None
        How often a task is tried again when its worker is lost; None: for ever.
    tune : dict
        TaskVine's tune parameters.
    peer_transfers : bool
        Whether workers may fetch files from each other.
    wait_for_workers : int or None
        Workers to wait for before the first call is sent.
    debug : bool
        Keep TaskVine's debug log.
    max_losses : int
        A call fails when more workers than this were lost while they had it.
    bundle_ms, slice_ms : float
        Run time to aim at for a bundle, and its time slice.
    bundle_nbytes : int
        Payload of a bundle; only a single call may have more.
    inline_nbytes : int
        Larger frames are spilled.
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
    env_vars: dict[str, str] = field(default_factory=dict)
    max_retries: int | None = 1
    tune: dict[str, float] = field(default_factory=dict)
    peer_transfers: bool = True
    wait_for_workers: int | None = None
    debug: bool = False
    max_losses: int = 3
    bundle_ms: float = 30.0
    slice_ms: float = 50.0
    bundle_nbytes: int = 1 << 20
    inline_nbytes: int = 65536

    @property
    def library_per_worker(self) -> bool:
        """Whether each worker has one library, which takes it whole."""
        resources = (self.library_cores, self.library_memory, self.library_disk)
        return self.exec_mode == "serverless" and resources == (None, None, None)


def engine_settings(
    config: TaskVineManagerConfig,
    exec_mode: Literal["serverless", "regular"],
    runtime_dir: str,
    password_file: str | None,
    working_dir: str | None,
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
    """
    library = config.library_config or {}
    env_vars = {name: str(value) for name, value in (config.env_vars or {}).items()}
    if working_dir is not None:
        env_vars.setdefault("VINEFAST_CWD", working_dir)
    module = LIBRARY_PACKAGE if exec_mode == "serverless" else f"{LIBRARY_PACKAGE}.once"
    slots = library.get("num_slots") or 0
    children = f" --children {slots}" if slots and exec_mode == "serverless" else ""
    return EngineSettings(
        runtime_dir=runtime_dir,
        exec_mode=exec_mode,
        library_files=library_files(),
        command=python_command(module, config.init_command or "") + children,
        port=config.port,
        project_name=config.project_name,
        password_file=password_file,
        slots=slots,
        library_cores=library.get("cores"),
        library_memory=library.get("memory"),
        library_disk=library.get("disk"),
        env_vars=env_vars,
        max_retries=config.max_retries,
        tune=checked_tune_parameters(config.tune_parameters),
        peer_transfers=config.enable_peer_transfers,
        wait_for_workers=config.wait_for_workers,
        debug=os.environ.get("VINEFAST_DEBUG", "") not in ("", "0"),
    )


def library_files() -> list[tuple[str, str]]:
    """List what a worker needs to run calls: local path and name in the sandbox."""
    directory = os.path.join(os.path.dirname(__file__), "library")
    paths = sorted(glob.glob(os.path.join(glob.escape(directory), "*.py")))
    return [(path, f"{LIBRARY_PACKAGE}/{os.path.basename(path)}") for path in paths]


def python_command(module: str, init_command: str = "", python: str | None = sys.executable) -> str:
    """Give the shell command that runs a module on a worker; arguments may be appended.

    The submit side's interpreter is preferred where it exists, since it has the packages that the calls need; but a
    ``python3`` that `init_command` brings is there for a reason.
    """
    found = "$(command -v python3)"
    lines = [f'vinefast_python="{found}"']
    usable = f"[ -x {shlex.quote(python or '')} ]"
    if init_command:
        lines = [f'vinefast_before="{found}"', init_command, *lines]
        usable = f'[ "$vinefast_python" = "$vinefast_before" ] && {usable}'
    lines += [
        f"if {usable}; then vinefast_python={shlex.quote(python or '')}; fi",
        f'exec "${{vinefast_python:-python3}}" -m {module}',
    ]
    return "\n".join(lines)
