"""The workers of a soak: started by hand, each with a directory of its own, replaced when they end, and found again."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
OWN_NAMESPACES = "VINEFAST_SOAK_NAMESPACES"
# Of Linux: sets the flags of a network interface.
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
CORES = 2
# The command `vinefast`, wherever it is installed.
_WORKER = "from vinefast.cli import main; main()"


@dataclass
class Place:
    """Where a worker runs: its executor, its directory, and its host, if that is not this one."""

    name: str
    group: str
    directory: Path
    run_dir: str
    host: int | None = None
    has_disk: bool = False
    process: subprocess.Popen[bytes] | None = None
    not_before: float = 0.0
    n_started: int = 0

    def worker(self) -> psutil.Process | None:
        """Give the process of vine_worker."""
        return next((child for child in self._below() if "vine_worker" in " ".join(_line(child)[:5])), None)

    def library(self) -> psutil.Process | None:
        """Give the supervisor."""
        found = [
            child
            for child in _children(self.worker())
            if any(part.endswith("vinefast_library.zip") for part in _line(child))
        ]
        return found[0] if found else None

    def slots(self) -> list[psutil.Process]:
        """Give the slots' children; the oldest child of the supervisor is its janitor."""
        return sorted(_children(self.library()), key=_began)[1:]

    def processes(self) -> list[psutil.Process]:
        """Give all processes of the worker."""
        return self._below(recursive=True)

    def _below(self, recursive: bool = False) -> list[psutil.Process]:
        if self.process is None or self.process.poll() is not None:
            return []
        try:
            return psutil.Process(self.process.pid).children(recursive=recursive)
        except psutil.Error:
            return []


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _began(process: psutil.Process) -> float:
    try:
        return process.create_time()
    except psutil.Error:
        return 0.0


def _children(process: psutil.Process | None) -> list[psutil.Process]:
    if process is None:
        return []
    try:
        return process.children()
    except psutil.Error:
        return []


@dataclass
class Fleet:
    """Keeps a worker running in each place, on a thread of its own."""

    places: list[Place]
    hosts: Any  # tests.integration.hosts.Cluster, or None
    rng: random.Random
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start all workers."""
        for place in self.places:
            self._start(place)
        self._thread = threading.Thread(target=self._keep, name="fleet")
        self._thread.start()

    def _keep(self) -> None:
        while not self._stop.wait(0.25):
            for place in self.places:
                if place.process is None or place.process.poll() is None:
                    continue
                now = time.monotonic()
                if not place.not_before:
                    place.not_before = now + self.rng.uniform(0, 4)
                elif now >= place.not_before:
                    self._start(place)

    def _start(self, place: Place) -> None:
        command = [sys.executable, "-c", _WORKER, "worker", place.run_dir, "--cores", str(CORES)]
        if place.host is not None:
            command = self.hosts.enter(place.host, command)
        place.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(place.directory)},
        )
        place.not_before = 0.0
        place.n_started += 1
        time.sleep(0.2)  # two that look for a port at the same moment may find the same one

    def stop(self) -> list[str]:
        """End all workers; give the names of those that had to be killed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            running = [place.process for place in self.places if place.process and place.process.poll() is None]
            if not running:
                break
            for process in running:
                process.terminate()  # again and again, for a worker sleeps for seconds here and there
            time.sleep(0.1)
        stubborn = []
        for place in self.places:
            if place.process is not None and place.process.poll() is None:
                stubborn.append(place.name)
                for process in place.processes():
                    with suppress(psutil.Error):
                        process.kill()
                place.process.kill()
                place.process.wait()
        return stubborn


def fill(directory: Path) -> Path:
    """Write to a disk until it is full; give the file to remove."""
    path = directory / "filler"
    with suppress(OSError), open(path, "wb", buffering=0) as stream:
        while True:
            stream.write(bytes(1 << 16))
    with suppress(OSError), open(path, "ab", buffering=0) as stream:
        while True:
            stream.write(b"x")
    return path


def mount(directory: Path, nbytes: int) -> None:
    """Put a small disk under a directory, in this program's own mount namespace."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={nbytes},mode=700", "vinefast-soak", str(directory)]
    subprocess.run(command, check=True, capture_output=True)


def unmount(directory: Path) -> None:
    """Take it away; lazily, for what has just been killed may still have files there."""
    subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True)


def in_own_namespaces(module: str, network: bool = False) -> bool:
    """Begin this program anew in a mount namespace that ends with it, where it may have one; tells whether it has.

    Parameters
    ----------
    module : str
        What it is to Python.
    network : bool
        Have a network of its own as well, which is this machine's loopback alone.
    """
    if OWN_NAMESPACES not in os.environ:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        own = ["unshare", "--mount", "--propagation", "private", *(["--net"] if network else [])]
        tried = shutil.which("unshare") and subprocess.run(
            [*own, "mount", "-t", "tmpfs", "vinefast-soak", "/mnt"], capture_output=True
        )
        os.environ[OWN_NAMESPACES] = str(int(bool(tried and not tried.returncode)))
        if os.environ[OWN_NAMESPACES] == "1":
            os.execvp("unshare", [*own, sys.executable, "-m", module, *sys.argv[1:]])
    has_own = os.environ[OWN_NAMESPACES] == "1"
    if has_own and network:
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
    return has_own
