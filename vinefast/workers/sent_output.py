"""What arrives of workers' output, on its way from the demux thread, which must not wait, to a thread that may."""

from __future__ import annotations

import queue
from typing import NamedTuple

# Of pieces that wait, and what each of them costs beside its text.
_WAITING_NBYTES = 16 << 20
_PIECE_NBYTES = 512
# Files of which is known how much was dropped.
_MAX_NAMES = 1000


class Piece(NamedTuple):
    """What was written to a file of a slot: its end, and how many bytes before that are not here."""

    name: str
    gone: int
    text: bytes


class Pieces:
    """A queue that drops what comes too fast, and says how much that was with the next piece of the same file.

    One thread puts, one takes.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        # Each has one writer.
        self._put_nbytes = 0
        self._taken_nbytes = 0
        self._dropped: dict[str, int] = {}
        self.dropped_nbytes: int = 0

    def put(self, name: str, gone: int, text: bytes) -> None:
        """Hand a piece over, without waiting for anything."""
        nbytes = len(text) + _PIECE_NBYTES
        if self._put_nbytes + nbytes - self._taken_nbytes > _WAITING_NBYTES:
            self.dropped_nbytes += len(text)
            if name in self._dropped or len(self._dropped) < _MAX_NAMES:
                self._dropped[name] = self._dropped.get(name, 0) + gone + len(text)
            return
        self._put_nbytes += nbytes
        self._queue.put(Piece(name, gone + self._dropped.pop(name, 0), text))

    def end(self) -> None:
        """Let the other thread know that no more comes."""
        self._queue.put(None)

    def take(self, timeout: float) -> Piece | None:
        """Wait for the next piece; None: there is no more.

        Raises
        ------
        queue.Empty
            If none has come in time.
        """
        piece = self._queue.get(timeout=timeout)
        if piece is not None:
            self._taken_nbytes += len(piece.text) + _PIECE_NBYTES
        return piece
