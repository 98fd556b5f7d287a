"""A slot's warm child: takes bundles from the supervisor one at a time and runs them."""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import socket
import struct
import sys
import traceback
from typing import NamedTuple, NoReturn

from . import memory as layout
from .context import GIVEN_UP, Contexts
from .entry import find_users_modules
from .frame import FrameError, Origin
from .functions import FunctionCache
from .interruption import Interruption
from .log_file import LogFile
from .memory import NoRoom, SlotMemory, is_no_room
from .output import Output
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .process import die_with_parent, identity
from .protocol import (
    EXIT_NO_ROOM,
    VINEFAST_FUNCTIONS,
    VINEFAST_KEPT_CONTEXTS,
    VINEFAST_KEPT_FUNCTIONS_NBYTES,
    VINEFAST_SLOT,
)
from .recycling import Recycling
from .run import Resume, Runner
from .share import Share
from .stack import Stack
from .stops import Stops
from .surroundings import Surroundings

# Supervisor to child, before a bundle's message: its nbytes, the bundle's serial number, when it was received.
REQUEST = struct.Struct("<QQQ")
# Child to supervisor: what became of a bundle, as an exit code, and the serial number of the next that the child took
# from the queue.
ANSWER = struct.Struct("<BQ")
DONE = 0
NO_FRAME = 1
NO_ROOM = EXIT_NO_ROOM
# Not of a bundle that is done: of one that begins, whose calls have limited time.
TIMED = 2
OUTCOMES = (DONE, NO_FRAME, NO_ROOM, TIMED)
NOTHING = 0
# In its place: the child ends, and does nothing more with what it shares.
LEAVES = (1 << 64) - 1

# The longest message that travels through the queue.
QUEUED_MAX_NBYTES = 160 * 1024

# Not in Python's own `socket`.
_SO_COOKIE = 57
_COOKIE_NBYTES = 8


class Queue(NamedTuple):
    """Where bundles wait for a slot.

    Attributes
    ----------
    socket:
        Gives one with each read.
    length:
        How many there are at the most, or were a moment ago; 0 spares a read that would find none. Who has missed one
        that way gets it from the supervisor, as an idle slot does.
    """

    socket: socket.socket
    length: memoryview


class SupervisorEnded(BaseException):
    """The supervisor has closed its end of a channel: nobody is left who could be told anything."""


class OwnSocket:
    """A socket in a process where user code may close any descriptor, and open its own under the same number."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._cookie = b""
        try:
            self._cookie = self._get_cookie()
        except OSError:
            self._identity = identity(sock.fileno())  # this system has none

    def is_there(self) -> bool:
        """Whether it still is what its descriptor stands for."""
        if not self._cookie:
            return identity(self.socket.fileno()) == self._identity
        try:
            return self._get_cookie() == self._cookie
        except OSError:
            return False

    def send(self, data: bytes) -> None:
        """Send all of that. Raises SupervisorEnded."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise SupervisorEnded() from None

    def receive(self, buffer: memoryview) -> int:
        """Give how many bytes have come. Raises SupervisorEnded, also where there will be none."""
        try:
            received = self.socket.recv_into(buffer)
        except ConnectionResetError:
            received = 0
        if not received:
            raise SupervisorEnded()
        return received

    def _get_cookie(self) -> bytes:
        # The kernel gives each socket its own, and never the same to two; this asks for less than `identity` does.
        return self.socket.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE_NBYTES)


class Unfinished(NamedTuple):
    """A bundle that an earlier child left unfinished."""

    message: bytes
    received_ns: int
    resume: Resume


def serve(
    origin: Origin,
    memory: SlotMemory,
    stops: Stops,
    stack: Stack,
    channel: socket.socket,
    queue: Queue,
    log: LogFile,
    home: str,
    unfinished: Unfinished | None,
    contexts: Contexts | None = None,
) -> NoReturn:
    """Be the child of a slot, from right after the fork to the end of the process.

    The end is always ``os._exit``: a library may at any time be ended by SIGKILL, so that user code's atexit handlers
    could never rely on being run, and one that blocks would leave a process behind. Buffered output is flushed.
    """
    exit_code = 1
    try:
        become_child(log, origin.library_pid)
        output = Output(log, memory)
        output.install()
        os.environ[VINEFAST_SLOT] = str(origin.slot)
        find_users_modules()
        contexts = contexts or Contexts()
        contexts.given_up = os.path.join(home, GIVEN_UP)
        contexts.capacity = _chosen(VINEFAST_KEPT_CONTEXTS, contexts.capacity)
        functions = FunctionCache(
            os.path.join(home, "functions"),
            contexts,
            _chosen(VINEFAST_FUNCTIONS, 512),
            _chosen(VINEFAST_KEPT_FUNCTIONS_NBYTES, 64 << 20),
            origin.n_slots,
        )
        share, surroundings = Share(origin), Surroundings(log.path, output)
        interruption = Interruption(stops, memory, origin.library_pid, origin.slot)
        interruption.install()
        stack.listen()
        own_channel = OwnSocket(channel)

        def on_limit() -> None:
            if own_channel.is_there():
                own_channel.send(ANSWER.pack(TIMED, memory.counters[layout.SERIAL]))

        home_path = os.fsencode(home)
        runner = Runner(memory, functions, home_path, origin, share, surroundings, interruption, on_limit, output)
        child = _Child(runner, memory, own_channel, queue, surroundings, output, Recycling.chosen(functions))
        if unfinished is not None:
            child.run(*unfinished)
            unfinished = None
        child.serve()
        exit_code = 0
    except SupervisorEnded:
        exit_code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:
                pass
        os._exit(exit_code)


def _chosen(variable: str, default: int) -> int:
    return int(os.environ.get(variable) or default)


def become_child(log_file: LogFile, supervisor_pid: int) -> None:
    """Become a process of its own after a fork: one that ends with the supervisor, and writes to its own log."""
    os.setpgid(0, 0)
    die_with_parent()
    if os.getppid() != supervisor_pid:
        os._exit(1)  # it died before we asked to die with it
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    log = log_file.open()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.enable(2, all_threads=False)


class _Child:
    """What a slot's child does between bundles.

    Parameters
    ----------
    runner, memory:
        Run the bundles and keep what comes of them.
    channel, queue:
        To the supervisor, and where bundles wait.
    surroundings:
        Looked at whenever there is nothing to do.
    output:
        Told where bundles begin and end.
    recycling:
        Asked after each bundle whether this process is to end; None: it is not.
    """

    def __init__(
        self,
        runner: Runner,
        memory: SlotMemory,
        channel: OwnSocket,
        queue: Queue,
        surroundings: Surroundings,
        output: Output,
        recycling: Recycling | None = None,
    ) -> None:
        self._runner = runner
        self._recycling = recycling
        self._leaves = False
        self._memory = memory
        self._channel = channel
        self._queue = OwnSocket(queue.socket)
        self._queue_length = queue.length
        self._surroundings = surroundings
        self._output = output
        self._is_after_pause = True
        # For all messages, and not touched before it is needed.
        self._buffer = memoryview(mmap.mmap(-1, QUEUED_MAX_NBYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def serve(self) -> None:
        """Run what comes until this process is fit for no more. Raises SupervisorEnded."""
        channel, buffer = self._channel, self._buffer
        while not (self._surroundings.spoilt or self._leaves):
            received = channel.receive(buffer)
            while received < REQUEST.size:
                received += channel.receive(buffer[received:])
            nbytes, serial, received_ns = REQUEST.unpack_from(buffer)
            if REQUEST.size + nbytes <= received:
                message = bytes(buffer[REQUEST.size : received])
            else:
                whole = bytearray(nbytes)
                have = received - REQUEST.size
                whole[:have] = buffer[REQUEST.size : received]
                view = memoryview(whole)
                while have < nbytes:
                    have += channel.receive(view[have:])
                message = bytes(whole)
            self._memory.reset(serial)
            self.run(message, received_ns, None)

    def run(self, message: bytes, received_ns: int, resume: Resume | None) -> None:
        """Run a bundle, and those that wait in the queue then."""
        serial = self._answer(message, received_ns, resume)
        while serial != NOTHING:
            self._memory.reset(serial)
            nbytes, _, received_ns = REQUEST.unpack_from(self._buffer)
            serial = self._answer(bytes(self._buffer[REQUEST.size : REQUEST.size + nbytes]), received_ns, None)

    def _answer(self, message: bytes, received_ns: int, resume: Resume | None) -> int:
        """Run a bundle and say so; gives the serial number of the next, taken from the queue, or nothing."""
        counters = self._memory.counters
        if not counters[layout.START_NS]:
            # Also of a bundle that an earlier child had, but had not begun with.
            self._output.start_bundle(self._is_after_pause)
        outcome = self._run(message, received_ns, resume)
        if outcome != DONE:
            self._output.end_bundle()
        if not self._channel.is_there():
            # The supervisor hears of our end, and finds in memory how far we came.
            raise ConnectionError("a call has closed the descriptors of its slot, which needs a new process")
        if self._recycling is not None and outcome == DONE and self._recycling.is_due(self._memory.n_records()):
            self._leaves = True
            self._channel.send(ANSWER.pack(outcome, LEAVES))
            return NOTHING
        serial = NOTHING
        if self._queue_length[0]:
            counters[layout.TAKING] = 1
            serial = self._take()
        self._channel.send(ANSWER.pack(outcome, serial))
        counters[layout.TAKING] = 0
        self._is_after_pause = serial == NOTHING
        if serial == NOTHING:
            self._surroundings.look_after_bundle()
        return serial

    def _take(self) -> int:
        if not self._queue.is_there():
            return NOTHING
        try:
            self._queue.socket.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
        except OSError:
            return NOTHING  # another child was faster
        serial: int = REQUEST.unpack_from(self._buffer)[1]
        return serial

    def _run(self, message: bytes, received_ns: int, resume: Resume | None) -> int:
        try:
            self._runner.run_bundle_despite_strays(message, received_ns, resume)
        except FrameError:
            traceback.print_exc()
            return NO_FRAME
        except (NoRoom, OSError) as error:
            # Where the disk is full, the log is no place to tell. What else goes wrong may be better in a new process.
            if not is_no_room(error):
                raise
            return NO_ROOM
        return DONE
