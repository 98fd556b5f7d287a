"""What this process, its container and its disks allow."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

MEMORY_DIRECTORY = "/dev/shm"

_CGROUPS = "/sys/fs/cgroup"
# What version 1 has where there is no limit: all pages that a signed number of 64 bits can count.
_NO_LIMIT = 1 << 60


def limit_of(which: int) -> tuple[int | None, int | None]:
    """Give the soft and the hard limit of a resource; None: there is none."""
    soft, hard = resource.getrlimit(which)
    return tuple(None if value == resource.RLIM_INFINITY else value for value in (soft, hard))  # type: ignore[return-value]


def room_of(path: str) -> int:
    """Give how many bytes this user can still write there.

    Raises
    ------
    OSError
        If nobody can tell.
    """
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def usable_cores() -> int:
    """Give how many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def physical_cores() -> int:
    """Give how many cores a worker takes for its own, if nobody tells it: all of the machine, whatever a limit says."""
    siblings = set()
    for core in range(os.cpu_count() or 1):
        with suppress(OSError), open(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings") as file:
            siblings.add(file.read())
    return len(siblings) or 1


def physical_memory() -> int:
    """Give the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cgroup_memory() -> int | None:
    """Give the bytes of memory to which a control group limits this process; None: it has no such limit."""
    limits = [_number(text) for text in _of_cgroups("memory", "memory.max", "memory.limit_in_bytes")]
    return min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None)


def cgroup_processes() -> int | None:
    """Give how many processes a control group allows this one and its neighbours; None: it does not say."""
    limits = [_number(text) for text in _of_cgroups("pids", "pids.max", "pids.max")]
    return min((limit for limit in limits if limit is not None), default=None)


def cgroup_cores() -> float | None:
    """Give how many cores' time a control group allows; None: it does not say."""
    shares = []
    # Version 2 has both in one file: "150000 100000".
    quotas = _of_cgroups("cpu", "cpu.max", "cpu.cfs_quota_us")
    for text, of_time in zip(quotas, _of_cgroups("cpu", "cpu.max", "cpu.cfs_period_us"), strict=False):
        quota, period = text.split()[0], of_time.split()[-1]
        if quota not in ("max", "-1"):
            shares.append(int(quota) / int(period))
    return min(shares, default=None)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _of_cgroups(controller: str, name: str, former_name: str) -> list[str]:
    """Read a file of this process's control group and of all above it, in version 2 and in version 1."""
    found = []
    with suppress(OSError, ValueError), open("/proc/self/cgroup") as file:
        for line in file:
            number, controllers, path = line.rstrip("\n").split(":", 2)
            if number == "0":
                roots, wanted = [_CGROUPS, f"{_CGROUPS}/unified"], name
            elif controller in controllers.split(","):
                roots, wanted = [f"{_CGROUPS}/{controllers}", f"{_CGROUPS}/{controller}"], former_name
            else:
                continue
            for root in dict.fromkeys(roots):
                found += _upwards(root, path, wanted)
    return found


def _upwards(root: str, path: str, name: str) -> list[str]:
    found = []
    while True:
        # In a container, what is above it is not there, and its own group is the root.
        with suppress(OSError), open(f"{root}{path.rstrip('/')}/{name}") as file:
            found.append(file.read().strip())
        if path in ("", "/"):
            return [text for text in found if text]
        path = os.path.dirname(path)
