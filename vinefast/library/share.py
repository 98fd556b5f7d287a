"""What a slot's calls take of their worker: threads of numeric libraries, and GPUs.

TaskVine tells every task that all its cores are its own. A library is such a task, and has many slots.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from .frame import Origin
from .protocol import VINEFAST_USERS_

# Those that TaskVine sets (vine_process.c), but for its own CORES.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


class Share:
    """A slot's part of its worker.

    Parameters
    ----------
    origin:
        Slot and library.
    environment:
        Is changed; the process's own, or that of a test.
    """

    def __init__(self, origin: Origin, environment: MutableMapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._usual = max(1, origin.cores // origin.n_slots)
        self._is_users = obey_user(environment)
        devices = environment.get(GPU_VARIABLE)
        if devices and origin.gpus:
            environment[GPU_VARIABLE] = ",".join(_part(devices.split(","), origin.slot, origin.n_slots))
        if not self._is_users:
            self._set(self._usual)

    def take(self, cores: int) -> bool:
        """Let numeric libraries use as many threads as the calls to come asked for cores; 0: what a slot has.

        Tells whether the environment is another now.
        """
        threads = cores or self._usual
        if self._is_users or threads == self._threads:
            return False
        self._set(threads)
        _tell_loaded_libraries(threads)
        return True

    def _set(self, threads: int) -> None:
        self._threads = threads
        for name in THREAD_VARIABLES:
            self._environment[name] = str(threads)


def obey_user(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Set what the user has set of the variables that TaskVine sets too, and tell whether there is any."""
    # TaskVine has set its own value over the user's, who is heard by another name.
    names = [name for name in THREAD_VARIABLES if VINEFAST_USERS_ + name in environment]
    chosen = {name: environment[VINEFAST_USERS_ + name] for name in names}
    environment.update(chosen)
    return bool(chosen)


def _part(devices: list[str], slot: int, n_slots: int) -> list[str]:
    n = len(devices)
    if n_slots >= n:
        return [devices[slot % n]]
    return devices[slot * n // n_slots : (slot + 1) * n // n_slots]


def _tell_loaded_libraries(threads: int) -> None:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(threads)
