"""What a slot's calls print: each call's first line stands below a mark that names the call.

A call that prints nothing costs nothing: which call it is, the streams ask when something is written to them. What C
code and other processes write, they do not see: the size of the file tells, once per bundle, and a mark below it says
which calls there were.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import length_hint
from typing import Any, TextIO

from . import memory as layout
from .captured import Captures
from .frame import Frame
from .log_file import LogFile, append_line, mark
from .memory import SlotMemory, is_no_room
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .process import identity

FORKED = None
"""In the list of what the loop has to attend to: this process was forked by a call."""

# As many calls of a bundle are named that may have written something.
_MAX_NAMED = 3
# What others may write while a mark is written.
_MARK_WITHIN_NBYTES = 1 << 16
_NAMES = {1: "stdout", 2: "stderr"}


class Output:
    """The standard streams of a slot's child.

    Parameters
    ----------
    log:
        What descriptors 1 and 2 stand for.
    memory:
        Whose counters say which stage the child is at, and get to know where the output of the last call begins.

    Attributes
    ----------
    attention:
        Is not empty when there is something to do once a call has ended: see `attend`.
    rest, n_left:
        Iterator of the calls that are left, and how many there were when the last mark was written.
    streamed, lost:
        Bytes that the streams have written since somebody looked at the file, and those for which there was no room.
    captures:
        What goes back of all that.
    """

    def __init__(self, log: LogFile, memory: SlotMemory) -> None:
        self.attention: list[Output | None] = []
        self.rest: Iterator[Any] = iter(())
        self.n_left: int = -1
        self.streamed: int = 0
        self.lost: int = 0
        self.log = log
        self._memory = memory
        self._pid = os.getpid()
        self._buffers: dict[int, _Buffer] = {}
        self._frame: Frame | None = None
        self._functions: list[Callable[..., Any]] = []
        # Size of the file as it was last seen, -1: it was not there; and what others have written in this bundle.
        self._end = -1
        self._foreign = 0
        self._log = identity(1)
        self.captures: Captures = Captures(log, memory, self._size, lambda: 1 if self.is_log(1) else -1)
        self.look()

    def install(self) -> None:
        """Take the place of Python's own streams."""
        for fd, name in _NAMES.items():
            stream = getattr(sys, name)
            buffer = getattr(stream, "buffer", None)
            if isinstance(buffer, _Buffer) and buffer.serve(self):
                # The fork server's: handlers of loggers have it that were made there.
                self._buffers[fd] = buffer
                continue
            stream = self.open_stream(fd, stream)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)

    def open_stream(self, fd: int, like: Any = None) -> TextIO:
        """Make a stream for descriptor 1 or 2."""
        buffer = self._buffers[fd] = _Buffer(_Raw(fd, self), self)
        # Each piece goes to the buffer at once, so that the buffer alone has to be looked after, and each line to the
        # file: what a call printed before it killed its process is what one wants to see.
        return io.TextIOWrapper(
            buffer,
            encoding=getattr(like, "encoding", None) or "utf-8",
            errors=getattr(like, "errors", None) or "backslashreplace",
            line_buffering=True,
            write_through=True,
        )

    def note_log(self) -> None:
        """The standard descriptors have been opened anew."""
        self._log = identity(1)
        self.captures.is_sent = self.log.is_to_be_sent(1)
        self._end = -1

    # Bundles

    def begin(self) -> None:
        """A bundle begins, or another attempt at one; no call of it yet."""
        self.rest, self.n_left = iter(()), -1
        self._frame = None
        self.captures.is_full = False

    def follow(self, frame: Frame, functions: list[Callable[..., Any]], rest: Iterator[Any]) -> None:
        """Its calls begin, of which `rest` says how many are left."""
        self._functions = functions
        self._frame = frame
        self.rest, self.n_left = rest, -1

    def start_bundle(self, after_pause: bool) -> None:
        """Note where the output of a bundle begins; after a pause, what daemons have written is not that."""
        if after_pause:
            self.look()
        self._foreign = 0
        self._memory.counters[layout.LOG_START] = self._memory.position(max(0, self._end))

    def start_attempt(self) -> None:
        """What is in the file by now was printed before the calls that are left, by one that has died, say."""
        self.look()
        self._memory.counters[layout.LOG_START] = self._memory.position(max(0, self._end))

    def end_bundle(self) -> None:
        """Say whose it may be if there is something that did not come through the streams."""
        if self.attention:
            attend(self.attention)
        self.look()
        if self._foreign:
            nbytes, self._foreign = self._foreign, 0
            self._mark(f"{nbytes} bytes above are not from Python's streams, while there ran: {self._named()}", 1)
        if self.is_large():
            self.cut_if_large()

    # Calls

    def mark(self, fd: int) -> None:
        """Something is about to be written, for the first time since the last call had ended."""
        self.n_left = length_hint(self.rest)
        self._mark(self._running(), fd)

    def _running(self) -> str:
        stage, frame = self._memory.counters[layout.STAGE], self._frame
        if stage == layout.OUTSIDE:
            return "between calls"
        index = self._index()
        if stage != layout.RUNNING or index < 0:
            return "while a function was loaded"
        assert frame is not None
        number = frame.number(index)
        if number is None:
            return self._name(index)
        lost = f", lost {number[1]} times before" if number[1] else ""
        return f"{self._name(index)}, call {number[0]}{lost}"

    def _index(self) -> int:
        """Give which call runs; -1: none of a bundle's."""
        return len(self._frame.payload_kinds) - length_hint(self.rest) - 1 if self._frame is not None else -1

    def _name(self, index: int) -> str:
        assert self._frame is not None
        function = self._functions[self._frame.function_indices[index]]
        return str(getattr(function, "__name__", None) or repr(function))[:200]

    def _named(self) -> str:
        n_calls = len(self._frame.payload_kinds) if self._frame is not None else 0
        names = dict.fromkeys(map(self._name, range(n_calls)))
        some = ", ".join([*names][:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
        return f"{n_calls} calls of {some}" if n_calls > 1 else some

    def end_call(self) -> None:
        """Write what is left in the buffers, and note where the file ends."""
        for buffer in [*self._buffers.values()]:
            with suppress(OSError, ValueError):  # the call has closed it, say
                buffer.flush()
        if os.getpid() != self._pid:
            return
        if self.lost and self._mark(f"there was no room for {self.lost} bytes", 1):
            self.lost = 0
        if self._memory.counters[layout.CAPTURE_START]:
            self.captures.end(self._frame, self._index())
        if self.is_large():
            self.cut_if_large()
        else:
            self._memory.counters[layout.LOG_START] = self._memory.position(max(0, self._end) + self.streamed)

    def begin_capture(self) -> None:
        """A call begins whose output is to go back with its result; also the next row of a chunk."""
        if self.captures.begin(self._index()) and self not in self.attention:
            self.attention.append(self)

    def collect(self, room: int) -> tuple[bytes, bool]:
        """Give what goes back with a bundle: see `Captures.collect`."""
        return self.captures.collect(room, self._memory.position(max(0, self._end)))

    # The file

    def _size(self) -> int:
        places: tuple[int | str, ...] = (1, self.log.path)
        for place in places:
            with suppress(OSError):
                status = os.stat(place)
                if (status.st_dev, status.st_ino) == self._log:
                    return status.st_size
        return max(0, self._end)

    def is_log(self, fd: int) -> bool:
        """Whether a descriptor is still that file: a call may have sent its output elsewhere."""
        return identity(fd) == self._log

    def look(self) -> None:
        """See how much there is in the file, and how much of that did not come through the streams."""
        try:
            status = os.fstat(1)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._log:
            self._end = -1
        else:
            nbytes = status.st_size
            if 0 <= self._end <= nbytes:
                self._foreign += max(0, nbytes - self._end - self.streamed)
            self._end = nbytes
        self.streamed = 0

    def is_large(self) -> bool:
        """Whether the file may be too long by now."""
        return self._end + self.streamed > self.log.limit

    def cut_if_large(self) -> None:
        """If the file is too long, move what it holds."""
        self.look()
        if self._end <= self.log.limit or os.getpid() != self._pid:
            return
        with self.captures.cutting:
            if nbytes := self.log.cut(1):
                counters = self._memory.counters
                counters[layout.CUT_BY_CHILD] += nbytes
                counters[layout.LOG_START] = self._memory.position(0)
                self._end = -1
                self.look()

    def _mark(self, text: str, fd: int) -> bool:
        for either in (fd, 3 - fd):
            with suppress(OSError):
                status = os.fstat(either)
                if (status.st_dev, status.st_ino) != self._log:
                    continue
                at = self._memory.position(status.st_size)
                is_own = os.getpid() == self._pid
                if is_own:
                    self._memory.counters[layout.MARK_AT] = at
                line = mark(text)
                written = append_line(either, status.st_size, line)
                self.streamed += written
                if is_own:
                    moved = 0
                    if self._memory.counters[layout.CAPTURE_START]:
                        # What the call has started may have written just before.
                        moved = _found(line, either, status.st_size) - (written - len(line))
                        self._memory.counters[layout.MARK_AT] = at = at + max(0, moved)
                    self._memory.counters[layout.LOG_START] = at + written
                    if moved >= 0:
                        self.captures.note_mark(at, at + written)
                return True
        return False


def _found(line: bytes, fd: int, start: int) -> int:
    """Give how far behind an offset of a file a line is; negative: it is not there, or too far."""
    try:
        at = os.pread(fd, _MARK_WITHIN_NBYTES, start).find(line)
    except OSError:
        at = -1
    return at if at >= 0 else -_MARK_WITHIN_NBYTES


def attend(attention: list[Output | None], exit_code: int = 0) -> bool:
    """After a call: write what it has left in buffers, and end a process that the call has forked.

    Tells whether the bundle had better end with this call.
    """
    is_forked = FORKED in attention
    outputs = [output for output in attention if output is not None]
    attention.clear()
    for output in outputs:
        output.end_call()
    if is_forked:
        os._exit(exit_code)
    return any(output.captures.is_full for output in outputs)


class _Raw(io.FileIO):
    """A standard descriptor. What its file has no room for is dropped and counted, and no call fails for that."""

    def __init__(self, fd: int, output: Output) -> None:
        super().__init__(fd, "w", closefd=False)
        self.name: str = f"<{_NAMES[fd]}>"  # as Python's own have
        self._output = output

    def write(self, data: Any) -> int:
        """Write, and count."""
        output = self._output
        try:
            nbytes = super().write(data)
        except OSError as error:
            if not is_no_room(error):
                raise
            nbytes = memoryview(data).nbytes
            output.lost += nbytes
            output.captures.leave_out(nbytes)
            return nbytes
        output.streamed += nbytes or 0
        if output.is_large():
            output.cut_if_large()
        return nbytes


class _Buffer(io.BufferedWriter):
    """Sees to the mark before anything of a call's is written."""

    def __init__(self, raw: _Raw, output: Output) -> None:
        super().__init__(raw)
        self._fd = raw.fileno()
        self._output = output

    def serve(self, output: Output) -> bool:
        """Be another process's, if the descriptor is still there."""
        if self.closed:
            return False
        self._output = self.raw._output = output  # type: ignore[attr-defined]
        return True

    def write(self, data: Any) -> int:
        """Write; of very much at once, only the end."""
        output = self._output
        if output.n_left != length_hint(output.rest):
            output.mark(self._fd)
        if output not in output.attention:
            output.attention.append(output)
        if len(data) > output.log.limit:
            return self._write_end(data)
        return super().write(data)

    def _write_end(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        output = self._output
        if not output.is_log(self._fd):
            return super().write(view)
        gone = view.nbytes - output.log.limit // 2
        output.captures.leave_out(gone, view.nbytes - gone)
        super().write(mark(f"{gone} bytes of one write are left out here"))
        super().write(view[gone:])
        return view.nbytes
