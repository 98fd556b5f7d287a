"""A slot's warm child: takes bundles from the supervisor one at a time and runs them."""

from __future__ import annotations

import faulthandler
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
from .frame import Origin
from .functions import FunctionCache
from .memory import NO_ROOM_EXIT, SlotMemory, is_no_room
from .process import die_with_parent, flush_by_line
from .run import Resume, Runner
from .share import Share

# Supervisor to child, before a bundle's message: its nbytes, the bundle's serial number, when it was received.
REQUEST = struct.Struct("<QQQ")
# Child to supervisor: what became of a bundle, as an exit code, and the serial number of the next that the child took
# from the queue.
ANSWER = struct.Struct("<BQ")
DONE = 0
NO_FRAME = 1
NO_ROOM = NO_ROOM_EXIT
NOTHING = 0

# The longest message that travels through the queue.
QUEUED_MAX_NBYTES = 160 * 1024

_LOG_MAX_NBYTES = 4 << 20


class Unfinished(NamedTuple):
    """A bundle that an earlier child left unfinished."""

    message: bytes
    received_ns: int
    resume: Resume


def serve(
    origin: Origin,
    memory: SlotMemory,
    channel: socket.socket,
    queue: socket.socket,
    log_path: str,
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
        become_child(log_path, origin.library_pid)
        os.environ["VINEFAST_SLOT"] = str(origin.slot)
        find_users_modules()
        contexts = contexts or Contexts()
        contexts.given_up = os.path.join(home, GIVEN_UP)
        contexts.capacity = _chosen("VINEFAST_KEPT_CONTEXTS", contexts.capacity)
        functions = FunctionCache(
            os.path.join(home, "functions"),
            contexts,
            _chosen("VINEFAST_FUNCTIONS", 512),
            _chosen("VINEFAST_KEPT_FUNCTIONS_NBYTES", 64 << 20),
            origin.n_slots,
        )
        runner = Runner(memory, functions, os.fsencode(home), origin, Share(origin))
        if unfinished is not None:
            request = _answer(runner, channel, queue, memory, *unfinished)
            unfinished = None
            _run_queued(request, runner, channel, queue, memory)
        _serve_requests(runner, channel, queue, memory)
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


def become_child(log_path: str, supervisor_pid: int) -> None:
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
    log = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    flush_by_line()
    faulthandler.enable(2, all_threads=False)


def _serve_requests(runner: Runner, channel: socket.socket, queue: socket.socket, memory: SlotMemory) -> None:
    buffer = bytearray(1 << 16)
    while True:
        received = channel.recv_into(buffer)
        if not received:
            return
        while received < REQUEST.size:
            received += _more(channel.recv_into(memoryview(buffer)[received:]))
        nbytes, serial, received_ns = REQUEST.unpack_from(buffer)
        if REQUEST.size + nbytes <= received:
            message = bytes(memoryview(buffer)[REQUEST.size : received])
        else:
            whole = bytearray(nbytes)
            have = received - REQUEST.size
            whole[:have] = memoryview(buffer)[REQUEST.size : received]
            view = memoryview(whole)
            while have < nbytes:
                have += _more(channel.recv_into(view[have:]))
            message = bytes(whole)
        memory.reset(serial)
        _run_queued(_answer(runner, channel, queue, memory, message, received_ns, None), runner, channel, queue, memory)


def _more(received: int) -> int:
    if not received:
        os._exit(0)
    return received


def _run_queued(
    request: bytes, runner: Runner, channel: socket.socket, queue: socket.socket, memory: SlotMemory
) -> None:
    while request:
        _, serial, received_ns = REQUEST.unpack_from(request)
        memory.reset(serial)
        request = _answer(runner, channel, queue, memory, request[REQUEST.size :], received_ns, None)


def _answer(
    runner: Runner,
    channel: socket.socket,
    queue: socket.socket,
    memory: SlotMemory,
    message: bytes,
    received_ns: int,
    resume: Resume | None,
) -> bytes:
    """Run a bundle and say so; gives the next request, taken from the queue, or nothing."""
    if resume is None:
        memory.counters[layout.LOG_START] = _log_nbytes()
    try:
        runner.run_bundle_despite_strays(message, received_ns, resume)
        outcome = DONE
    except Exception as error:
        # Nothing that a call did: the frame is malformed or its result cannot be written. Where the disk is full, the
        # log is no place to tell.
        outcome = NO_ROOM if is_no_room(error) else NO_FRAME
        if outcome == NO_FRAME:
            traceback.print_exc()
    try:
        request = queue.recv(QUEUED_MAX_NBYTES, socket.MSG_DONTWAIT)
    except OSError:
        request = b""  # it is empty, or a call closed it
    serial = REQUEST.unpack_from(request)[1] if request else NOTHING
    channel.sendall(ANSWER.pack(outcome, serial))
    return request


def _log_nbytes() -> int:
    nbytes = os.fstat(1).st_size
    if nbytes > _LOG_MAX_NBYTES:
        os.ftruncate(1, 0)
        return 0
    return nbytes
