"""Watching the processes that a test starts."""

import os
import subprocess
import time

import psutil

MARK = "VINEFAST_TEST_MARK"


def processes_marked(mark):
    """All processes that inherited the mark of a test, this one excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(MARK) == mark
            ):
                found.append(process)
        except psutil.Error:
            pass
    return found


def wait_until(condition, seconds=10.0):
    """Wait until `condition()` is true; tells whether it became so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def start_by_hand(command, directory):
    """Start a worker as a user would, its files in `directory`."""
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(directory)},
    )


def wait_for_file(path):
    """Of a call: wait until there is a file; gives up after 20 s."""
    for _ in range(1000):
        if os.path.exists(path):
            return
        time.sleep(0.02)
