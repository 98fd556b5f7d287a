"""The files of what calls print, in the run directory: those of workers elsewhere, and how much stays of all."""

from __future__ import annotations

import errno
import logging
import os
import queue
import re
import stat
import threading
import time
from contextlib import suppress

from vinefast._log_fields import fields
from vinefast.library.log_file import LogFile, append_line, mark
from vinefast.workers.sent_output import Piece, Pieces

logger: logging.Logger = logging.getLogger(__name__)

_LOOK_S = 60.0
_JOIN_S = 5.0
# Of a host that is not this one: a file that nobody has written to for so long is of a library that has ended.
_QUIET_S = 3600.0
# What a file takes at least.
_BLOCK_NBYTES = 4096
_NAME = re.compile(r"\w[\w.-]{0,200}\.log", re.ASCII)
_OWNER = re.compile(r"(.+)-(\d{1,10})-(?:slot-\d+|fork-server)(?:\.older)?\.log")


class OutputFiles:
    """A thread that sees to the files; nobody else has to wait for their disk.

    Parameters
    ----------
    directory : str
        Where they are.
    slot_nbytes : int
        That each slot may have.
    total_nbytes : int
        That all together may have whose libraries have ended.
    label : str
        Of the executor, for warnings.
    """

    def __init__(self, directory: str, slot_nbytes: int, total_nbytes: int, label: str) -> None:
        self._directory = directory
        self._label = label
        self._limit = slot_nbytes // 2
        self._total_nbytes = total_nbytes
        self._pieces = Pieces()
        # Bytes for which there was no room, by file.
        self._lost: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="vinefast-output", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self, name: str, gone: int, text: bytes) -> None:
        """Have what a worker has sent written to a file, some time."""
        self._pieces.put(name, gone, text)

    def stop(self) -> None:
        """Wait until all is written, but not for a disk that hangs."""
        if self._thread.ident is None:
            return
        self._pieces.end()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            logger.warning(
                "Output of calls of executor %s is not written yet: %s does not answer",
                self._label,
                self._directory,
                extra=fields(self._label),
            )
        if self._pieces.dropped_nbytes:
            logger.warning(
                "%d bytes that calls of executor %s have printed are not in %s, which was too slow",
                self._pieces.dropped_nbytes,
                self._label,
                self._directory,
                extra=fields(self._label),
            )

    def _run(self) -> None:
        look_at = time.monotonic()
        piece: Piece | None = Piece("", 0, b"")
        while piece is not None:
            try:
                if time.monotonic() >= look_at:
                    self.prune()
                    look_at = time.monotonic() + _LOOK_S
                piece = self._pieces.take(max(0.0, look_at - time.monotonic()))
                if piece is not None:
                    self.write(piece)
            except queue.Empty:
                pass
            except Exception:
                logger.exception(
                    "Output of calls of executor %s cannot be kept in %s",
                    self._label,
                    self._directory,
                    extra=fields(self._label),
                )
        with suppress(OSError):
            self.prune()

    def write(self, piece: Piece) -> None:
        """Append a piece to its file, which is cut if it is too long, and says what is missing."""
        file = _File(os.path.join(self._directory, safe_name(piece.name)), self._limit)
        gone = piece.gone + self._lost.pop(piece.name, 0)
        try:
            fd = _open(file.path)
        except OSError:
            self._lose(piece.name, gone + len(piece.text))
            return
        left = piece.text
        try:
            os.fchmod(fd, 0o600)
            if gone:
                append_line(fd, os.fstat(fd).st_size, mark(f"{gone} bytes before that are left out"))
                gone = 0
            while left:
                left = left[os.write(fd, left) :]
            file.cut(fd)
        except OSError:
            self._lose(piece.name, gone + len(left))
        finally:
            os.close(fd)

    def _lose(self, name: str, nbytes: int) -> None:
        if len(self._lost) < 1000:
            self._lost[name] = nbytes

    def prune(self) -> None:
        """Remove the oldest files of libraries that have ended, if there are too many."""
        found = []
        now = time.time()
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        if entry.name.endswith(".log") and _has_ended(entry.name, now - status.st_mtime):
                            found.append((status.st_mtime, max(status.st_size, _BLOCK_NBYTES), entry.path))
        except OSError:
            return
        nbytes = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if nbytes <= self._total_nbytes:
                break
            with suppress(OSError):
                os.unlink(path)
                nbytes -= size


class _File(LogFile):
    """A file that this process writes for a worker."""

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(path)
        self._paths = [path]
        self.limit = limit


def _open(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # a pipe takes no more once it is full
        os.close(fd)
        raise FileExistsError(errno.EEXIST, "it is no file", path)
    return fd


def safe_name(name: str) -> str:
    """Give the name of a file that a worker asks for, which may lie."""
    return name if _NAME.fullmatch(name) and not name.endswith(".older.log") else "other.log"


def _has_ended(name: str, quiet_s: float) -> bool:
    """Tell whether the library has ended that has written a file."""
    owner = _OWNER.fullmatch(name)
    if owner is None or owner[1] != os.uname().nodename:
        return quiet_s > _QUIET_S
    return not os.path.exists(f"/proc/{int(owner[2])}")
