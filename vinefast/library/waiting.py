"""Bundles that wait for a slot."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice

from . import child
from .blame import History
from .memory import shared_number
from .process import say

# A bundle that waits longer for a slot is handed back, for another worker may have one. As long as VF_LONG_NS.
_LONGEST_WAIT_S = 0.1
# When to ask again which bundle a child had taken that died before it could say so.
_ASK_AGAIN_S = 0.05


class Bundle:
    """A bundle on its way through this library.

    Attributes
    ----------
    hand_back_at:
        When it has waited too long for a slot.
    history:
        What it has gone through in slots.
    stopped:
        Indices of its calls that are to end, wherever they are.
    memory_limit:
        What each of its calls may take, in bytes; 0: any.
    """

    def __init__(self, serial: int, task_id: bytes, message: bytes, received_ns: int, memory_limit: int = 0) -> None:
        self.serial = serial
        self.task_id = task_id
        self.message = message
        self.received_ns = received_ns
        self.wait_from(received_ns * 1e-9)
        self.history: History = History()
        self.stopped: set[int] = set()
        self.memory_limit = memory_limit

    def wait_from(self, now: float) -> None:
        """Begin to wait for a slot."""
        self.hand_back_at: float = now + _LONGEST_WAIT_S

    def request(self) -> bytes:
        """Give what its child is sent."""
        return child.REQUEST.pack(len(self.message), self.serial, self.received_ns) + self.message


class WaitingBundles:
    """A queue from which children help themselves, so that no slot waits for the supervisor in between.

    Attributes
    ----------
    reader:
        The children's end of it.
    find_lost_at:
        When to look for what a child took that died before it could say so; None: nothing is missing.
    """

    def __init__(self) -> None:
        # By serial number, oldest first. Those for which the queue has no room wait in `_overflow`.
        self._queue_in, queue_out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.reader: child.Queue = child.Queue(queue_out, shared_number())
        self._queued: dict[int, Bundle] = {}
        # Those that were found to be in the queue no more: a child has taken them and will say so, unless it has died.
        self._taken: dict[int, Bundle] = {}
        self.find_lost_at: float | None = None
        self._overflow: deque[Bundle] = deque()

    def __bool__(self) -> bool:
        return bool(self._queued or self._overflow)

    def put(self, bundle: Bundle) -> None:
        """Let a bundle wait."""
        request = bundle.request()
        try:
            if len(request) <= child.QUEUED_MAX_NBYTES:
                self._queue_in.send(request, socket.MSG_DONTWAIT)
                self._queued[bundle.serial] = bundle
                self._tell_length()
                return
        except OSError:
            pass  # it is full, or the system's limit is lower
        self._overflow.append(bundle)

    def take_back(self) -> Bundle | None:
        """Take back what no child has taken."""
        while (serial := self._next_queued()) is not None:
            bundle = self._queued.pop(serial, None)
            self._tell_length()
            if bundle is not None:
                return bundle
            say(f"ignored bundle {serial} in the queue, which has gone another way")
        return self._overflow.popleft() if self._overflow else None

    def _next_queued(self) -> int | None:
        try:
            request = self.reader.socket.recv(child.REQUEST.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        serial: int = child.REQUEST.unpack(request)[1]
        return serial

    def take_all_back(self) -> list[Bundle]:
        """Take back all that no child has taken, and so get to know what they have."""
        bundles = []
        while (bundle := self.take_back()) is not None:
            bundles.append(bundle)
        self._taken.update(self._queued)
        self._queued.clear()
        self._tell_length()
        if self._taken and self.find_lost_at is None:
            # A call may have read from the queue, which its process has open.
            self.ask_again()
        return bundles

    def ask_again(self) -> None:
        """Look for lost bundles a little later."""
        self.find_lost_at = time.monotonic() + _ASK_AGAIN_S

    def take_lost(self) -> list[Bundle]:
        """Give those that were taken and that no child has."""
        bundles = [*self._taken.values()]
        self._taken.clear()
        return bundles

    def claim(self, serial: int) -> Bundle | None:
        """Give the bundle that a child says it has taken; None: it has gone another way."""
        bundle = self._queued.pop(serial, None) or self._taken.pop(serial, None)
        self._tell_length()
        return bundle

    def _tell_length(self) -> None:
        self.reader.length[0] = len(self._queued)

    def all(self) -> Iterator[Bundle]:
        """Give all that are not known to be in a slot."""
        return chain(self._queued.values(), self._taken.values(), self._overflow)

    def oldest(self) -> Iterator[Bundle]:
        """Give the one that waits longest in the queue, and beside it."""
        yield from islice(self._queued.values(), 1)
        yield from islice(self._overflow, 1)

    def let_go(self) -> None:
        """In a child: close and forget what is the supervisor's."""
        self._queue_in.close()
        self._overflow.clear()
        self._queued.clear()
        self._taken.clear()
