"""Where a process is: its Python stack, whatever C code it is in, written by itself when another one asks."""

from __future__ import annotations

import faulthandler
import os
import re
import signal
from itertools import takewhile

from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .process import identity, signal_main_thread

SIGNAL = signal.SIGRTMAX - 2
"""Has a child write its stack."""

_HEADLINE = re.compile(r"^.*\(most recent call first\):\n", re.M)

_MAX_NBYTES = 64 * 1024
# What each frame begins with that is vinefast's own. Not by __file__, see failure.py.
_OWN = f'  File "{os.path.dirname(identity.__code__.co_filename)}{os.sep}'

# A line of what faulthandler writes, which a traceback's is not, and those below it, which have called it.
_FROM_OWN_ON = re.compile(
    rf'^{re.escape(_OWN)}[^"\n]*", line \d+ in .*\n?(?:  File "[^"\n]*", line (?:\d+|\?\?\?) in .*\n?)*', re.M
)


def without_own_frames(text: str) -> str:
    """Give an output without the frames of vinefast, and of what has called it, in the stack of a fatal error."""
    return _FROM_OWN_ON.sub("", text)


def _open_file() -> int:
    try:
        return os.memfd_create("vinefast-stack")
    except AttributeError:
        # This Python was built for older systems, as that of conda is: a file that nobody else finds does as well.
        path = f"vinefast-stack-{os.getpid()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.unlink(path)
        return fd


class Stack:
    """A file in memory that a slot's child shares with the supervisor."""

    def __init__(self) -> None:
        self._fd = _open_file()
        self._identity = identity(self._fd)

    def listen(self) -> None:
        """Write the stack there whenever it is asked for. The child's."""
        faulthandler.register(SIGNAL, file=self._fd, all_threads=False)

    def close(self) -> None:
        """In a child: close that of another slot."""
        os.close(self._fd)

    def ask(self, pid: int) -> None:
        """Have a child write its stack. The supervisor's."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)  # a child has the offset in common with us
        try:
            # A call may have closed it, and opened a file of its own by that number.
            status = os.stat(f"/proc/{pid}/fd/{self._fd}")
        except OSError:
            return
        if (status.st_dev, status.st_ino) == self._identity:
            signal_main_thread(pid, SIGNAL)

    def nbytes(self) -> int:
        """How much the child has written."""
        return os.fstat(self._fd).st_size

    def read(self) -> str:
        """Give what the child has written, the newest frame last, without the frames of vinefast itself."""
        text = os.pread(self._fd, _MAX_NBYTES, 0).decode("utf-8", "replace")
        # Somebody may have asked once more meanwhile: what counts is what follows the last headline.
        lines = _HEADLINE.split(text)[-1].splitlines()
        return "\n".join([*takewhile(lambda line: not line.startswith(_OWN), lines)][::-1])
