"""The regular mode: one call in one fresh process, ``python -m vinefast_library.once`` in the task's sandbox.

The frame is in the file ``frame``; the result frame goes to standard output. The worker gives a task one file for both
standard output and standard error, so user code's output goes to a log beside it. The call runs in a forked child with
the same memory as in a slot: if it dies, the result frame says how.
"""

from __future__ import annotations

import os
import sys
import time
import traceback

from .entry import clean_imports, find_users_modules
from .process import lead_own_group

LOG_PATH = "vinefast.log"
RESULT_PATH = "vinefast.result"


def _main() -> int:
    lead_own_group()
    result_fd = os.dup(1)
    log_fd = os.open(LOG_PATH, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    clean_imports()

    from . import memory as layout
    from .failure import pack_death
    from .frame import Origin
    from .functions import FunctionCache
    from .memory import SlotMemory, is_no_room
    from .process import die_with_parent, flush_by_line, log_tail
    from .protocol import BUNDLE_HEADER, COMMAND_IN_FILE, EXIT_NO_ROOM, FRAME_FILE, STATUS_DIED
    from .run import Resume, Runner
    from .share import obey_user

    obey_user()
    find_users_modules()
    with open(FRAME_FILE, "rb") as file:
        limited = BUNDLE_HEADER.unpack(file.read(BUNDLE_HEADER.size))[-1] > 0
    if limited:
        from .limited_once import Limited

        process = Limited()
        memory = process.memory
    else:
        memory = SlotMemory()
    message = os.fsencode(f"{COMMAND_IN_FILE.decode()} . ./{RESULT_PATH}")
    received_ns = time.monotonic_ns()

    def run(resume: Resume | None = None) -> int:
        try:
            interruption = process.listen() if limited else None
            origin = Origin(0, os.getpid(), 1)
            runner = Runner(memory, FunctionCache(None), os.getcwdb(), origin, interruption=interruption)
            runner.run_bundle_despite_strays(message, received_ns, resume)
            return 0
        except Exception as error:
            if is_no_room(error):
                return EXIT_NO_ROOM
            traceback.print_exc()
            return 1

    flush_by_line()
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
    status = process.wait(pid) if limited else os.waitpid(pid, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if code == EXIT_NO_ROOM and memory.counters[layout.STAGE] == layout.OUTSIDE:
        return code
    if not memory.counters[layout.FINISHED]:
        tail = log_tail(LOG_PATH, 0)
        death = pack_death(code if code >= 0 else None, -code if code < 0 else None, tail)
        cause = process.cause if limited else None
        code = run(Resume(cause or (STATUS_DIED, death), memory.published()))
        if code:
            return code
    try:
        return _copy(result_fd)
    except OSError as error:
        if is_no_room(error):
            return EXIT_NO_ROOM
        raise


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
    exit_code = _main()
    sys.stdout.flush()
    os._exit(exit_code)
