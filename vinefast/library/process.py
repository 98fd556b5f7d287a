"""What processes of the library do to themselves and to each other: descriptors, deaths, logs."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .grace import Grace
from .protocol import VINEFAST_LIBRARY, VINEFAST_OUTPUT, VINEFAST_OUTPUT_NBYTES, VINEFAST_SLOT

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

GRACE_S = 1.0
"""For what calls have started, between SIGTERM and SIGKILL."""

_LOOK_S = 0.02


class Unknown(Exception):
    """Nobody can tell now how it is with a process, for lack of descriptors or memory: to be asked again."""


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel for `signal_number` when the parent dies; best effort, Linux only."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    except (OSError, AttributeError):
        pass


def adopt_orphans() -> bool:
    """Become the parent of all descendants whose own parent ends; tells whether that worked. Linux only."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def identity(fd: int) -> tuple[int, int] | None:
    """Tell what a descriptor stands for from what it may stand for later; None: it is closed."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def has_ended(pid: int) -> bool:
    """Tell whether a child has ended; it stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def reap_others(own: set[int]) -> None:
    """Wait for children that have ended, up to the first of `own`, which somebody else waits for."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)


def close_inherited_pipes(keep: set[int]) -> None:
    """Close pipes and sockets other than standard ones and `keep`.

    The worker's processes inherit each other's pipe ends; one that is kept open here would hide a worker's death from
    another library.
    """
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd <= 2 or fd in keep:
            continue
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                os.close(fd)
        except OSError:
            pass


def make_room() -> None:
    """Have room for a descriptor, whatever the limit is: one at a time is enough to look at processes."""
    with suppress(OSError):
        os.close(0)  # nothing is read from there


def close_all_but_standard() -> None:
    """Close all descriptors but standard ones. Not all that there may be: that takes minutes if it is a billion, and a
    Python that was built for older systems cannot do it at once.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):  # that of the directory is closed already
                os.close(int(name))


def lead_own_group() -> None:
    """Become the leader of a process group.

    The worker asks for that too, but from its side of the fork, where it comes too late if this program has started by
    then. It would go on to kill a group that does not exist, and wait for the end of a process that nobody killed.
    """
    try:
        os.setpgid(0, 0)
    except OSError:
        pass  # leads a session already


def child_pids(pid: int) -> list[int]:
    """Give the numbers of the children of a process."""
    children: list[int] = []
    try:
        # Each thread has those that it has started.
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):  # it has ended, and another one has them
                children += map(int, _read(pid, f"task/{thread}/children").split())
    except OSError:
        return []
    return children


def children_of(pid: int) -> dict[int, bytes]:
    """Give the children of a process, each with its start time, which tells it from a later process of its number."""
    return {child: started for child in child_pids(pid) if (started := _start_time(child))}


def started_at(pid: int) -> dict[int, bytes]:
    """Give one process as `children_of` does; nothing if there is none."""
    started = _start_time(pid)
    return {pid: started} if started else {}


def command_of(pid: int) -> bytes:
    """Give the command line of a process; empty if it has ended."""
    try:
        return _read(pid, "cmdline")
    except OSError:
        return b""


def program_of(pid: int) -> str:
    """Give the path of the program that a process runs; empty if it has ended, or is another user's."""
    return _path(pid, "exe")


def directory_of(pid: int) -> str:
    """Give the directory that a process is in, as `program_of` does."""
    return _path(pid, "cwd")


def _path(pid: int, name: str) -> str:
    try:
        # The link alone: what it leads to may be on a file system that hangs, or have been removed since.
        return os.readlink(f"/proc/{pid}/{name}").removesuffix(" (deleted)")
    except OSError:
        return ""


def environment_of(pid: int) -> list[bytes]:
    """Give the environment that a process was executed with; nothing if it has ended, or is another user's."""
    try:
        return _read(pid, "environ").split(b"\0")
    except OSError:
        return []


def open_files(pid: int) -> dict[int, str]:
    """Give what a process has open, by descriptor."""
    found = {}
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # closed since, which says nothing of those behind it
                    found[int(entry.name)] = os.readlink(entry.path)
    except OSError:
        pass  # it has ended
    return found


def sockets_of(pid: int) -> dict[int, str]:
    """Give the sockets of a process, by descriptor."""
    return {fd: target for fd, target in open_files(pid).items() if target.startswith("socket:")}


def living(processes: dict[int, bytes]) -> dict[int, bytes]:
    """Give those that still run."""
    return {pid: started for pid, started in processes.items() if _is_living(pid, started)}


def _is_living(pid: int, started: bytes) -> bool:
    fields = stat_of(pid)
    return fields[19] == started and fields[0] != b"Z"


def is_gone(pid: int, started: bytes) -> bool:
    """Tell whether a process has ended for sure: that `/proc` cannot be read may be for lack of a descriptor."""
    fields = stat_of(pid)
    if fields[0]:
        return fields[19] != started or fields[0] == b"Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def kill_processes(processes: dict[int, bytes], number: int = signal.SIGKILL) -> None:
    """Send a signal to those that still run."""
    for pid, started in processes.items():
        if _start_time(pid) == started:
            try:
                os.kill(pid, number)
            except OSError:
                pass


def worker_of_task() -> int:
    """Give the worker that runs this process as a task, or who has adopted what the worker has left.

    TaskVine's resource_monitor may be between, which is in the task's sandbox as we are.
    """
    sandbox, pid = directory_of(os.getpid()), os.getppid()
    while pid > 1 and directory_of(pid) == sandbox:
        pid = int(stat_of(pid)[1] or 0)
    return pid


def descendants_of(pid: int) -> dict[int, bytes]:
    """Give all that come from a process that is still somebody's child in turn, as `children_of` does."""
    found: dict[int, bytes] = {}
    ahead = [pid]
    while ahead:
        new = {child: started for child, started in children_of(ahead.pop()).items() if child not in found}
        found |= new
        ahead += new
    return found


def slot_mark(pid: int, slot: int | None) -> bytes:
    """Give what is in the environment of all that a slot's child executes; empty: nothing tells that."""
    mark = b"" if slot is None else b"%s=%d" % (VINEFAST_SLOT.encode(), slot)
    # Where calls start executors, all processes of their libraries may have it.
    return b"" if mark in environment_of(pid) else mark


def orphans_of(pid: int, group: int, mark: bytes, parent: int) -> dict[int, bytes]:
    """Give what comes from a process but has lost its own parent, and so is `parent`'s child now (`adopt_orphans`),
    with all that comes from that, as `children_of` does.

    These are the members of its group, and what was executed with `mark` in its environment: not what was merely
    forked, into a session of its own.
    """
    found: dict[int, bytes] = {}
    for child, started in children_of(parent).items():
        if child not in (pid, os.getpid()) and (group_of(child) == group or (mark and mark in environment_of(child))):
            found |= {child: started, **descendants_of(child)}
    return found


def started_after(processes: dict[int, bytes], monotonic_ns: int) -> dict[int, bytes]:
    """Give those that have started since; the kernel tells that to a hundredth of a second."""
    since_boot_ns = monotonic_ns + time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    ticks = since_boot_ns * os.sysconf("SC_CLK_TCK") // 10**9
    return {pid: started for pid, started in processes.items() if int(started) >= ticks}


def freeze(pid: int, timeout_s: float = 0.1) -> bool:
    """Stop a child with SIGSTOP; tells whether it has stopped, and not ended, in time. If not, it goes on.

    One that waits in the kernel for what cannot be interrupted, a file system say, counts as stopped: it comes to
    nothing else before it takes the signal. So does one that a debugger has stopped, of which its parent does not hear.
    """
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + timeout_s
    while True:
        seen = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if seen is not None and seen.si_code == os.CLD_STOPPED:
            return True
        if seen is None and stat_of(pid)[0] in (b"D", b"t"):
            return True
        if seen is not None or time.monotonic() > end:
            os.kill(pid, signal.SIGCONT)
            return False
        time.sleep(0.001)


@contextmanager
def frozen(pid: int) -> Iterator[bool]:
    """Keep a child from running meanwhile, to look at it or to kill it; gives whether it does not run.

    It goes on afterwards, however that ends, but for one that somebody else has suspended.

    Raises
    ------
    Unknown
        If nothing can be looked at now; nothing is done then.
    """
    _check_sight(pid)
    # Somebody's SIGSTOP that has not been taken yet would be one with ours. First: it may be taken meanwhile.
    is_to_stop = _has(pid, b"ShdPnd", signal.SIGSTOP)
    was_suspended = is_suspended(pid)
    try:
        yield was_suspended or freeze(pid)
    finally:
        if not was_suspended and not is_to_stop:
            os.kill(pid, signal.SIGCONT)  # our child, and not waited for: what has ended bears it


def signal_main_thread(pid: int, number: int) -> None:
    """Send a signal to a child's main thread, if the process catches that signal: others may end by it.

    Raises
    ------
    Unknown
        If that cannot be looked at now; nothing is sent then.
    """
    _check_sight(pid)
    if not _catches(pid, number):
        return
    tgkill = getattr(ctypes.CDLL(None), "tgkill", None)
    if tgkill is None:  # glibc before 2.30
        os.kill(pid, number)
    else:
        tgkill(pid, pid, number)


def _catches(pid: int, number: int) -> bool:
    return _has(pid, b"SigCgt", number)


def _has(pid: int, name: bytes, number: int) -> bool:
    """Whether a signal is in a set of a process's, as the kernel calls it."""
    try:
        mask = re.search(rb"^%s:\s*([0-9a-f]+)$" % name, _read(pid, "status"), re.M)
    except OSError:
        return False
    return mask is not None and int(mask[1], 16) >> (number - 1) & 1 == 1


def lacks_means(error: OSError) -> bool:
    """Tell whether an error says nothing of what was looked at, but that there are no means to look now."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _check_sight(pid: int) -> None:
    """See to it that what is told of a process next is true: functions of this module take what they cannot read for
    what is not there.
    """
    try:
        _read(pid, "stat")
    except OSError as error:
        if lacks_means(error):
            raise Unknown(str(error)) from None


def is_suspended(pid: int) -> bool:
    """Whether somebody has stopped a process, a debugger included."""
    return stat_of(pid)[0] in (b"T", b"t")


def _start_time(pid: int) -> bytes:
    return stat_of(pid)[19]


def group_of(pid: int) -> int:
    """Give the process group of a process; 0: it has ended."""
    return int(stat_of(pid)[2] or 0)


def stat_of(pid: int) -> list[bytes]:
    """Give the fields of a process from its state on; empty ones if there is none."""
    try:
        # The name before them may hold anything.
        return _read(pid, "stat").rpartition(b")")[2].split()
    except OSError:
        return [b""] * 22


def _read(pid: int | str, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


class Kin:
    """How to find all that comes from this process, wherever it has gone: into another group or session, say.

    What was executed has our mark in its environment; what was merely forked has a mapping that only forks can share.
    To be made before anything is forked, and after the first shared anonymous mapping is there.
    """

    def __init__(self) -> None:
        value = f"{os.getpid()}.{_start_time(os.getpid()).decode()}"
        os.environ[VINEFAST_LIBRARY] = value
        self._mark = f"{VINEFAST_LIBRARY}={value}".encode()
        self._command = _read("self", "cmdline")
        self._mappings = _shared_mappings("self")

    def find(self, groups: set[int]) -> dict[int, bytes]:
        """Give them, besides the caller, and the members of some process groups, as `children_of` does."""
        return members_of(groups, self._is_ours)

    def _is_ours(self, pid: int) -> bool:
        try:
            if self._mark in environment_of(pid):
                return True
            return _read(pid, "cmdline") == self._command and bool(_shared_mappings(pid) & self._mappings)
        except OSError:
            return False  # it has ended, or is another user's


def _shared_mappings(pid: int | str) -> set[bytes]:
    """Inodes of the shared anonymous mappings of a process."""
    return {line.split()[4] for line in _read(pid, "maps").splitlines() if line.endswith(b"/dev/zero (deleted)")}


def end_processes(find: Callable[[], dict[int, bytes]], grace_s: float = GRACE_S) -> None:
    """End what `find` gives, with time to tidy up: a resource tracker, of Python's or of loky's, removes semaphores and
    shared memory when those that had them are gone. So it has that time once more when they have been killed.
    """
    grace, n_over = Grace(grace_s, time.monotonic()), 0
    asked: dict[int, bytes] = {}
    while found := find():
        now = time.monotonic()
        if grace.look(now):
            grace, n_over = Grace(grace_s, now), n_over + 1
        if n_over == 0:
            kill_processes({pid: found[pid] for pid in found if asked.get(pid) != found[pid]}, signal.SIGTERM)
        else:
            kill_processes(without_trackers(found) if n_over == 1 else found)
        if n_over == 3:
            return
        asked = found
        time.sleep(_LOOK_S)


def without_trackers(processes: dict[int, bytes]) -> dict[int, bytes]:
    """Leave resource trackers out, of Python's or of loky's.

    They end by themselves once those are gone that had what they track, and remove it then: semaphores and shared
    memory, which would stay in /dev/shm for good.
    """
    return {pid: started for pid, started in processes.items() if b"resource_tracker" not in command_of(pid)}


def kill_group(pid: int) -> None:
    """SIGKILL a child and all of its process group but resource trackers, which `end_group` gives time to tidy up.

    Where nobody can tell these from others now, it is the child alone; `end_group` ends the others then.
    """
    try:
        _check_sight(pid)
        members = {left: started for left, started in descendants_of(os.getpid()).items() if group_of(left) == pid}
        has_trackers = len(without_trackers(members)) < len(members)
        _check_sight(pid)
    except Unknown:
        os.kill(pid, signal.SIGKILL)  # our child, and not waited for
        return
    if not has_trackers:
        _kill_whole_group(pid)
        return
    # Those that are left may start others until they are gone.
    killed: dict[int, bytes] = {}
    while found := living({each: members[each] for each in without_trackers(members) if each not in killed}):
        kill_processes(found)
        killed |= found
        try:
            members = members_of({pid})
        except OSError:
            break  # for lack of a descriptor
    os.kill(pid, signal.SIGKILL)


def _kill_whole_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def kill_since(pid: int, monotonic_ns: int, slot: int) -> None:
    """SIGKILL the child of a slot, which is frozen, its group, and what it has started since then in other sessions."""
    orphans = orphans_of(pid, group_of(pid), slot_mark(pid, slot), os.getpid())
    started = started_after(descendants_of(pid) | orphans, monotonic_ns)
    kill_group(pid)
    kill_processes(without_trackers(started))


def end_group(pid: int) -> None:
    """End the process group of a child that has ended and is not waited for yet, with time to tidy up.

    We are the parent of those whose parent has ended (`adopt_orphans`). Where nobody can tell whether there are any, a
    process looks that has descriptors.
    """
    try:
        _check_sight(pid)
        has_left = any(group_of(left) == pid for left in descendants_of(os.getpid()) if left != pid)
        _check_sight(pid)
        kill = kill_group
    except Unknown:
        has_left, kill = True, _kill_whole_group
    try:
        cleaner = os.fork() if has_left else -1
    except OSError:
        cleaner = -1
    if cleaner < 0:
        kill(pid)
        return
    if cleaner == 0:
        try:
            os.setpgid(0, pid)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            make_room()
            close_all_but_standard()
            end_processes(lambda: members_of({pid}))
        except OSError:
            _kill_whole_group(pid)
        finally:
            os._exit(0)
    try:
        # As long as a process is in the group, its number is not given to another.
        os.setpgid(cleaner, pid)
    except OSError:
        pass  # it has ended already


def members_of(groups: set[int], also: Callable[[int], bool] = lambda pid: False) -> dict[int, bytes]:
    """Give the members of process groups that still run, and other processes, without the caller; as `children_of`."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            pid = int(name)
            state, _, group, *_ = fields = stat_of(pid)
            if state not in (b"", b"Z", b"X") and (int(group) in groups or also(pid)):
                found[pid] = fields[19]
    return found


def output_prefix(library_pid: int) -> tuple[str, str] | None:
    """Give where a library keeps what its calls print, and how the names of its files begin; None: the program does not
    want that.
    """
    directory = os.environ.get(VINEFAST_OUTPUT)
    if not directory or os.environ.get(VINEFAST_OUTPUT_NBYTES) == "0":
        return None
    return directory, f"{os.uname().nodename}-{library_pid}-"


def say(text: str) -> None:
    """Write a line to the library's log."""
    try:
        print(f"vinefast: {text}", flush=True)
    except OSError:
        pass  # a full disk must not end the library


def flush_output() -> None:
    """Write out what waits for the library's log, but for what a full disk has no room for."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
