"""What a slot's calls have printed, as it goes back with results: call by call, or all, if nobody else sees the file.

Places in the file are positions, which count what was ever written to it (`memory`). No text is believed: where marks
are, is known.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator

from . import memory as layout
from .frame import Frame
from .log_file import LogFile
from .memory import SlotMemory
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .protocol import OUTPUT_FILE, OUTPUT_OF_CALL, OUTPUT_OF_SLOT, OUTPUT_PIECE

# Of what one call has printed, and of what was written to the file, so much comes back with a bundle: the end.
_CALL_NBYTES = 64 << 10
_SLOT_NBYTES = 256 << 10
# A piece that has no room for so much, which the longest name of a file takes, is of no use.
_LEAST_NBYTES = 255
_NO_NUMBER = 0
_TRIES = 50
# Of a process that the call has forked, above whose mark there may be the end of another call's line.
_OTHER_MARK = rb"(?m)(?:\A\n|^)=== [-:. \d]{23} [^\n]{1,250}, call %d(?:, lost \d{1,3} times before)? ===\n"


class Captures:
    """What goes back.

    Parameters
    ----------
    log:
        The file.
    memory:
        Keeps what calls have printed that have ended, and where what was sent ends.
    size:
        Gives the size of the file.
    fd:
        Gives a descriptor of the file, or -1.

    Attributes
    ----------
    is_sent:
        Whether all of the file goes back.
    is_full:
        Whether calls of this bundle have printed so much that the next ones had better go with another.
    cutting:
        Is held while this process cuts the file: several of its threads may print too much.
    """

    def __init__(self, log: LogFile, memory: SlotMemory, size: Callable[[], int], fd: Callable[[], int]) -> None:
        self.is_sent: bool = log.is_to_be_sent(1)
        self.is_full: bool = False
        self.cutting: threading.RLock = threading.RLock()
        self._log = log
        self._memory = memory
        self._size = size
        self._fd = fd
        self._pid = os.getpid()
        # The call that is captured, and the marks that were written for it.
        self._index = -1
        self._marks: list[tuple[int, int]] = []
        self._collected = 0
        # Since output was sent last, and said only by a mark that is too far from the end to be sent.
        self._left_out = 0

    def position(self) -> int:
        """Give the position where the file ends."""
        memory = self._memory
        if os.getpid() != self._pid:  # nobody might let go of the lock there
            return memory.position(self._size())
        with self.cutting:
            for _ in range(_TRIES):
                origin = memory.position(0)
                nbytes = self._size()
                if not memory.counters[layout.CUTTING] and origin == memory.position(0):
                    break
                time.sleep(0.001)  # the supervisor is at it
        return origin + nbytes

    # One call

    def begin(self, index: int) -> bool:
        """A call begins that is to be captured, or its next row; tells whether it does so now."""
        counters = self._memory.counters
        if os.getpid() != self._pid or (index == self._index and counters[layout.CAPTURE_START]):
            return False
        self._index, self._marks = index, []
        counters[layout.LEFT_OUT] = 0
        counters[layout.CAPTURE_START] = self.position() + 1
        return True

    def leave_out(self, nbytes: int, said_before: int = 0) -> None:
        """So much never comes to the file; a mark in front of the last `said_before` bytes may say so."""
        if os.getpid() != self._pid:
            return
        if said_before >= _SLOT_NBYTES:
            self._left_out += nbytes
        if not said_before or said_before >= _CALL_NBYTES:
            self._memory.counters[layout.LEFT_OUT] += nbytes

    def note_mark(self, start: int, end: int) -> None:
        """Between these positions there is no output of the call."""
        if self._memory.counters[layout.CAPTURE_START]:
            self._marks.append((start, end))

    def end(self, frame: Frame | None, index: int) -> None:
        """The call has ended."""
        if frame is not None and index == self._index:
            self._keep(frame, index, self.position(), self._marks)
        self._memory.counters[layout.CAPTURE_START] = 0

    def end_dead(self, frame: Frame, index: int) -> None:
        """The same for a call that has ended with its process, of which this one takes the place."""
        counters = self._memory.counters
        start = counters[layout.CAPTURE_START] - 1
        if start >= 0:
            end = counters[layout.DEATH_AT]
            marked = counters[layout.MARK_AT], counters[layout.LOG_START]
            marks = [marked] if start <= marked[0] < marked[1] else []
            self._keep(frame, index, end if end >= start else self.position(), marks)
        counters[layout.CAPTURE_START] = 0

    def _keep(self, frame: Frame, index: int, end: int, marks: list[tuple[int, int]]) -> None:
        start = self._memory.counters[layout.CAPTURE_START] - 1
        number = frame.number(index)
        left_out = self._memory.counters[layout.LEFT_OUT]
        if number is None or (end <= start and not left_out):
            return
        try:
            data, gone = self._between(start, end, _CALL_NBYTES, marks)
            if b", call %d" % number[0] in data:  # to compile that takes as long as all else
                data = re.sub(_OTHER_MARK % number[0], b"", data)
        except (OSError, MemoryError):
            data, gone = b"", max(0, end - start)
        gone += left_out
        if (data or gone) and not self._memory.capture(OUTPUT_OF_CALL, number[0], gone, data):
            self.is_full = True

    def _between(self, start: int, end: int, most: int, marks: list[tuple[int, int]]) -> tuple[bytes, int]:
        """Give the end of what was written between two positions, without marks, and how many bytes are left out."""
        n_marked = sum(last - first for first, last in marks)
        begin = max(start, end - most - n_marked)
        memory = self._memory
        fd = self._fd()
        for _ in range(_TRIES):
            origin = memory.position(0)
            pieces = self._log.pieces(begin - origin, end - origin, origin > 0, fd)
            if memory.position(0) == origin and not memory.counters[layout.CUTTING]:
                break
        data = b"".join(_without(marks, [(origin + offset, piece) for offset, piece in pieces]))[-most:]
        gone = max(0, end - start - n_marked - len(data))
        if gone:
            # Not in the midst of a character.
            n = next((i for i in range(min(4, len(data))) if data[i] & 0xC0 != 0x80), 0)
            data, gone = data[n:], gone + n
        return data, gone

    # A bundle

    def collect(self, room: int, end: int) -> tuple[bytes, bool]:
        """Give what is to go behind the records of a bundle, and whether there is more for which there was no room.

        Parameters
        ----------
        room:
            Bytes that it may have.
        end:
            The position where the file ended a moment ago.
        """
        memory = self._memory
        captured, sent = memory.counters[layout.CAPTURED], memory.counters[layout.SENT]
        self._collected = 0
        if not captured and not (self.is_sent and end > sent):
            return b"", False
        try:
            pieces = [*_pieces_of(memory.captured[:captured])]
            if self.is_sent and (end := self.position()) > sent:
                data, gone = self._between(sent, end, _SLOT_NBYTES, [])
                gone += self._left_out
                name = os.fsencode(self._log.kept_name)
                pieces += [(OUTPUT_FILE, _NO_NUMBER, 0, name), (OUTPUT_OF_SLOT, _NO_NUMBER, gone, data)]
                self._collected = end
            return packed(pieces, room) if pieces else (b"", False)
        except (OSError, MemoryError, ValueError):
            return b"", True

    def note_sent(self) -> None:
        """What was collected is in a result frame."""
        if self._collected:
            self._memory.counters[layout.SENT] = self._collected
            self._left_out = 0


class Captured:
    """Takes the place of a function in the hot loop, which then costs nothing more where nothing is captured.

    Parameters
    ----------
    function:
        What to call.
    begin:
        Is called before.
    """

    def __init__(self, function: Callable[..., object], begin: Callable[[], None]) -> None:
        self._function = function
        self._begin = begin
        self.__name__: str = getattr(function, "__name__", None) or type(function).__name__

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        """Call the function."""
        self._begin()
        return self._function(*args, **kwargs)


def _without(marks: list[tuple[int, int]], pieces: list[tuple[int, bytes]]) -> Iterator[bytes]:
    """Give pieces, each behind its position, but for what lies between these positions, which are in order."""
    for at, data in pieces:
        for start, end in marks:
            if start < at + len(data) and end > at:
                yield data[: max(0, start - at)]
                data, at = data[end - at :], end
        yield data


def _pieces_of(data: memoryview) -> Iterator[tuple[int, int, int, bytes]]:
    at = 0
    while len(data) - at >= OUTPUT_PIECE.size:
        kind, nbytes, number, gone = OUTPUT_PIECE.unpack_from(data, at)
        at += OUTPUT_PIECE.size
        yield kind, number, gone, bytes(data[at : at + nbytes])
        at += nbytes


def packed(pieces: list[tuple[int, int, int, bytes]], room: int) -> tuple[bytes, bool]:
    """Give pieces one after the other, each as kind, number, bytes left out and text; of too much, the end of each.

    Also tells whether there is not even room for that.
    """
    nbytes = sum(OUTPUT_PIECE.size + len(piece[3]) for piece in pieces)
    each = room // len(pieces) - OUTPUT_PIECE.size
    if nbytes > room and each < _LEAST_NBYTES:
        return b"", True
    parts: list[bytes] = []
    for kind, number, gone, data in pieces:
        if nbytes > room and len(data) > each:
            gone, data = gone + len(data) - each, data[len(data) - each :]
        parts += (OUTPUT_PIECE.pack(kind, len(data), number, gone), data)
    return b"".join(parts), False
