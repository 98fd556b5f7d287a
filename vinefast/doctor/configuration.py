"""A configuration, held against what will be needed, and against what is known to be slow or unsafe."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from copy import copy

from vinefast import VineFastExecutor
from vinefast.doctor.check import Check, error, ok, refusal, warning
from vinefast.doctor.file_systems import LOCAL, SHARED, file_system_of
from vinefast.doctor.loading import Loaded
from vinefast.errors import VineFastError
from vinefast.settings import checks
from vinefast.workers import packing
from vinefast.workers.contact import is_loopback, listening_address, manager_address
from vinefast.workers.environment import PYTHON, named_environment
from vinefast.workers.launch import make_launcher
from vinefast.workers.launch.launcher import Launcher

# By the names that TaskVine and Parsl's providers have for batch systems.
_SUBMIT_COMMANDS = {
    "slurm": "sbatch",
    "condor": "condor_submit",
    **dict.fromkeys(("sge", "uge", "grid_engine", "pbs", "pbspro", "torque", "moab"), "qsub"),
    "lsf": "bsub",
    "flux": "flux",
    "k8s": "kubectl",
}
_STOCK = ("TaskVineExecutor", "WorkQueueExecutor")


def check_executors(loaded: Loaded, directory: str) -> Iterator[Check]:
    """Build what a configuration names, without starting anything, and look at each executor.

    Parameters
    ----------
    loaded : Loaded
        The configuration.
    directory : str
        For files that nobody needs afterwards.
    """
    labels = ", ".join(f"{executor.label} ({type(executor).__name__})" for executor in loaded.executors)
    yield ok("configuration", f"has {labels}")
    for words in dict.fromkeys(loaded.warnings):
        yield warning("configuration: warning", words, "as it says")
    if os.environ.get("VINEFAST_DEBUG", "") not in ("", "0"):
        yield warning("VINEFAST_DEBUG", "is set: TaskVine writes each of its steps down", "unset it: calls are slower")
    for executor in loaded.executors:
        if isinstance(executor, VineFastExecutor):
            yield from _of_executor(executor, directory)
        elif type(executor).__name__ in _STOCK:
            yield warning(
                f"{executor.label}: kind",
                f"is Parsl's own {type(executor).__name__}, at which vinefast does not look",
                "put VineFastExecutor in its place: it takes the same arguments as TaskVineExecutor",
            )


def launcher_of(executor: VineFastExecutor, directory: str) -> Launcher:
    """Make what starts an executor's workers, without starting any.

    Raises
    ------
    VineFastError
        If it cannot be made.
    """
    config = copy(executor.factory_config)
    config.python_env = None  # which would be packed
    return make_launcher(executor.worker_launch_method, config, directory, executor.provider)


def _of_executor(executor: VineFastExecutor, directory: str) -> Iterator[Check]:
    label = executor.label
    try:
        launcher = launcher_of(executor, directory)
    except VineFastError as problem:
        yield refusal(f"{label}: workers", str(problem), "correct it")
        return
    where = "on this machine" if launcher.local else "elsewhere"
    yield ok(f"{label}: workers", f"{where}; worker_launch_method is {executor.worker_launch_method!r}")
    for look in _LOOKS:
        try:
            for found in look(executor, launcher):
                yield Check(f"{label}: {found.name}", found.level, found.seen, found.advice)
        except (VineFastError, OSError) as problem:
            yield refusal(f"{label}: {look.__name__.strip('_')}", str(problem), "correct it")


def _listens_at(executor: VineFastExecutor, launcher: Launcher) -> str | None:
    config = executor.manager_config
    return listening_address(config.address, launcher.local, config.project_name)


def _address(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    name = "address"
    address = manager_address(executor.manager_config.address, launcher.local)
    if launcher.local:
        yield ok(name, address)
        return
    numbers = sorted({str(found[4][0]) for found in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)})
    seen = address if numbers == [address] else f"{address}, which is {', '.join(numbers)}"
    if all(number.startswith("127.") or number == "::1" for number in numbers):
        by_hand = executor.worker_launch_method == "manual"
        yield (warning if by_hand else error)(
            name,
            f"{seen}: this machine alone reaches it, and workers may be elsewhere",
            "give a number or name that workers reach as manager_config.address, or none: vinefast looks for one",
        )
    elif not any(_is_here(number) for number in numbers):
        yield warning(
            name, f"{seen}, which is none of this machine's", "right if a router sends on from there; else correct it"
        )
    else:
        yield ok(name, seen)


def _is_here(number: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in number else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((number, 0))
        except OSError:
            return False
    return True


def _port(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    port = executor.manager_config.port
    if not port:
        return
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_listens_at(executor, launcher) or "", port))
    except OSError as problem:
        way_out = "another program has it: choose another one, or 0 for any that is free"
        if problem.errno == errno.EACCES:
            way_out = "choose one above 1023, or 0 for any that is free"
        yield error("port", f"{port} cannot be taken: {problem.strerror}", way_out)
        return
    yield ok("port", f"{port} is free")


def _password(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    name, path = "password", executor.manager_config.project_password_file
    if path is not None:
        checks.check_password_file(path)
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield warning(name, f"others can read {path} (its mode is {mode:o})", f"chmod 600 {path}")
        else:
            yield ok(name, f"that of {path}")
    elif not executor.require_password:
        if is_loopback(_listens_at(executor, launcher)):
            who = "every user of this machine"
        else:
            who = "whoever reaches the manager's port"
        yield warning(
            name,
            f"none: {who} can run code in this program, and read files by its workers",
            "leave out require_password=False",
        )


def _tls(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    name, reached_here_alone = "TLS", is_loopback(_listens_at(executor, launcher))
    if isinstance(executor.ssl, tuple):
        key, certificate = (os.path.abspath(os.fspath(path)) for path in executor.ssl)
        checks.check_key_and_certificate(key, certificate)
        yield ok(name, f"with the key {key}")
    elif executor.ssl is False and not reached_here_alone:
        yield warning(
            name,
            "off, and the manager listens on the network: calls and results can be read and changed on their way",
            "leave out ssl=False",
        )
    else:
        yield ok(name, "on" if executor.ssl or not reached_here_alone else "off, since the manager is on loopback")


def _files(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    name, shared = "files", executor.manager_config.shared_fs
    kind = file_system_of(os.getcwd())
    if launcher.local:
        yield ok(name, "workers see this machine's")
    elif shared and kind in LOCAL:
        yield warning(
            name,
            f"shared_fs is True, but {os.getcwd()} is on {kind}, which other machines do not see",
            "set shared_fs=False: files then travel with calls; or start the program in a directory that all see",
        )
    elif not shared and kind in SHARED:
        yield warning(
            name,
            f"shared_fs is False, and {os.getcwd()} is on {kind}, which other machines may see",
            "if workers see it under the same name, shared_fs=True saves sending files",
        )
    else:
        yield ok(name, f"shared_fs is {shared}, and {os.getcwd()} is on {kind or 'a file system that is not known'}")
    if executor.working_dir is not None and (launcher.local or shared) and not os.path.isdir(executor.working_dir):
        yield ok("working_dir", f"{executor.working_dir} is not there yet; it is made at the start")


def _environments(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    config = executor.manager_config
    places = {
        "manager_config.env_pack": config.env_pack,
        "factory_config.python_env": executor.factory_config.python_env,
    }
    for field, place in places.items():
        if place is None:
            continue
        path = os.fspath(place)
        if os.path.isfile(path):
            named_environment(field, path)
            yield ok("Python", f"{path} has {PYTHON}")
        elif os.path.isdir(path):
            # It is packed at the start, which takes long.
            found = packing.pythons_of(path)
            if PYTHON not in found:
                yield error(
                    "Python",
                    f"{field}: {path} has {' and '.join(found) or 'none'}, and this is {PYTHON}",
                    f"give an environment with Python {PYTHON}",
                )
            else:
                yield ok("Python", f"{path} has {PYTHON}")
        elif os.sep in path:
            yield error("Python", f"{field} is {path!r}, which does not exist", "correct it")
    brings = config.env_pack or config.app_pack or executor.factory_config.python_env or config.init_command
    if not launcher.local and not brings:
        yield warning(
            "Python",
            f"workers elsewhere use this very program's path there, or else the first python3: it has to be {PYTHON}, "
            "with parsl",
            "see what one has: --worker-command with what starts it; or send one along (env_pack, app_pack)",
        )


def _batch_system(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    if executor.worker_launch_method == "factory":
        kind = executor.factory_config.batch_type
    else:
        kind = str(getattr(executor.provider, "label", "")).lower()
    command = _SUBMIT_COMMANDS.get(kind)
    if command is None:
        return
    found = shutil.which(command)
    if found is None:
        yield error(
            "batch system",
            f"{kind} is to start workers, and there is no {command} on PATH",
            "start the program on a machine that submits jobs, or load what has the command there",
        )
    else:
        yield ok("batch system", f"{kind}, by {found}")


def _time_limit(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    config = executor.factory_config
    options = config.batch_options or ""
    if executor.worker_launch_method != "factory" or config.batch_type not in ("slurm", "sge", "uge", "pbs", "torque"):
        return
    flags = ("--time", "-t ", "h_rt", "s_rt", "walltime")
    if not any(flag in options for flag in flags):
        yield warning(
            "walltime",
            f"factory_config.batch_options says none, so workers have the default of the {config.batch_type} queue",
            "give one: batch_options='--time=01:00:00' for Slurm, '-l h_rt=01:00:00' for Grid Engine, "
            "'-l walltime=01:00:00' for PBS",
        )


def _speed(executor: VineFastExecutor, launcher: Launcher) -> Iterator[Check]:
    if executor.function_exec_mode == "regular":
        yield warning(
            "speed",
            "function_exec_mode is 'regular': each call starts a Python of its own, some 0.3 s",
            "'serverless', the default, is a thousand times faster for short calls",
        )
    workers = executor.manager_config.wait_for_workers
    if workers and executor.worker_launch_method == "factory" and workers > executor.factory_config.max_workers:
        yield error(
            "workers",
            f"wait_for_workers is {workers} and max_workers {executor.factory_config.max_workers}: no call ever runs",
            "ask for fewer, or start more",
        )


_LOOKS: tuple[Callable[[VineFastExecutor, Launcher], Iterator[Check]], ...]
_LOOKS = (_address, _port, _password, _tls, _files, _environments, _batch_system, _time_limit, _speed)
