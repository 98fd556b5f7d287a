"""Entry of the library: ``python -m vinefast_library --in-pipe-fd N ...``, as TaskVine's worker starts it."""

from __future__ import annotations

import argparse
import os
import signal
import time

from .entry import clean_imports
from .keeper import Keeper
from .process import close_inherited_pipes, die_with_parent, lead_own_group
from .worker_link import WorkerGone, WorkerLink

LIBRARY_NAME = "vinefast"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vinefast_library")
    for name in ("--in-pipe-fd", "--out-pipe-fd", "--task-id", "--worker-pid"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--library-cores", type=int, default=1)
    parser.add_argument("--children", type=int, default=0, help="warm children; 0: as many as cores")
    # A later worker may append arguments that we do not know.
    return parser.parse_known_args()[0]


def _main() -> None:
    lead_own_group()
    arguments = _arguments()
    n_slots = int(os.environ.get("VINEFAST_SLOTS") or 0) or arguments.children or arguments.library_cores
    pipes = (arguments.in_pipe_fd, arguments.out_pipe_fd)
    close_inherited_pipes(keep=set(pipes))
    if os.getppid() == arguments.worker_pid:
        # The pipe's end alone would not do: another process of the worker may hold it open.
        die_with_parent(signal.SIGTERM)
        if os.getppid() != arguments.worker_pid:
            return
    link = WorkerLink(*pipes, arguments.worker_pid)
    try:
        # Before the long imports, so that the worker sends bundles meanwhile.
        link.announce(LIBRARY_NAME, arguments.task_id, time.monotonic())
    except WorkerGone:
        return
    keeper = Keeper(max(1, n_slots), close=pipes)
    clean_imports()

    with link.healing():
        from .supervisor import Supervisor

    Supervisor(link, keeper, max(1, n_slots), arguments.library_cores).run()


if __name__ == "__main__":
    _main()
