"""A stand-in for a worker with forks of many kinds, and a watch. Prints which of them the watch has ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from vinefast.library.process import die_with_parent
from vinefast.library.transfers import TransferWatch

INHERITED = socket.socket()


def fork(act: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        try:
            act()
        finally:
            os._exit(0)
    return pid


def wait_silently() -> None:
    ours, theirs = socket.socketpair()
    ours.recv(1)


def read_on() -> None:
    ours, theirs = socket.socketpair()
    with open("/dev/zero", "rb", buffering=0) as file:
        while True:
            file.read(100)
            time.sleep(0.01)


def run_another_program() -> None:
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])


def watch() -> None:
    transfers = TransferWatch(os.getppid(), 1)
    for _ in range(12):
        time.sleep(0.1)
        transfers.look(time.monotonic())


def main() -> None:
    forks = {"older": fork(wait_silently)}
    time.sleep(0.05)  # start times are told in ticks of 10 ms
    library = fork(watch)
    time.sleep(0.05)
    forks["silent"] = fork(wait_silently)
    forks["reading"] = fork(read_on)
    forks["without a socket of its own"] = fork(signal.pause)
    forks["another program"] = fork(run_another_program)
    os.waitpid(library, 0)
    for name, pid in forks.items():
        if os.waitpid(pid, os.WNOHANG) == (pid, signal.SIGKILL):
            print("ended:", name)
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
