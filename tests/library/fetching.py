"""A stand-in for a worker with forks of many kinds, and a watch. Prints which of them the watch has ended."""

from __future__ import annotations

import os
import signal
import socket
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


def fetch_suspended() -> None:
    """As a fork does whose source is there, and that somebody has suspended: it does not see its connection shut."""
    listener = socket.create_server(("127.0.0.1", 0))
    connection = socket.create_connection(listener.getsockname())
    with open("transfer/suspended", "wb"):
        os.kill(os.getpid(), signal.SIGSTOP)
        connection.recv(1)


def fetch_connected() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    connection = socket.create_connection(listener.getsockname())
    with open("transfer/connected", "wb"):
        connection.recv(1)
    os.unlink("transfer/connected")


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
    # Younger than the library, as those are that fetch for its calls.
    forks["connected"] = fork(fetch_connected)
    forks["suspended"] = fork(fetch_suspended)
    os.waitpid(library, 0)
    for name, pid in forks.items():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if status == signal.SIGKILL:
            print("ended:", name)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
