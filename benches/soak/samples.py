"""What a soak takes: memory, descriptors, threads and files, now and then, as lines of JSON."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from benches.soak.books import Books
from benches.soak.fleet import Fleet

MEMORY_DIR = Path("/dev/shm")


class _Mallinfo(ctypes.Structure):
    """As glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks")
        + ("keepcost",)
    ]


def heap_in_use() -> int:
    """Count the bytes that this process has from ``malloc()`` and has not freed; 0: the C library does not tell.

    If resident memory grows and this does not, the heap is in pieces; if both do, something is not freed.
    """
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc 2.33
    if mallinfo is None:
        return 0
    mallinfo.restype = _Mallinfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd)  # of all arenas, and what is mapped by itself


def files_below(directories: Iterable[Path]) -> tuple[int, int]:
    """Count files, and their bytes; a file that goes meanwhile counts as none."""
    n = nbytes = 0
    for top in directories:
        for directory, _, names in os.walk(top):
            for name in names:
                with suppress(OSError):
                    status = os.lstat(os.path.join(directory, name))
                    n, nbytes = n + 1, nbytes + status.st_blocks * 512
    return n, nbytes


class Samples:
    """Takes samples, and keeps them for the picture."""

    def __init__(
        self, path: Path, fleet: Fleet, books: Books, run_dir: Path, executors: dict[str, Any], owns_memory_dir: bool
    ) -> None:
        self._file: TextIO = open(path, "w")
        self._fleet = fleet
        self._books = books
        self._run_dir = run_dir
        self._executors = executors
        self._memory_dirs = [MEMORY_DIR] if owns_memory_dir else []
        self._this = psutil.Process()
        self.rows: list[dict[str, float]] = []

    def take(self, seconds: float) -> dict[str, float]:
        """Take one."""
        workers = [process for place in self._fleet.places for process in place.processes()]
        workers_rss = 0
        for process in workers:
            with suppress(psutil.Error):
                workers_rss += process.memory_info().rss
        run_files, run_bytes = files_below([self._run_dir])
        # A filler is the disk's fault.
        worker_files, worker_bytes = files_below(place.directory for place in self._fleet.places)
        row = {
            "s": round(seconds, 1),
            "calls": sum(self._books.submitted.values()),
            "live": len(self._books.live),
            "faults": len(self._books.faults),
            "rss": self._this.memory_info().rss,
            "heap": heap_in_use(),
            "descriptors": self._this.num_fds(),
            "threads": self._this.num_threads(),
            "workers": sum(executor.stats().get("workers_connected", 0) for executor in self._executors.values()),
            "worker_processes": len(workers),
            "workers_rss": workers_rss,
            "run_files": run_files,
            "run_bytes": run_bytes,
            "worker_files": worker_files,
            "worker_bytes": worker_bytes,
            "memory_files": files_below(self._memory_dirs)[0],
        }
        self.rows.append(row)
        # One that finds no room is no reason to end.
        with suppress(OSError):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        return row

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()
