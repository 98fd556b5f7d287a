"""Watching the processes that a test starts."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.helpers.waiting import wait_until

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


def is_alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid):
    """All living processes whose session or parent is `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            state, parent, session = fields[0], int(fields[1]), int(fields[3])
            if state != "Z" and pid in (parent, session):
                found.append(int(entry.name))
    return found


def left_of(mark, seconds=10.0):
    """Wait until no process has the mark of a test; after so long, describe those that still have."""
    wait_until(lambda: not processes_marked(mark), seconds)
    found = []
    for process in processes_marked(mark):
        try:
            found.append(f"{process.pid} {process.status()}, child of {process.ppid()}: {' '.join(process.cmdline())}")
        except psutil.Error:
            pass
    return found


WORKER_COMMAND = [sys.executable, "-c", "from vinefast.cli import main; main()", "worker"]
"""`vinefast worker`, to be followed by its arguments."""


def command_by_hand(executor, *options):
    """The command to start a worker of an executor, as a user's shell runs it, with further options of vine_worker."""
    return ["/bin/sh", "-c", f'exec {executor.worker_command} "$@"', "sh", *options]


def start_by_hand(command, directory, **variables):
    """Start a worker as a user would, its files in `directory`, with further environment variables."""
    worker = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(directory), **variables},
    )
    # TaskVine's worker (7.14.5) ends if another one takes the port meanwhile that it has found for its transfer server:
    # so the next one is not started before this one has that server, which is its child.
    wait_until(lambda: worker.poll() is not None or {*descendants(worker.pid)} - {worker.pid}, 1)
    return worker


def end_by_hand(*workers):
    """End workers that were started so, all at the same time; tells whether they have ended.

    By SIGTERM, but not again and again: TaskVine's worker (7.14.5) kills a library only 3 s after its start, until when
    it may not lead the process group that is killed. A signal ends that sleep, the kill finds nobody, and the worker
    waits for the library for ever. One is enough but where it comes just before a sleep or a connection.
    """
    for _ in range(6):
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        if wait_until(lambda: all(worker.poll() is not None for worker in workers), 10):
            return True
    return False


def worker_after(seconds):
    """Of a call: give the WORKER_ID of its worker, so late that others take part."""
    time.sleep(seconds)
    return os.environ["WORKER_ID"]


def workers_of(executor, n):
    """Which of n workers take calls: until a worker's library has started, the others do."""
    futures = [executor.submit(worker_after, {}, 0.1) for _ in range(2 * n)]
    return {future.result(60) for future in futures}
