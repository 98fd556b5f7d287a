"""How much memory a process and all that comes from it take."""

from __future__ import annotations

import os

from .process import child_pids, environment_of, slot_mark, stat_of

_PAGE_NBYTES = os.sysconf("SC_PAGE_SIZE")

# Of /proc/PID/smaps_rollup. Pages of files are left out: the kernel gives them to others who need memory.
_COUNTED = (b"Pss_Anon:", b"Pss_Shmem:")

# Fields of a process as `stat_of` gives them.
_STATE, _GROUP, _STARTED, _RSS = 0, 2, 19, 21


class Tree:
    """A process and all that comes from it, in other groups and sessions too.

    What was seen once belongs to the tree, whoever its parent is later. Of what had lost its parent before it could be
    seen, and is a child of this process for that, the tree has what is in the group of its first process, and what that
    one has executed (which a variable of the environment says). Where there are no slots it has all.

    Parameters
    ----------
    pid:
        A child of this process, which leads its group if there are slots.
    slot:
        The slot that it serves; None: there are none, and so no other children of this process.

    Attributes
    ----------
    processes:
        Those that ran at the last look, each with its start time.
    """

    def __init__(self, pid: int, slot: int | None = None) -> None:
        self.pid = pid
        self.processes: dict[int, bytes] = {}
        self._has_all = slot is None
        self._mark = slot_mark(pid, slot)
        self._resident: dict[int, int] = {}
        # What was resident when a process was measured, and what it took.
        self._measured: dict[int, tuple[int, int]] = {}
        self._others: set[int] = set()  # children of this process that are not of the tree

    def look(self) -> int:
        """Look at all of it, and give an upper bound of what it takes: soon told, and mostly enough to know.

        Pages that processes share count for each, as far as `measure` has not told otherwise.
        """
        known, self.processes = self.processes, {}
        measured, self._measured = self._measured, {}
        self._resident = {}
        ahead = [*known, *self._orphans(), self.pid]
        while ahead:
            pid = ahead.pop()
            if pid in self.processes:
                continue
            fields = stat_of(pid)
            if fields[_STATE] in (b"", b"Z", b"X") or known.get(pid, fields[_STARTED]) != fields[_STARTED]:
                continue
            self.processes[pid] = fields[_STARTED]
            self._resident[pid] = int(fields[_RSS]) * _PAGE_NBYTES
            ahead += child_pids(pid)
        # The oldest first.
        self._measured = {pid: values for pid, values in measured.items() if pid in self.processes}
        return self.bound()

    def resident(self) -> int:
        """Give what they had at the last look, by the simplest of counts."""
        return sum(self._resident.values())

    def bound(self) -> int:
        """Give an upper bound of what they took at the last look, unless what was shared is shared no more."""
        return sum(map(self._bound, self.processes))

    def known(self) -> int:
        """Give what was measured of them, as far as they can still have it."""
        return sum(min(took, self._resident[pid]) for pid, (_, took) in self._measured.items())

    def _bound(self, pid: int) -> int:
        resident = self._resident[pid]
        if pid not in self._measured:
            return resident
        before, took = self._measured[pid]
        return min(resident, took + max(0, resident - before))

    def _unknown(self, pid: int) -> int:
        return self._bound(pid) - self._measured.get(pid, (0, 0))[1]

    def measure(self) -> int:
        """Give what the processes of the last look take: of a page that several share, each has its part.

        So what calls have in common with their fork server, or with other slots, counts for each in part, and what a
        call's own processes share counts once. This costs the kernel a walk over all their pages.
        """
        for pid in self.processes:
            self._measure(pid)
        return sum(took for _, took in self._measured.values())

    def n_measured(self) -> int:
        """Give how many of the processes of the last look have been measured."""
        return len(self._measured)

    def has_changed(self) -> bool:
        """Tell whether a process of the last look has not been measured since it changed."""
        return bool(self._changed())

    def measure_one(self) -> bool:
        """Measure the process of which least is known; tells whether there was one that had changed."""
        changed = self._changed()
        if changed:
            self._measure(max(changed, key=self._unknown))
        elif self._measured:
            # Memory that was shared and is written to is taken without a change in what is counted simply.
            self._measure(next(iter(self._measured)))
        return bool(changed)

    def _changed(self) -> list[int]:
        return [pid for pid, resident in self._resident.items() if self._measured.get(pid, (-1, 0))[0] != resident]

    def _measure(self, pid: int) -> None:
        resident = self._resident[pid]
        self._measured.pop(pid, None)
        self._measured[pid] = (resident, _proportional(pid))

    def _orphans(self) -> list[int]:
        first = stat_of(self.pid)[_STARTED]
        found, others = [], {*child_pids(os.getpid())} - {self.pid}
        for pid in others - self._others:
            fields = stat_of(pid)
            if first and fields[_STARTED] and int(fields[_STARTED]) >= int(first) and self._is_ours(pid, fields):
                found.append(pid)
        self._others = others.difference(found)
        return found

    def _is_ours(self, pid: int, fields: list[bytes]) -> bool:
        if self._has_all or int(fields[_GROUP]) == self.pid:
            return True
        return bool(self._mark) and self._mark in environment_of(pid)


def _proportional(pid: int) -> int:
    counted = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                name, *rest = line.split(None, 2)
                if name in _COUNTED or name == b"Pss:":
                    counted[name] = int(rest[0]) * 1024
    except (FileNotFoundError, PermissionError):
        return not_of_files(pid)  # the kernel is old, or it is another user's
    except OSError:
        return 0  # it has ended, or no descriptor is left: what is not known is not held against it
    if not counted.keys() >= {*_COUNTED}:
        return counted.get(b"Pss:", 0)
    return counted[_COUNTED[0]] + counted[_COUNTED[1]]


def not_of_files(pid: int | str) -> int:
    """Give what a process has resident besides pages of files and of shared memory; 0: that cannot be told."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * _PAGE_NBYTES
