"""Entry of the library: what :mod:`.checked` runs with ``--in-pipe-fd N ...``, which TaskVine's worker appends."""

from __future__ import annotations

import os
import signal
import time

from .arguments import library_arguments
from .entry import clean_imports
from .janitor import Janitor
from .process import close_inherited_pipes, die_with_parent, lead_own_group
from .protocol import LIBRARY_NAME, VINEFAST_PEER_STALL_S, VINEFAST_SLOTS
from .worker_link import WorkerGone, WorkerLink


def _main() -> None:
    lead_own_group()
    arguments = library_arguments()
    # TaskVine gives no cores to who asks for GPUs.
    cores = arguments.library_cores or arguments.worker_cores or os.cpu_count() or 1
    n_slots = int(os.environ.get(VINEFAST_SLOTS) or 0) or arguments.children or cores
    pipes = (arguments.in_pipe_fd, arguments.out_pipe_fd)
    close_inherited_pipes(keep=set(pipes))
    is_child = os.getppid() == arguments.worker_pid
    link = WorkerLink(*pipes, arguments.worker_pid)
    try:
        # Before the long imports, so that the worker sends bundles meanwhile.
        link.announce(LIBRARY_NAME, arguments.task_id, time.monotonic())
    except WorkerGone:
        link.clean_up_after_worker()
        return
    janitor = Janitor(n_slots + 1, link, close=(link.out_fd,))
    if is_child:
        # The pipe's end alone would not do: another process of the worker may hold it open. Not before there is a
        # janitor, which cleans up after the worker.
        die_with_parent(signal.SIGTERM)
        if os.getppid() != arguments.worker_pid:
            return
    clean_imports()

    with link.healing():
        from .supervisor import Supervisor
        from .transfers import TransferWatch, admit_more

    admit_more(arguments.worker_pid)
    timeout_s = int(os.environ.get(VINEFAST_PEER_STALL_S) or 0)
    transfers = TransferWatch(arguments.worker_pid, os.path.dirname(os.getcwd()), timeout_s)
    Supervisor(link, janitor, transfers, n_slots, cores).run()


if __name__ == "__main__":
    _main()
