"""What the supervisor knows of one slot and its child."""

from __future__ import annotations

import socket

from . import memory as layout
from .log_file import LogFile
from .memory import SlotMemory
from .out_of_memory import Cause
from .stack import Stack
from .stops import Stops
from .waiting import Bundle

FIRST_RESPAWN_S = 0.01


class Slot:
    """A slot.

    Attributes
    ----------
    memory, stops, stack:
        Shared with its children.
    pid:
        The child; 0 while there is none.
    log:
        Where its children's output goes.
    channel:
        Socket to the child.
    outgoing:
        Bytes of the bundle that the child has not taken yet.
    spawn_at:
        When to try the next fork, while `pid` is 0.
    has_had_child:
        Whether a child there is not the first one.
    is_replaced:
        Whether the child that has ended did so to be replaced.
    cause:
        Why memory has cost the child its life, if it has.
    timed_out:
        Why time has, as the payload of the record of its call.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.memory: SlotMemory = SlotMemory()
        self.stops: Stops = Stops()
        self.stack: Stack = Stack()
        self.log: LogFile = LogFile(f"slot-{index}.log")
        self.pid = 0
        self.channel: socket.socket | None = None
        self.outgoing: memoryview | None = None
        self.listens_for_room = False
        self.bundle: Bundle | None = None
        self.spawn_at: float = 0.0
        self.respawn_s = FIRST_RESPAWN_S
        self.is_replaced = False
        self.has_had_child = False
        self.cause: Cause | None = None
        self.timed_out: bytes | None = None

    def is_busy(self) -> bool:
        """Whether the child is in the midst of a bundle."""
        counters = self.memory.counters
        return (
            self.bundle is not None and counters[layout.SERIAL] == self.bundle.serial and not counters[layout.FINISHED]
        )
