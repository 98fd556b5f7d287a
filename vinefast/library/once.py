"""The regular mode: one call in one fresh process, which runs this in the task's sandbox.

The frame is in the file ``frame``; the result frame goes to standard output. The worker gives a task one file for both
standard output and standard error, so user code's output goes to a log beside it. The call runs in a forked child with
the same memory as in a slot: if it dies, the result frame says how.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from .entry import clean_imports, find_users_modules
from .process import lead_own_group, worker_of_task

if TYPE_CHECKING:
    from .limited_once import Limited

LOG_PATH = "vinefast.log"
RESULT_PATH = "vinefast.result"


def _main() -> int:
    started_by, worker_pid = os.getppid(), worker_of_task()
    lead_own_group()
    result_fd = os.dup(1)
    log_fd = os.open(LOG_PATH, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    clean_imports()

    from . import memory as layout
    from .failure import pack_death
    from .frame import Origin
    from .functions import FunctionCache
    from .log_file import LogFile
    from .memory import SlotMemory, is_no_room
    from .memory_limit import limit_of_environment
    from .output import Output
    from .process import adopt_orphans, die_with_parent
    from .protocol import BUNDLE_HEADER, COMMAND_IN_FILE, EXIT_NO_ROOM, FRAME_FILE, STATUS_DIED, STATUS_TIMED_OUT
    from .run import Resume, Runner
    from .share import obey_user

    obey_user()
    find_users_modules()
    with open(FRAME_FILE, "rb") as file:
        *_, limit_ms, _ = BUNDLE_HEADER.unpack(file.read(BUNDLE_HEADER.size))
    process = None
    if limit_ms:
        from .limited_once import Limited

        process = Limited()
    memory = SlotMemory() if process is None else process.memory
    message = os.fsencode(f"{COMMAND_IN_FILE.decode()} . ./{RESULT_PATH}")
    received_ns = time.monotonic_ns()
    log = LogFile(LOG_PATH)
    log.kept_name = f"{os.uname().nodename}-calls.log"

    def run(resume: Resume | None = None) -> int:
        try:
            interruption = None if process is None else process.listen()
            origin = Origin(0, os.getpid(), 1)
            output = Output(log, memory)
            if resume is None:
                output.install()
                output.start_bundle(False)
            functions, home = FunctionCache(None), os.getcwdb()
            runner = Runner(memory, functions, home, origin, interruption=interruption, output=output)
            runner.run_bundle_despite_strays(message, received_ns, resume)
            return 0
        except Exception as error:
            if is_no_room(error):
                return EXIT_NO_ROOM
            traceback.print_exc()
            return 1

    limit = limit_of_environment()
    if limit or process is not None:
        adopt_orphans()  # before the call can have left any
    parent_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        exit_code = 1
        try:
            os.close(result_fd)
            die_with_parent()
            if os.getppid() == parent_pid:
                exit_code = run()
            sys.stdout.flush()
        finally:
            os._exit(exit_code)
    leave_if_left = _leave_with(worker_pid, started_by)
    is_at_call = lambda: memory.counters[layout.STAGE] != layout.OUTSIDE  # noqa: E731
    code, cause = _wait(pid, is_at_call, process, limit, leave_if_left)
    if code == EXIT_NO_ROOM and memory.counters[layout.STAGE] == layout.OUTSIDE:
        return code
    if not memory.counters[layout.FINISHED]:
        memory.counters[layout.DEATH_AT] = memory.position(max(0, log.nbytes()))
        tail = log.tail(max(0, memory.offset(memory.counters[layout.LOG_START])))
        death = (STATUS_DIED, pack_death(code if code >= 0 else None, -code if code < 0 else None, tail, cause))
        if process is not None and process.timed_out is not None:
            death = (STATUS_TIMED_OUT, process.timed_out)
        code = run(Resume(death, memory.published()))
        if code:
            return code
    try:
        return _copy(result_fd)
    except OSError as error:
        if is_no_room(error):
            return EXIT_NO_ROOM
        raise


def _leave_with(worker_pid: int, started_by: int) -> Callable[[], None] | None:
    """End, with the call and what the worker leaves, if the worker is killed, or has been: nobody else would.

    Where TaskVine's resource_monitor is between, nobody tells: gives what is to be called now and then.
    """
    from .process import die_with_parent
    from .worker_forks import WorkerForks

    forks = WorkerForks(worker_pid)

    def leave_if_left() -> None:
        if forks.end_without_worker():
            os.killpg(0, signal.SIGKILL)

    def leave(number: int, frame: object) -> None:
        leave_if_left()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, leave)
    die_with_parent(signal.SIGTERM)
    if os.getppid() != started_by or not forks.worker_was_there:
        leave(signal.SIGTERM, None)
    return leave_if_left if worker_pid != started_by else None


def _wait(
    pid: int,
    is_at_call: Callable[[], bool],
    process: Limited | None,
    limit: int,
    leave_if_left: Callable[[], None] | None,
) -> tuple[int, tuple[int, int] | None]:
    """Wait for the call's process, and end it if it takes too much memory or time; gives exit code, and why it died of
    memory, if it did.
    """
    from .memory_limit import Gauge
    from .memory_usage import Tree
    from .out_of_memory import Cause, OomKills
    from .process import has_ended, kill_processes, without_trackers

    cause, gauge, oom_kills = None, None, OomKills()
    if limit:
        gauge = Gauge(Tree(pid), limit)
    if process is not None:
        process.begin(pid)
    while (gauge is not None or process is not None or leave_if_left is not None) and not has_ended(pid):
        pause = 1.0
        if leave_if_left is not None:
            leave_if_left()
        if gauge is not None:
            exceeds, pause = gauge.look()
            if exceeds and is_at_call() and gauge.exceeds():
                cause = Cause(limit, gauge.peak)
                kill_processes(without_trackers(gauge.tree.processes))
                break
        if process is not None:
            pause = min(pause, process.look())
        _wait_for(pid, pause)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != -signal.SIGKILL:
        cause = None
    elif cause is None and oom_kills.have_risen():
        cause = Cause(0, usage.ru_maxrss * 1024)
    return code, cause


def _wait_for(pid: int, seconds: float) -> None:
    """Wait until a process has ended, or for so long."""
    try:
        with open(os.pidfd_open(pid), "rb") as process:
            select.select([process], [], [], seconds)
    except (OSError, AttributeError):  # an old kernel, or a Python for old ones; or no descriptor is left
        time.sleep(min(seconds, 0.02))


def _copy(result_fd: int) -> int:
    with open(RESULT_PATH, "rb") as file, open(result_fd, "wb") as out:
        try:
            # The interpreter may have warned of something before we took the file for the frame.
            os.ftruncate(result_fd, 0)
            os.lseek(result_fd, 0, os.SEEK_SET)
        except OSError:
            pass  # a pipe
        while chunk := file.read(1 << 20):
            out.write(chunk)
    return 0


if __name__ == "__main__":
    _exit_code = _main()
    sys.stdout.flush()
    os._exit(_exit_code)
