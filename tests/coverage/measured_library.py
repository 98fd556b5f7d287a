"""A plugin of coverage.py: the slots of a library end before it does, and leave what they have counted.

Else its end would kill them.
"""

import os
import stat
import sys
import time

_PATIENCE_S = 3

_library_pid = os.getpid() if sys.argv[0].endswith("vinefast_library.zip") else None


_exit = os._exit


def _leave(exit_code):
    if os.getpid() == _library_pid:
        _let_slots_end()
    _exit(exit_code)


def _let_slots_end():
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))
        except OSError:
            pass
    until = time.monotonic() + _PATIENCE_S
    try:
        # The janitor ends after the library.
        while _slots() and time.monotonic() < until:
            time.sleep(0.01)
    except OSError:
        pass


def _slots():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        pids = map(int, file.read().split())
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return [pid for pid in pids if os.getsid(pid) == os.getsid(0) and os.waitid(os.P_PID, pid, look) is None]


def coverage_init(registry, options):
    if _library_pid and os._exit is _exit:
        os._exit = _leave
