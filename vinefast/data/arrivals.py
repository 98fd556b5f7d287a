"""Names of what is on its way to a place on this machine, and the end of what killed programs have left of that.

It lies beside its place until it is whole, for it is to be there by one rename, and file systems differ.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import uuid
from contextlib import suppress
from functools import lru_cache

from vinefast.data import delivery
from vinefast.library import process

_NAME = re.compile(r"\.vinefast-(?P<machine>[0-9a-f]{16})-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]+(-unpacked)?")
_numbers = itertools.count()


def path_in(directory: str) -> str:
    """Give a path in a directory that nothing else has, and see to what others have left there.

    Parameters
    ----------
    directory : str
        An absolute path; it need not be there.
    """
    _sweep(directory)
    return os.path.join(directory, f"{_prefix(os.getpid())}-{next(_numbers):x}")


@lru_cache(1)
def _prefix(pid: int) -> str:
    started = process.started_at(pid).get(pid, b"")
    # Whose start is not known, nobody takes for ended.
    return f".vinefast-{_machine()}-{pid}-{started.decode() or uuid.uuid4().hex}"


@lru_cache(1)
def _machine() -> str:
    """Tell apart where numbers of processes mean something else: other machines, other boots, other containers."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read()
        return hashlib.blake2b(boot + os.readlink(b"/proc/self/ns/pid"), digest_size=8).hexdigest()
    except OSError:
        return uuid.uuid4().hex[:16]


# Once for each directory, as it may have as many files as it likes; a program that has more of them looks again.
@lru_cache(1024)
def _sweep(directory: str) -> None:
    """Remove what programs of this user on this machine have left, but were killed before it was whole."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found is None or found["machine"] != _machine():
                continue
            if process.is_gone(int(found["pid"]), found["started"].encode()):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                        delivery.remove(entry.path)
