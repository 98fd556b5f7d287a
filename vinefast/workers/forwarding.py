"""What calls print, written to the program's standard error while they run, each line with who it is from."""

from __future__ import annotations

import logging
import os
import queue
import re
import select
import stat
import sys
import threading
import time
from contextlib import suppress

from vinefast._log_fields import fields
from vinefast.workers.output_files import safe_name
from vinefast.workers.sent_output import Pieces

logger: logging.Logger = logging.getLogger(__name__)

# Between two looks at the files, at least; and as many times what the last one took, for there may be many of them.
_LOOK_S = 0.2
_LOOK_SHARE = 10
_JOIN_S = 5.0
# What has no end of line is shown after so long, or if there is so much of it.
_PATIENCE_S = 1.0
_LINE_NBYTES = 1 << 16
_READ_NBYTES = 1 << 20
_HEAD_NBYTES = 160
_MAX_NAMES = 10_000
# A pipe that has room at all has room for so much.
_WRITE_NBYTES = 4096

# A call may print such lines itself, with anything in them.
_MARK = re.compile(rb"=== \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ([^\n]{1,500}) ===")
_CALL = re.compile(r"(.{1,210}), call (\d{1,20})(?:, lost \d{1,3} times before)?")
_MISSING = re.compile(r"\d{1,18} bytes (?:of one write|before that) are left out(?: here)?|there was no room for .*")
_NAME = re.compile(r".*(?<!\.older)\.log", re.DOTALL)
_GONE = re.compile(rb"=== [^\n]{1,200} (\d{1,18}) bytes before that are gone")


class Lines:
    """From what a slot has written to lines that say who has written them.

    Parameters
    ----------
    where : str
        The slot.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._who = ""
        self._rest = b""
        self._since = 0.0

    def feed(self, data: bytes) -> str:
        """Give the lines that are whole now."""
        if not data:
            return ""
        self._since = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_NBYTES:
            lines.append(self._rest)
            self._rest = b""
        return "".join(map(self._line, lines))

    def say(self, text: str) -> str:
        """Give a line about what is not there."""
        return f"({self._where}) ... {text} ...\n"

    def overdue(self) -> str:
        """Give what waits for the end of its line for too long."""
        return self.end() if self._rest and time.monotonic() - self._since > _PATIENCE_S else ""

    def end(self) -> str:
        """Give what has no end of line."""
        rest, self._rest = self._rest, b""
        return self._line(rest) if rest else ""

    def _line(self, line: bytes) -> str:
        if found := _MARK.fullmatch(line):
            text = found[1].decode("utf-8", "replace")
            call = _CALL.fullmatch(text)
            if call is None and _MISSING.fullmatch(text):
                return self.say(text)
            self._who = f"{call[1]} call={call[2]}, " if call else ""
            return ""
        return f"({self._who}{self._where}) {line.decode('utf-8', 'replace')}\n"


class Followed:
    """A slot's file that another process writes, and moves to an older one when it is too long.

    Parameters
    ----------
    path : str
        The file.

    Attributes
    ----------
    lines : Lines
        From it.
    """

    def __init__(self, path: str) -> None:
        self.lines: Lines = Lines(os.path.basename(path).removesuffix(".log"))
        self._path = path
        self._inode = -1
        self._offset = 0
        # How it begins, and how much was written before that: a file that was moved begins in another way.
        self._head = b""
        self._base = 0

    def is_behind(self, status: os.stat_result) -> bool:
        """Whether there was more in the file than has been read."""
        return status.st_ino == self._inode and self._offset < status.st_size

    def skip(self, status: os.stat_result) -> None:
        """Take all that is there for read."""
        self._inode, self._offset = status.st_ino, status.st_size
        with suppress(OSError):
            self._see(self._read(self._path, 0, _HEAD_NBYTES))

    def read(self, status: os.stat_result) -> str:
        """Give the lines that have come.

        Raises
        ------
        OSError
            If it cannot be read now; then nothing is lost.
        """
        if status.st_ino != self._inode:
            self._inode, self._offset, self._head, self._base = status.st_ino, 0, b"", 0
        elif status.st_size == self._offset:
            return self.lines.overdue()
        head = self._read(self._path, 0, _HEAD_NBYTES)
        text = ""
        if not head.startswith(self._head) or status.st_size < self._offset:
            text = self._go_on(head)
        else:
            self._see(head)
        data = self._read(self._path, self._offset, _READ_NBYTES)
        self._offset += len(data)
        return text + self.lines.feed(data)

    def _go_on(self, head: bytes) -> str:
        """Give what was moved to the older file before it was read."""
        if not head:
            return ""  # it is being moved just now
        found = _GONE.match(head)
        if found is None:  # somebody else has emptied it
            self._head, self._offset, self._base = head, 0, 0
            return ""
        gone, at = int(found[1]), self._base + self._offset
        older = f"{self._path.removesuffix('.log')}.older.log"
        text = ""
        data = b""
        try:
            size = os.stat(older).st_size
            if gone <= at <= gone + size:
                data = self._read(older, at - gone, size)
            elif at < gone:
                data = self._read(older, 0, size)
                text = self.lines.end() + self.lines.say(f"{gone - at} bytes came too fast")
        except FileNotFoundError:
            size = 0
        self._head, self._base, self._offset = head, gone + size, 0
        return text + self.lines.feed(data)

    def _see(self, head: bytes) -> None:
        self._head = head
        if not self._base and (found := _GONE.match(head)):
            with suppress(OSError):
                self._base = int(found[1]) + os.stat(f"{self._path.removesuffix('.log')}.older.log").st_size

    @staticmethod
    def _read(path: str, offset: int, nbytes: int) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, nbytes, offset)
        finally:
            os.close(fd)


# Who shows what is in a directory, of executors of this program that share one.
_followers: dict[str, object] = {}


class Forwarder:
    """A thread that writes it.

    Parameters
    ----------
    directory : str or None
        Where slots write their files; None: all comes with results.
    label : str
        Of the executor, for warnings.
    """

    def __init__(self, directory: str | None, label: str) -> None:
        self._directory = directory
        self._label = label
        self._files: dict[str, Followed] = {}
        self._pieces = Pieces()
        self._sent: dict[str, Lines] = {}
        # Files in the directory that are not followed: another thread writes to them what is shown already.
        self._sent_names: set[str] = set()
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="vinefast-forward", daemon=True)

    def start(self) -> None:
        """Start the thread; what is in the files by now is not shown."""
        self._look(is_first=True)
        self._thread.start()

    def take(self, name: str, gone: int, text: bytes) -> None:
        """Have what a worker has sent written, some time."""
        if self._directory is not None and len(self._sent_names) < _MAX_NAMES:
            self._sent_names.add(safe_name(name))
        self._pieces.put(name, gone, text)

    def stop(self) -> None:
        """Wait until the last line is written, unless nobody takes it."""
        if self._thread.ident is None:
            return
        self._stop_at = time.monotonic() + _JOIN_S
        self._pieces.end()
        self._thread.join(_JOIN_S + 1)

    def _run(self) -> None:
        look_at = time.monotonic()
        goes_on = True
        while goes_on:
            text = ""
            try:
                piece = self._pieces.take(max(0.0, look_at - time.monotonic()))
                goes_on = piece is not None
                if piece is not None:
                    text = self._lines_of(*piece)
            except queue.Empty:
                pass
            try:
                self._write(text)
                if time.monotonic() >= look_at or not goes_on:
                    began = time.monotonic()
                    while self._look():
                        pass
                    for lines in self._sent.values():
                        self._write(lines.overdue())
                    look_at = time.monotonic() + max(_LOOK_S, _LOOK_SHARE * (time.monotonic() - began))
            except Exception:
                logger.exception(
                    "Output of calls of executor %s cannot be forwarded", self._label, extra=fields(self._label)
                )
                look_at = time.monotonic() + _PATIENCE_S
        for lines in [*self._sent.values(), *(file.lines for file in self._files.values())]:
            self._write(lines.end())
        if self._directory is not None and _followers.get(self._directory) is self:
            del _followers[self._directory]

    def _lines_of(self, name: str, gone: int, text: bytes) -> str:
        lines = self._sent.pop(name, None) or Lines(name.removesuffix(".log")[:200])
        while len(self._sent) > _MAX_NAMES:
            del self._sent[next(iter(self._sent))]
        self._sent[name] = lines
        missing = lines.end() + lines.say(f"{gone} bytes before that are left out") if gone else ""
        return missing + lines.feed(text)

    def _look(self, is_first: bool = False) -> bool:
        """Show what has come in the files; tells whether there may be more."""
        if self._directory is None:
            return False
        is_ours = not is_first and _followers.setdefault(self._directory, self) is self
        found: dict[str, tuple[str, os.stat_result]] = {}
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    if entry.name in self._sent_names or not _NAME.fullmatch(entry.name):
                        continue
                    with suppress(OSError):  # it has just been removed
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):  # to open a pipe might take for ever
                            found[entry.name] = entry.path, status
        except OSError:  # no descriptor is left, say: what is known of the files stays
            return False
        for name in self._files.keys() - found.keys():
            self._write(self._files.pop(name).lines.end())
        is_more = False
        for name, (path, status) in found.items():
            file = self._files.get(name) or Followed(path)
            self._files[name] = file
            if not is_ours:
                file.skip(status)
                continue
            try:
                text = file.read(status)
            except OSError:
                continue
            is_more |= file.is_behind(status)
            self._write(text)
        return is_more and (self._stop_at is None or time.monotonic() < self._stop_at)

    def _write(self, text: str) -> None:
        """Write lines to what is standard error now. What cannot be written is dropped: the files have it."""
        start = 0
        while start < len(text):
            most = start + _WRITE_NBYTES
            end = len(text) if len(text) <= most else max(text.rfind("\n", start, most) + 1, start) or most
            piece, start = text[start : end if end > start else most], end if end > start else most
            stream = sys.stderr
            try:
                if not self._has_room(stream):
                    return
                stream.write(piece)
                stream.flush()
            except BaseException:  # it is closed, broken or None, or something of the user's
                return

    def _has_room(self, stream: object) -> bool:
        """Wait until whoever reads has made room: a thread that is stuck in a write would abort Python at its end."""
        try:
            fd = stream.fileno()  # type: ignore[attr-defined]
        except Exception:
            return True  # a notebook's, say
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while not (events := poll.poll(100)):
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                return False
        return bool(events[0][1] & select.POLLOUT)
