"""Checks of this machine that start nothing. Each may hang, on a disk or a name server, and is waited for so long."""

from __future__ import annotations

import os
import platform
import queue
import resource
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from vinefast._build_info import TASKVINE_VERSION
from vinefast.doctor import limits
from vinefast.doctor.check import Check, error, ok, refusal, warning
from vinefast.doctor.openssl import configuration_files, what_keeps_workers_out
from vinefast.doctor.versions import program
from vinefast.errors import EngineStartError
from vinefast.workers import by_hand
from vinefast.workers.contact import manager_address
from vinefast.workers.descriptors import why_none_is_left
from vinefast.workers.programs import BUILD_PREFIX, PREFIX_VARIABLE, engine_inside, speak_alike

_PATIENCE_S = 10.0
_KNOCK_S = 3.0

_ROOM_NBYTES = 1 << 30
_LEAST_ROOM_NBYTES = 64 << 20
_LEAST_INODES = 1000
# A supervisor, a child with pipes and logs, and what calls open.
_DESCRIPTORS_PER_SLOT = 16
_DESCRIPTORS = 256
_PROCESSES_PER_SLOT = 4
_CLOCK_S = 5.0
# The oldest Parsl that fits is newer.
_EARLIEST_S = time.mktime((2026, 1, 1, 0, 0, 0, 0, 0, -1))


def check_machine(run_dir: str | None) -> Iterator[Check]:
    """Look at all, at the same time; give each check in its turn.

    Parameters
    ----------
    run_dir : str or None
        Of a run, or where there may be one; None: where Parsl would make it.
    """
    yield from in_time(
        [
            ("Python", partial(_python, "Python")),
            ("vine_worker", partial(_worker_program, "vine_worker")),
            ("host name", partial(_host_name, "host name")),
            ("address", partial(_address, "address")),
            ("temporary directory", partial(_temporary_directory, "temporary directory")),
            (limits.MEMORY_DIRECTORY, partial(_memory_directory, limits.MEMORY_DIRECTORY)),
            ("run directory", partial(_run_directory, "run directory", run_dir or "runinfo")),
            *([("run", partial(_run, "run", run_dir))] if run_dir is not None and _is_of_a_run(run_dir) else []),
            ("open files", partial(_open_files, "open files")),
            ("processes", partial(_processes, "processes")),
            ("cores", partial(_cores, "cores")),
            ("memory", partial(_memory, "memory")),
            ("OpenSSL", partial(_openssl, "OpenSSL")),
            ("clock", partial(_clock, "clock")),
            ("/proc", partial(_proc, "/proc")),
            ("ptrace", partial(_ptrace, "ptrace")),
        ],
        _PATIENCE_S,
    )


def in_time(checks: Sequence[tuple[str, Callable[[], Check]]], patience_s: float) -> Iterator[Check]:
    """Make all checks at the same time; give them in order, each within `patience_s` from now."""
    deadline_s = time.monotonic() + patience_s
    answers: list[queue.Queue[Check]] = [queue.Queue() for _ in checks]

    def make(index: int) -> None:
        name, look = checks[index]
        try:
            answer = look()
        except Exception as problem:
            answer = error(
                name, f"{type(problem).__name__}: {problem}", "tell your administrator, or vinefast's authors"
            )
        answers[index].put(answer)

    for index in range(len(checks)):
        threading.Thread(target=make, args=(index,), name="vinefast-check", daemon=True).start()
    for (name, _), answer in zip(checks, answers, strict=True):
        try:
            yield answer.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            yield error(
                name, f"no answer in {patience_s:g} s", "a disk or a name server may hang: ask your administrator"
            )


def megabytes(nbytes: float) -> str:
    """Write so many bytes for people."""
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.0f} MB"


def _python(name: str) -> Check:
    return ok(name, f"{platform.python_version()}; workers need the same minor version, with parsl")


def _worker_program(name: str) -> Check:
    found = program(name)
    if found["problem"] is not None:
        return refusal(name, found["problem"], "install TaskVine's programs anew")
    seen = f"{found['version']} in {found['path']}, found by {found['found_by']}"
    if not speak_alike(found["version"] or "", TASKVINE_VERSION):
        if found["found_by"] == PREFIX_VARIABLE:
            way_out = f"unset {PREFIX_VARIABLE}, or build vinefast anew with that release"
        else:
            way_out = "build vinefast anew with that release, or use its own vine_worker"
        return error(
            name,
            f"{seen}; vinefast is built with {TASKVINE_VERSION}, which has another protocol",
            f"{way_out}: the manager sends others away",
        )
    return ok(name, seen)


def _host_name(name: str) -> Check:
    host = socket.gethostname()
    try:
        numbers = sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except OSError as problem:
        return warning(
            name,
            f"{host} has no address: {problem}",
            "give the manager's address by its number (manager_config.address), or enter the name in /etc/hosts",
        )
    seen = f"{host} is {', '.join(numbers)}"
    if all(number.startswith("127.") or number == "::1" for number in numbers):
        return warning(
            name,
            f"{seen}, where no other machine reaches it",
            "for workers elsewhere, do not give this name as manager_config.address; vinefast itself takes a number",
        )
    return ok(name, seen)


def _address(name: str) -> Check:
    try:
        number = manager_address(None, local=False)
    except EngineStartError as problem:
        return warning(name, str(problem), "workers on this machine need none")
    if number.startswith("127."):
        return warning(
            name, f"{number} alone", "workers elsewhere cannot come: this machine needs a network, or give an address"
        )
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        try:
            socket.create_connection((number, port), _KNOCK_S).close()
        except OSError as problem:
            return error(
                name,
                f"{number} does not answer even here, at port {port}: {problem}",
                "open the manager's port in this machine's firewall, for example one chosen by manager_config.port",
            )
    # On PATH there as well, or in the same place of a shared file system, as a wheel's is.
    worker = "vine_worker" if shutil.which("vine_worker") else program("vine_worker")["path"] or "vine_worker"
    return ok(
        name,
        f"{number}, which answers here; whether a firewall is between it and another machine is seen from there "
        f"alone, for example by --worker-command 'ssh HOST {worker}'",
    )


def _directory(name: str, path: str, variable: str) -> Check:
    choose = f"choose another one{f' by {variable}' if variable else ''}"
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(4096))
            file.flush()
        disk = os.statvfs(path)
    except OSError as problem:
        return error(name, f"{path} cannot be written to: {problem.strerror}", choose)
    room = disk.f_bavail * disk.f_frsize
    seen = f"{path} has room for {megabytes(room)}"
    if room < _LEAST_ROOM_NBYTES:
        return error(name, seen, f"make room there, or {choose}")
    if room < _ROOM_NBYTES:
        return warning(name, seen, f"make room there, or {choose}")
    if disk.f_files and disk.f_favail < _LEAST_INODES:
        return error(name, f"{path} has room for {disk.f_favail} more files alone", f"remove some, or {choose}")
    return ok(name, seen)


def _temporary_directory(name: str) -> Check:
    chosen, taken = os.environ.get("TMPDIR"), tempfile.gettempdir()
    if chosen and os.path.abspath(chosen) != taken:
        return warning(
            name,
            f"TMPDIR is {chosen}, where no file can be made: {taken} is taken in its place",
            "make room there, make the directory, or choose another one",
        )
    return _directory(name, taken, "TMPDIR")


def _memory_directory(name: str) -> Check:
    if not os.path.isdir(name):
        return warning(name, "is not there", "mount a tmpfs there: workers of this machine are slower on a disk")
    found = _directory(name, name, "")
    if found.level == "ok":
        return found
    return warning(
        name,
        found.seen,
        "make room there (--shm-size= of a container): workers of this machine keep their files on a disk otherwise",
    )


def _is_of_a_run(path: str) -> bool:
    return os.path.isdir(path) and os.path.basename(os.path.abspath(path)) != "runinfo"


def _run_directory(name: str, path: str) -> Check:
    existing = os.path.abspath(path)
    while not os.path.isdir(existing):
        if os.path.lexists(existing):
            return error(name, f"{existing} is no directory", "choose another run_dir in parsl.Config")
        existing = os.path.dirname(existing)
    return _directory(name, existing, "run_dir of parsl.Config")


def _run(name: str, run_dir: str) -> Check:
    try:
        start = by_hand.find(run_dir)
    except EngineStartError as problem:
        return warning(name, str(problem), "nothing, unless workers are to be started by hand")
    if start.by_name:
        return ok(name, f"its workers find the manager at {start.address}, port {start.port}, by a catalog")
    try:
        socket.create_connection((start.address, start.port), _KNOCK_S).close()
    except ConnectionRefusedError:
        return error(
            name, f"nobody listens at {start.address}, port {start.port}", "the run is over: start the program again"
        )
    except OSError as problem:
        return error(
            name,
            f"the manager at {start.address}, port {start.port}, cannot be reached: {problem}",
            "open that port in firewalls between here and the manager, or give another manager_config.address",
        )
    return ok(name, f"its manager answers at {start.address}, port {start.port}")


def _open_files(name: str) -> Check:
    soft, hard = limits.limit_of(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS + _DESCRIPTORS_PER_SLOT * limits.physical_cores()
    seen = f"{soft or 'any number'}, and {hard or 'any number'} if a program asks for more"
    if soft is not None and soft < needed:
        # Workers have the soft limit; the manager raises its own.
        return warning(
            name,
            f"{seen}; a worker of this machine with all its slots may need {needed}",
            f"raise the soft limit ('ulimit -n'). Where the manager reaches it, {why_none_is_left(24)}",
        )
    return ok(name, seen)


def _processes(name: str) -> Check:
    allowed = [limits.limit_of(resource.RLIMIT_NPROC)[0], limits.cgroup_processes()]
    least = min((limit for limit in allowed if limit is not None), default=None)
    needed = _PROCESSES_PER_SLOT * limits.physical_cores() + 32
    if least is not None and least < needed:
        return warning(
            name,
            f"{least} may be there at a time; a worker with all its slots may need {needed}",
            "raise the limit ('ulimit -u', --pids-limit= of a container), or give workers fewer cores",
        )
    return ok(name, f"{least or 'any number'} may be there at a time")


def _cores(name: str) -> Check:
    there, usable, quota = limits.physical_cores(), limits.usable_cores(), limits.cgroup_cores()
    counted = min(there, usable)
    if quota is not None and quota < counted:
        return warning(
            name,
            f"a worker counts {counted}, but a control group allows {quota:g}",
            f"give workers what there is: TaskVineFactoryConfig(cores={max(1, int(quota))}), or --cores of vine_worker",
        )
    if usable < there:
        return ok(name, f"{usable} of {there}: 'vinefast worker' and executors keep to that, vine_worker does not")
    return ok(name, f"{there}, of which this process may use all")


def _memory(name: str) -> Check:
    there, limit = limits.physical_memory(), limits.cgroup_memory()
    if limit is not None and limit < there:
        return warning(
            name,
            f"a worker counts {megabytes(there)}, but a control group allows {megabytes(limit)}",
            f"give workers what there is: TaskVineFactoryConfig(memory={max(1, limit >> 20)}), or --memory of "
            "vine_worker: the kernel kills who takes more",
        )
    return ok(name, f"{megabytes(there)}, without a limit below that")


def _openssl(name: str) -> Check:
    if engine_inside() and program("vine_worker")["found_by"] == BUILD_PREFIX:
        return ok(name, "vinefast and its vine_worker have one of their own inside, which reads no configuration")
    bad, unread = {}, []
    files = configuration_files()
    for path in files:
        try:
            bad[path] = what_keeps_workers_out(path)
        except OSError as problem:
            unread.append(f"{path} ({problem.strerror})")
    found = "; ".join(f"{path} has {', '.join(lines)}" for path, lines in bad.items() if lines)
    if found:
        return error(
            name,
            f"{found}: with TLS, no worker joins, and none says why",
            "remove these lines, name a file without them by OPENSSL_CONF, or do without TLS (ssl=False)",
        )
    if unread:
        return warning(name, f"cannot be read: {', '.join(unread)}", "let OPENSSL_CONF name a file that can be read")
    return ok(name, f"nothing in {', '.join(files) or 'its defaults'} is against TLS 1.3")


def _clock(name: str) -> Check:
    now_s = time.time()
    if now_s < _EARLIEST_S:
        return error(name, time.ctime(now_s), "set the clock (NTP): certificates would not be valid yet")
    # The time of another machine, if that is where the directory is.
    with tempfile.TemporaryFile(dir=os.getcwd() if os.access(".", os.W_OK) else None) as file:
        apart_s = os.fstat(file.fileno()).st_mtime - time.time()
    if abs(apart_s) > _CLOCK_S:
        return warning(
            name,
            f"{time.ctime(now_s)}; the file server's is {apart_s:+.0f} s from it",
            "have both follow NTP: files may be taken for older or newer than they are",
        )
    return ok(name, time.ctime(now_s))


def _proc(name: str) -> Check:
    try:
        with open("/proc/self/stat"), open(f"/proc/{os.getpid()}/environ"):
            pass
        listed = str(os.getpid()) in os.listdir("/proc")
    except OSError as problem:
        return error(
            name, f"cannot be read: {problem}", "mount it: vinefast finds there what calls have started, to end it"
        )
    if not listed:
        return error(
            name,
            "does not list this process",
            "mount it for this PID namespace: vinefast finds there what calls have started, to end it",
        )
    options = _mount_options("/proc")
    hidden = next((option for option in options if option.startswith("hidepid=")), "hidepid=0")
    if hidden in ("hidepid=0", "hidepid=off"):
        return ok(name, "shows all processes")
    if hidden in ("hidepid=4", "hidepid=ptraceable"):
        return warning(
            name,
            f"is mounted with {hidden}, which hides processes of this user as well",
            "what calls have started may stay behind after them: mount it with hidepid=2 at the most",
        )
    return ok(name, f"is mounted with {hidden}: shows this user's processes, which is all that vinefast looks for")


def _mount_options(mount_point: str) -> list[str]:
    options: list[str] = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in map(os.fsdecode, file):
            mount, _, super_options = line.partition(" - ")
            fields = mount.split()
            if fields[4] == mount_point:  # the last one lies on the others
                options = [*fields[5].split(","), *super_options.split()[-1].split(",")]
    return options


def _ptrace(name: str) -> Check:
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            scope = int(file.read())
    except (OSError, ValueError):
        return ok(name, "is not restricted")
    if scope and os.geteuid():
        return warning(
            name,
            f"kernel.yama.ptrace_scope is {scope}",
            "nothing, in most cases: where one worker gives files to more than five others at the same time, some of "
            "them may wait for a second; with 0 none does",
        )
    return ok(name, f"kernel.yama.ptrace_scope is {scope}")
