"""The fork server: a process that has loaded the executor's context and forks the slots' children, which share it.

The supervisor must not load it itself, since it runs no user code, but it has to be the parent of the children: it
hears of their deaths that way. So the fork server forks twice. The child in between ends at once, and the kernel gives
the orphan to the supervisor, its *subreaper*.
"""

from __future__ import annotations

import gc
import os
import pickle
import socket
import struct
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn

from .child import OwnSocket, SupervisorEnded, Unfinished, become_child
from .context import FILE, GIVEN_UP, Contexts
from .entry import find_users_modules
from .frame import Origin
from .log_file import LogFile
from .memory import SlotMemory
from .output import Output
from .process import kill_group
from .protocol import VINEFAST_CWD
from .share import Share

BeSlot = Callable[[int, socket.socket, "Unfinished | None", Contexts], NoReturn]

# Supervisor to fork server: the slot; the child's end of its channel comes with it.
_REQUEST = struct.Struct("<I")
# Fork server to supervisor: the slot and its child, 0 if there could be none.
_FORKED = struct.Struct("<IQ")
# Fork server to supervisor, once: the context is loaded.
_LOADED = b"loaded"
# Supervisor to a new child, on its channel: how much follows of the bundle that an earlier child left.
_HANDOVER = struct.Struct("<Q")

_ADOPTION_POLL_S = 0.0005


class ForkServerGone(Exception):
    """It has ended, or let go of its socket."""


class ForkServer:
    """The supervisor's side of one fork server.

    Parameters
    ----------
    pid:
        Of the process.
    channel:
        Readable when `hear` has something to tell.
    log:
        Where its output goes.

    Attributes
    ----------
    loaded:
        Whether the context is.
    has_forked:
        Whether it has ever forked a child.
    """

    def __init__(self, pid: int, channel: socket.socket, log: LogFile) -> None:
        self.pid = pid
        self.log = log
        self.channel = channel
        self.loaded: bool = False
        self.has_forked: bool = False
        channel.setblocking(False)

    @classmethod
    def start(cls, origin: Origin, let_go: Callable[[], None], be_slot: BeSlot) -> ForkServer:
        """Fork one.

        Parameters
        ----------
        origin:
            Of any slot.
        let_go:
            Called in the fork server: closes what belongs to the supervisor.
        be_slot:
            Called in each new child: runs the slot.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = LogFile("fork-server.log")
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                raise
            if pid == 0:
                ours.close()
                _serve(theirs, log, origin, let_go, be_slot)
        return cls(pid, ours, log)

    @staticmethod
    def wanted() -> bool:
        """Whether this library is to have one."""
        return os.path.exists(FILE)

    def ask(self, index: int, channel: socket.socket) -> None:
        """Have a child forked for a slot, which gets `channel`. Raises OSError if that is impossible."""
        socket.send_fds(self.channel, [_REQUEST.pack(index)], [channel.fileno()])

    def hear(self) -> tuple[int, int] | None:
        """Give the slot of a new child and its pid (0: it could not be forked); None if there is no news.

        Raises
        ------
        ForkServerGone
        """
        try:
            news = self.channel.recv(_FORKED.size)
        except BlockingIOError:
            return None
        except OSError:
            news = b""
        if not news:
            raise ForkServerGone()
        if news == _LOADED:
            self.loaded = True
            return self.hear()
        index, pid = _FORKED.unpack(news)
        self.has_forked |= pid != 0
        return index, pid

    def end(self) -> None:
        """End it, and what it has started."""
        self.channel.close()
        # It may merely have closed its socket.
        kill_group(self.pid)
        os.waitpid(self.pid, 0)


def handover(unfinished: Unfinished | None) -> bytes:
    """Give what a new child waits for on its channel, so that it does nothing before the supervisor knows it."""
    data = b"" if unfinished is None else pickle.dumps(unfinished, 5)
    return _HANDOVER.pack(len(data)) + data


def _receive_handover(channel: socket.socket) -> Unfinished | None:
    (nbytes,) = _HANDOVER.unpack(_receive(channel, _HANDOVER.size))
    return pickle.loads(_receive(channel, nbytes)) if nbytes else None


def _receive(channel: socket.socket, nbytes: int) -> bytes:
    data = bytearray(nbytes)
    own, rest = OwnSocket(channel), memoryview(data)
    while rest:
        rest = rest[own.receive(rest) :]
    return bytes(data)


def _serve(
    control: socket.socket, log: LogFile, origin: Origin, let_go: Callable[[], None], be_slot: BeSlot
) -> NoReturn:
    try:
        let_go()
        become_child(log, origin.library_pid)
        Output(log, SlotMemory()).install()
        contexts = _load(origin)
        own = OwnSocket(control)
        own.send(_LOADED)

        def be_child(index: int, channel: socket.socket) -> NoReturn:
            control.close()
            be_slot(index, channel, _receive_handover(channel), contexts)

        while True:
            index, descriptor = _receive_request(control)
            with socket.socket(fileno=descriptor) as channel:
                pid = _fork_orphan(partial(be_child, index, channel))
            own.send(_FORKED.pack(index, pid))
    except SupervisorEnded:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _receive_request(control: socket.socket) -> tuple[int, int]:
    """Give a slot and the descriptor that comes with it. Raises SupervisorEnded."""
    try:
        request, descriptors, _, _ = socket.recv_fds(control, _REQUEST.size, 1)
    except ConnectionResetError:
        request = b""
    if not request:
        raise SupervisorEnded()
    return _REQUEST.unpack(request)[0], descriptors[0]


def _load(origin: Origin) -> Contexts:
    with open(FILE, "rb") as file:
        context = pickle.load(file)
    given_up = os.path.abspath(GIVEN_UP)
    find_users_modules()
    # Threads as in a slot, but GPUs stay to be shared out.
    Share(origin._replace(gpus=0))
    try:
        os.chdir(os.environ.get(VINEFAST_CWD) or ".")
    except OSError:
        pass
    contexts = Contexts()
    try:
        contexts.load(context)
    except TimeoutError:
        with open(given_up, "wb") as file:
            file.write(context.digest)
        raise
    contexts.share()
    # No collection in a child shall touch, and so copy, what is shared.
    gc.collect()
    gc.freeze()
    return contexts


def _fork_orphan(be_child: Callable[[], NoReturn]) -> int:
    """Fork a child of the supervisor; gives its pid, or 0 if that fails."""
    read_fd, write_fd = os.pipe()
    try:
        between = os.fork()
        if between == 0:
            try:
                between = os.getpid()
                child = os.fork()
                if child == 0:
                    os.close(read_fd)
                    os.close(write_fd)
                    # To ask to die with one's parent makes no sense before one has the right parent.
                    while os.getppid() == between:
                        time.sleep(_ADOPTION_POLL_S)
                    be_child()
                os.setpgid(child, child)
                os.write(write_fd, b"%d" % child)
            finally:
                os._exit(0)
        os.close(write_fd)
        write_fd = -1
        child = int(os.read(read_fd, 32) or b"0")
        # Then it is the supervisor's.
        with suppress(ChildProcessError):  # the context has SIGCHLD ignored, or waits for all children itself
            os.waitpid(between, 0)
        return child
    except OSError:
        traceback.print_exc()
        return 0
    finally:
        os.close(read_fd)
        if write_fd >= 0:
            os.close(write_fd)
