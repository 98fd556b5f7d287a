"""Where workers come from: one class per launch method.

Why local workers are not left to ``vine_factory``: it starts one as fast as we do (0.03 s against 0.02 s), but it takes
up to 5 s to end where a worker takes 0.02 s, and looks for dead workers and for its parent's death once in 35 s. It is
used where its work is needed: for batch systems, and where the number of local workers follows the load.
"""

from __future__ import annotations

import errno
import glob
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO

from parsl.executors.taskvine import TaskVineFactoryConfig
from parsl.providers import LocalProvider
from parsl.providers.base import ExecutionProvider

from vinefast._log_fields import fields
from vinefast._teardown import join
from vinefast.errors import EngineFailure, EngineStartError, signal_text
from vinefast.library.process import GRACE_S
from vinefast.library.protocol import VINEFAST_LIBRARY
from vinefast.workers import batch_jobs, by_hand
from vinefast.workers.contact import Contact
from vinefast.workers.descriptors import why_none_is_left, with_former_limit
from vinefast.workers.environment import SCRIPT, Environment, named_environment
from vinefast.workers.listening import listening_variables
from vinefast.workers.programs import find_program
from vinefast.workers.scratch import Scratch, sweep

logger: logging.Logger = logging.getLogger(__name__)

START_SCRIPT = os.path.join(os.path.dirname(__file__), "start-worker.sh")
"""Runs a worker, the rest of its arguments, in a directory that is the worker's alone."""

# What the script does, as far as one word can; whoever pastes it may have no script.
_PRIVATE_WORKSPACE = '--workspace "$(mktemp -d -t worker-XXXXXXXXXX)"'

# Nobody answers there, and at once.
_NO_CATALOG = "127.0.0.1:1"
_NEVER_S = 10**9
# A worker that was started by hand looks so long for a manager that it has lost: the network may come back, a program
# that was killed does not, and somebody else may get its port. TaskVine's own default is a quarter of an hour.
RECONNECT_S = 60
_POLL_S = 0.2
_EXCERPT_LINES = 4

_MEMORY_DIR = "/dev/shm"
_MEMORY_MIN_NBYTES = 2 << 30

# A process that ends sooner has not done any work, and one that does so again and again never will.
_SOON_S = 2.0
_MAX_EARLY_ENDS = 5
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0

_NUDGE_S = 0.05
_GRACE_S = 1.5
_LOCAL_FACTORY_GRACE_S = 0.5
_JANITOR_S = GRACE_S + 0.5
_LOOK_S = 0.02
_BATCH_GRACE_S = 10.0

# What passes when somebody else needs less.
_LACKS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)

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
        arguments = [*_password_arguments(contact), *self._arguments_by_hand(contact)]
        program = shlex.quote(_name_for_a_shell(self.config.worker_executable))
        self.worker_command = f"{program} {_PRIVATE_WORKSPACE} {shlex.join(arguments)}"

    def _arguments_by_hand(self, contact: Contact) -> list[str]:
        # Managers of the same name may follow each other; nothing follows at an address.
        reconnection = [f"--connect-timeout={RECONNECT_S}"] if contact.project_name is None else []
        return [*reconnection, *_worker_arguments(self.config, contact, elsewhere=True)]

    def retire(self) -> None:
        """Replace no worker that leaves from now on."""

    def stop(self) -> None:
        """End what was started, within seconds. Idempotent."""

    def diagnosis(self) -> str:
        """Say where to look if no worker comes."""
        raise NotImplementedError


class ManualLauncher(Launcher):
    """Workers that somebody else starts: it leaves a file for ``vinefast worker``, and starts nothing."""

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self._announced: str | None = None

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Compose the command, and leave the file."""
        super().start(contact, on_failure)
        arguments = self._arguments_by_hand(contact)
        self._announced = by_hand.announce(self.directory, self.config.worker_executable, arguments, contact)

    def stop(self) -> None:
        """Remove the file."""
        announced, self._announced = self._announced, None
        if announced is not None:
            with suppress(OSError):
                os.unlink(announced)

    def diagnosis(self) -> str:
        """Say how to start one."""
        return (
            f"Workers are to be started by hand, with: vinefast worker {shlex.quote(self.directory)}\n"
            f"or, where there is no vinefast, with: {self.worker_command}"
        )


class ProviderLauncher(Launcher):
    """Workers as blocks of a Parsl provider; Parsl itself scales them out and in."""

    def __init__(self, config: TaskVineFactoryConfig, directory: str, provider: ExecutionProvider) -> None:
        super().__init__(config, directory)
        self.provider = provider
        self.local: bool = isinstance(provider, LocalProvider)
        self._worker = find_program(config.worker_executable) if self.local else config.worker_executable

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Compose the command for blocks."""
        # Where they see the password's file, too; they may have no vinefast.
        script = shutil.copy(START_SCRIPT, self.directory)
        arguments = [
            *_leaving_arguments(self.config),
            *_password_arguments(contact),
            *_worker_arguments(self.config, contact, elsewhere=not self.local),
        ]
        # Without a dollar sign of its own: some of Parsl's launchers have a shell read it twice.
        variables = listening_variables(contact.listen_address) if self.local else {}
        assignments = "".join(f"{name}={shlex.quote(value)} " for name, value in variables.items())
        worker = _word_for_a_shell(self._worker)
        self.worker_command: str = f"{assignments}sh {shlex.quote(script)} {worker} {shlex.join(arguments)}"

    def diagnosis(self) -> str:
        """Point to the files that the provider makes, and show what a block had to say."""
        where = getattr(self.provider, "script_dir", None)
        said = [path for path in glob.glob(f"{glob.escape(where)}/*stderr*") if os.path.getsize(path)] if where else []
        if said:
            return log_excerpt(max(said, key=os.path.getmtime))
        output = f"The output of the provider's blocks is in {where or 'its script_dir'}"
        return output if self.local else f"{batch_jobs.describe(self.provider)} {output}"


class _CrewLauncher(Launcher):
    """Processes of ours that a thread keeps running."""

    program = "vine_worker"
    count = 1
    grace_s = _GRACE_S

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self._label = os.path.basename(directory)  # the executor's, by which its directory is named
        self._retired = threading.Event()
        self._thread: threading.Thread | None = None
        self._processes: list[subprocess.Popen[bytes] | None] = []
        self._place: str | None = None
        self._scratch: Scratch | None = None
        self._variables: dict[str, str] = {}

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Start the processes."""
        super().start(contact, on_failure)
        if self.local:
            self._variables = listening_variables(contact.listen_address)
        self._started_s = [0.0] * self.count
        self._early_ends = [0] * self.count
        self._log_starts = [0] * self.count
        self._processes = [None] * self.count
        for index in range(self.count):
            self._begin(index)
        self._thread = threading.Thread(target=self._watch, args=(on_failure,), name="vinefast-launch", daemon=True)
        self._thread.start()

    def retire(self) -> None:
        """Replace no worker that leaves from now on."""
        self._retired.set()

    def stop(self) -> None:
        """End the processes and remove their files."""
        self.retire()
        if self._thread is not None:
            join(self._thread)
        processes = [process for process in self._processes if process is not None]
        deadline_s = time.monotonic() + self.grace_s
        for process in processes:
            while process.poll() is None and time.monotonic() < deadline_s:
                # Again and again: a worker sleeps for seconds here and there, and each signal ends one such sleep.
                for other in processes:
                    self._end(other)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_NUDGE_S)
            if process.poll() is None:
                logger.info(
                    "Killing %s (pid %d), which did not end by itself",
                    self.program,
                    process.pid,
                    extra=fields(self._label, pid=process.pid),
                )
            try:
                _bury(process)
            except OSError as error:  # /proc cannot be read
                logger.warning(
                    "Not all that %s (pid %d) has started is ended: %s",
                    self.program,
                    process.pid,
                    error,
                    extra=fields(self._label, pid=process.pid),
                )
                process.kill()
        self._processes = []
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def diagnosis(self) -> str:
        """Show the first process's log."""
        return log_excerpt(self._log_path(0))

    def _launch(self, index: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        raise NotImplementedError

    def _log_path(self, index: int) -> str:
        raise NotImplementedError

    def _begin(self, index: int) -> None:
        with suppress(FileNotFoundError):
            self._log_starts[index] = os.path.getsize(self._log_path(index))
        self._processes[index] = self._launch(index)
        self._started_s[index] = time.monotonic()

    def _watch(self, on_failure: OnFailure) -> None:
        sweep(self._place)
        lack: OSError | None = None
        while not self._retired.wait(_POLL_S):
            former, lack = lack, None
            for index, process in enumerate(self._processes):
                try:
                    if process is None:
                        pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._early_ends[index], 32), _LONGEST_PAUSE_S)
                        if time.monotonic() >= self._started_s[index] + pause_s:
                            self._begin(index)
                    elif process.poll() is not None:
                        self._lost(index, process)
                except Exception as error:
                    if not isinstance(error, OSError) or error.errno not in _LACKS:
                        on_failure(error)
                        return
                    lack = error
            if lack is not None and former is None:
                logger.warning(
                    "No %s can be started at present: %s", self.program, _why(lack), extra=fields(self._label)
                )

    def _lost(self, index: int, process: subprocess.Popen[bytes]) -> None:
        _bury(process)
        self._processes[index] = None
        lived_s = time.monotonic() - self._started_s[index]
        # Killed is not failed: a call may do that to its worker, which says nothing about the next.
        early = lived_s < _SOON_S and process.returncode != -signal.SIGKILL
        self._early_ends[index] = self._early_ends[index] + 1 if early else 0
        log_path = self._log_path(index)
        how = f"{self.program} (pid {process.pid}) {_end_of(process.returncode)} after {lived_s:.1f} s"
        # One that was killed may have been in somebody's way; one that gave up will do so again.
        if self._early_ends[index] >= _MAX_EARLY_ENDS and process.returncode > 0:
            excerpt = log_excerpt(log_path, self._log_starts[index])
            raise EngineFailure(f"No worker can be started: {how}, like those before it. {excerpt}")
        logger.warning("%s; starting another. Its log is %s", how, log_path, extra=fields(self._label, pid=process.pid))


def _end_of(returncode: int) -> str:
    return f"ended with status {returncode}" if returncode >= 0 else f"was killed by {signal_text(-returncode)}"


def local_scratch_dir(config: TaskVineFactoryConfig) -> str | None:
    """Choose where workers on this machine keep their files; None: where temporary files are.

    For every bundle a worker makes and removes a directory and two files, which takes half a millisecond on a disk and
    a tenth of that in memory. Calls work elsewhere, so what lies there is small.
    """
    if config.scratch_dir is not None or "TMPDIR" in os.environ:
        return config.scratch_dir
    try:
        memory = os.statvfs(_MEMORY_DIR)
    except OSError:
        return None
    roomy = memory.f_bavail * memory.f_frsize >= _MEMORY_MIN_NBYTES
    usable = not memory.f_flag & os.ST_NOEXEC and os.access(_MEMORY_DIR, os.W_OK | os.X_OK)
    return _MEMORY_DIR if roomy and usable else None


class LocalLauncher(_CrewLauncher):
    """A fixed number of workers on this machine."""

    local = True
    fixed = True
    ends_workers = True

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self.count: int = config.min_workers
        self._worker = find_program(config.worker_executable)
        self._workspaces: dict[int, str] = {}

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Start the workers."""
        self._place = local_scratch_dir(self.config)
        self._scratch = Scratch(self._place)
        self._arguments = [
            *_leaving_arguments(self.config),
            *_options({"--password": _copy_password(contact, self._scratch), "--cores": _fewer_cores()}),
            *_worker_arguments(self.config, contact),
        ]
        super().start(contact, on_failure)

    def _launch(self, index: int) -> subprocess.Popen[bytes]:
        assert self._scratch is not None
        self._remove_workspace(index)
        workspace = tempfile.mkdtemp(prefix="worker-", dir=self._scratch.path)
        self._workspaces[index] = workspace
        command = [self._worker, "--workspace", workspace, *self._arguments]
        return _spawn(command, self._log_path(index), self._variables, required=self._thread is None)

    def _remove_workspace(self, index: int) -> None:
        workspace = self._workspaces.pop(index, None)
        if workspace is not None:
            shutil.rmtree(workspace, ignore_errors=True)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)

    def _log_path(self, index: int) -> str:
        return os.path.join(self.directory, f"worker-{index}.log")


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


class FactoryLauncher(_CrewLauncher):
    """Workers by TaskVine's ``vine_factory``."""

    program = "vine_factory"

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self.local: bool = config.batch_type == "local"
        self.ends_workers: bool = self.local
        self.idle_timeout_s: int = config.worker_timeout if config.min_workers < config.max_workers else 0
        # It takes up to 5 s to end its workers. Here they leave by themselves, or with its session.
        self.grace_s: float = _LOCAL_FACTORY_GRACE_S if self.local else _BATCH_GRACE_S
        self._factory = find_program(self.program)
        self._worker = find_program(config.worker_executable)
        self._environment: Environment | None = None
        if config.python_env is not None:
            self._environment = named_environment("factory_config.python_env", config.python_env, self._label)
        self.brings_python: bool = self._environment is not None

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Start the factory."""
        self._place = local_scratch_dir(self.config) if self.local else self.config.scratch_dir or self.directory
        self._scratch = Scratch(self._place, janitor=False)
        _copy_password(contact, self._scratch)
        self._command = [self._factory, *self._arguments(contact)]
        super().start(contact, on_failure)

    def _launch(self, index: int) -> subprocess.Popen[bytes]:
        assert self._scratch is not None
        command = ["/bin/sh", "-c", _LEASH, "sh", self._scratch.path, *self._command]
        log_path, required = self._log_path(index), self._thread is None
        return _spawn(command, log_path, self._variables, self._scratch.path, subprocess.PIPE, required)

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
        options = _resource_options(config) | {
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
            "--cores": config.cores or (_fewer_cores() if self.local else None),
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
            *_options(options),
            *_ssl_arguments(contact),
            *wrapper,
            "--single-shot",
            *_target(contact, elsewhere=not self.local),
        ]


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


def _name_for_a_shell(program: str) -> str:
    """Give the path of a program that is here, but not on PATH; any other name as it is, for it may be elsewhere."""
    if shutil.which(program) is None:
        with suppress(EngineStartError):
            return find_program(program)
    return program


def _word_for_a_shell(program: str) -> str:
    """Give what a shell elsewhere is to run: the program as that finds it; if it does not, the one that is here."""
    here = _name_for_a_shell(program)
    name = shlex.quote(program)
    return name if here == program else f"$(command -v {name} || echo {shlex.quote(here)})"


def log_excerpt(path: str, start: int = 0) -> str:
    """Name a log and quote the first and the last lines from `start` on."""
    try:
        with open(path, errors="replace") as log:
            log.seek(start)
            lines = log.read().splitlines()
    except OSError as error:
        return f"Its log {path} cannot be read: {error.strerror}"
    if len(lines) > 2 * _EXCERPT_LINES:
        lines[_EXCERPT_LINES:-_EXCERPT_LINES] = ["..."]
    return "\n".join([f"From {path}:", *(lines or ["(empty)"])])


def _worker_arguments(config: TaskVineFactoryConfig, contact: Contact, elsewhere: bool = False) -> list[str]:
    options = [*_options(_resource_options(config)), *_ssl_arguments(contact)]
    # The last of equal options wins: the user's.
    return [*options, *shlex.split(config.worker_options or ""), *_target(contact, elsewhere)]


def _password_arguments(contact: Contact) -> list[str]:
    return _options({"--password": contact.password_file})


def _copy_password(contact: Contact, scratch: Scratch) -> str | None:
    """Keep the password where workers find it though the run directory is removed; gives the copy, if there is one."""
    if contact.password_file is None:
        return None
    return shutil.copy(contact.password_file, os.path.join(scratch.path, "password"))


def _ssl_arguments(contact: Contact) -> list[str]:
    # Also where a catalog says so, which anybody may have written into.
    return ["--ssl"] if contact.ssl else []


def _options(values: dict[str, object]) -> list[str]:
    return [text for name, value in values.items() if value is not None for text in (name, str(value))]


def _leaving_arguments(config: TaskVineFactoryConfig) -> list[str]:
    """Give the options of workers that are ours: they leave with the manager or their parent, and never before."""
    return [
        "--single-shot",
        "--parent-death",
        f"--connect-timeout={config.worker_timeout}",
        f"--idle-timeout={_NEVER_S}",
    ]


def _resource_options(config: TaskVineFactoryConfig) -> dict[str, object]:
    return {f"--{name}": getattr(config, name) or None for name in ("cores", "gpus", "memory", "disk")}


def _fewer_cores() -> int | None:
    """Give the cores that this process may run on, if the machine has others, which a worker would take as well.

    So it is in a batch system's job. start-worker.sh does the same where workers run elsewhere.
    """
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or 1) else None


def _target(contact: Contact, elsewhere: bool) -> list[str]:
    if contact.project_name is not None and elsewhere:
        return [*(["--catalog", contact.catalog] if contact.catalog else []), "-M", contact.project_name]
    return [contact.address, str(contact.port)]


def _spawn(
    command: list[str],
    log_path: str,
    variables: Mapping[str, str],
    cwd: str | None = None,
    stdin: int = subprocess.DEVNULL,
    required: bool = True,
) -> subprocess.Popen[bytes]:
    with _open_log(log_path, required) as log:
        try:
            # A session of its own: Ctrl-C in the terminal is for the user's program alone.
            return subprocess.Popen(
                with_former_limit(command),
                cwd=cwd,
                env={**os.environ, **variables},
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno in _LACKS:
                raise
            raise EngineStartError(f"Cannot run {command[0]}: {error.strerror}") from error


def _open_log(path: str, required: bool) -> IO[bytes]:
    """Open a log; unless it is required, calls are to go on without it where the run directory was removed, say."""
    try:
        return open(path, "ab")
    except OSError as error:
        if required or error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        logger.warning("What goes on in a new process is not kept: %s", error)
        return open(os.devnull, "ab")


def _why(lack: OSError) -> str:
    return why_none_is_left(lack.errno) if lack.errno in (errno.EMFILE, errno.ENFILE) else str(lack)


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and of all that it started, and free what we hold of it."""
    # What calls have started is ended by the library's janitor, which gives it time to tidy up.
    deadline_s = time.monotonic() + _JANITOR_S
    while members := _session_members(process.pid):
        overdue_s = time.monotonic() - deadline_s
        for pid in members:
            if overdue_s > 0 or not _is_of_a_library(pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        if overdue_s > 0:
            break
        time.sleep(_LOOK_S)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _is_of_a_library(pid: int) -> bool:
    """Tell whether a library of our workers, and not one that we may be in ourselves, has started a process."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return False
    ours = f"{VINEFAST_LIBRARY}={os.environ.get(VINEFAST_LIBRARY)}".encode()
    return any(variable.startswith(VINEFAST_LIBRARY.encode() + b"=") and variable != ours for variable in variables)


def _session_members(session: int) -> list[int]:
    # A worker's tasks have process groups of their own; the session is what they have in common.
    members = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] != b"Z":
                members.append(int(name))
    return members
