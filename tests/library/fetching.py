"""A stand-in for a worker with forks of many kinds, and a watch. Prints which of them the watch has ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from vinefast.library.process import die_with_parent
from vinefast.library.transfers import TransferWatch


def fork(act: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        try:
            act()
        finally:
            os._exit(0)
    return pid


def fetch(name: str, comes: bool) -> None:
    with open(f"transfer/{name}", "wb", buffering=0) as file:
        while comes:
            file.write(b"more")
            time.sleep(0.01)
        signal.pause()


def watch() -> None:
    transfers = TransferWatch(os.getppid(), os.getcwd(), 1)
    for _ in range(12):
        time.sleep(0.1)
        transfers.look(time.monotonic())


def main() -> None:
    os.mkdir("transfer")
    os.mkdir("trash")
    forks = {
        "transfer server": fork(signal.pause),
        "silent": fork(lambda: fetch("silent", False)),
        "reading": fork(lambda: fetch("reading", True)),
    }
    library = fork(watch)
    os.waitpid(library, 0)
    for name, pid in forks.items():
        if os.waitpid(pid, os.WNOHANG) == (pid, signal.SIGKILL):
            print("ended:", name)
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
