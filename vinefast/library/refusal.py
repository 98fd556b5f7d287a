"""Answer every call with the reason why none can run here.

What `frame` and `worker_link` say of frames and of the worker's pipes holds here too, but they need a newer Python.
"""

import fcntl
import json
import os
import pickle
import re
import select
import signal
import struct
import termios
from argparse import Namespace
from contextlib import suppress

from .arguments import library_arguments
from .protocol import (
    BUNDLE_CALL,
    BUNDLE_HEADER,
    COMMAND_LIMITED,
    COMMAND_STACK,
    COMMAND_STOP,
    ENCODING_ESCAPED,
    ENCODING_PLAIN,
    ESCAPED_ESCAPE,
    ESCAPED_ZERO,
    FRAME_FILE,
    INLINE_NBYTES,
    LIBRARY_NAME,
    RESULT_HEADER,
    RESULT_MAGIC,
    RESULT_RECORD,
    STATUS_EXCEPTION,
)

# Of cores, memory, disk and GPUs: a call that asks for much is to be answered, too.
_PLENTY = 4 * (2**31,)
_MESSAGE = re.compile(rb"(\d+) (.*) (.+) (\3/[^/]+)", re.DOTALL)
_LOOK_S = 0.05


def refuse_call(problem: str) -> None:
    """Be the process of one call in the regular mode: its standard output carries the result."""
    with open(FRAME_FILE, "rb") as file:
        answer = _answer(file.read(), problem, 1)
    try:
        # See once.py: somebody may have written to it before us.
        os.ftruncate(1, 0)
        os.lseek(1, 0, os.SEEK_SET)
    except OSError:
        pass  # a pipe
    with open(1, "wb") as output:
        output.write(answer)


def refuse_calls(problem: str) -> None:
    """Be the library until the worker leaves."""
    arguments = library_arguments()
    with suppress(OSError):  # see process.say
        print("vinefast: " + problem, flush=True)
    with suppress(OSError):  # see process.lead_own_group
        os.setpgid(0, 0)
    try:
        _serve(arguments, problem)
    except (BrokenPipeError, ProcessLookupError):
        pass  # the worker is gone


def _serve(arguments: Namespace, problem: str) -> None:
    parent_pid = os.getppid()
    hello = {"name": LIBRARY_NAME, "taskid": arguments.task_id, "exec_mode": "fork"}
    _tell(arguments, json.dumps(hello).encode())
    unread = b""
    while os.getppid() == parent_pid:
        if not select.select([arguments.in_pipe_fd], [], [], _LOOK_S)[0]:
            (untaken,) = struct.unpack("i", fcntl.ioctl(arguments.out_pipe_fd, termios.FIONREAD, bytes(4)))
            if untaken:  # the worker may have missed the signal
                os.kill(arguments.worker_pid, signal.SIGCHLD)
            continue
        chunk = os.read(arguments.in_pipe_fd, 1 << 20)
        if not chunk:
            return
        unread += chunk
        while True:
            length, newline, rest = unread.partition(b"\n")
            if not newline or len(rest) < int(length):
                break
            unread = rest[int(length) :]
            _refuse_bundle(arguments, rest[: int(length)], problem)


def _refuse_bundle(arguments: Namespace, message: bytes, problem: str) -> None:
    parts = _MESSAGE.fullmatch(message)
    assert parts is not None
    task_id, command, sandbox, result_path = parts.groups()
    answer = _answer(_decode(command, sandbox), problem, arguments.children or arguments.library_cores)
    with open(result_path, "wb") as file:
        file.write(answer)
    _tell(arguments, task_id + b" 0")


def _tell(arguments: Namespace, body: bytes) -> None:
    message = b"%d\n%s" % (len(body), body)
    while message:
        message = message[os.write(arguments.out_pipe_fd, message) :]
    os.kill(arguments.worker_pid, signal.SIGCHLD)


def _decode(command: bytes, sandbox: bytes) -> bytes:
    if command[:1] == COMMAND_LIMITED:
        command = command.partition(b" ")[2]
    if command[:1] == ENCODING_PLAIN:
        return command[2:].replace(command[1:2], b"\0")
    if command[:1] == ENCODING_ESCAPED:
        zero, escape = command[1:2], command[2:3]
        body = command[3:].replace(zero, b"\0")
        return body.replace(escape + bytes([ESCAPED_ZERO]), zero).replace(escape + bytes([ESCAPED_ESCAPE]), escape)
    if command[:1] in (COMMAND_STOP, COMMAND_STACK):
        return bytes(BUNDLE_HEADER.size)  # nothing runs here
    with open(os.path.join(sandbox, FRAME_FILE.encode()), "rb") as file:
        return file.read()


def _answer(frame: bytes, problem: str, n_slots: int) -> bytes:
    _, n_calls, *_ = BUNDLE_HEADER.unpack_from(frame)
    if n_calls * BUNDLE_CALL.size > len(frame):
        raise ValueError(f"a frame of {len(frame)} bytes that says that it has {n_calls} calls")
    payload = pickle.dumps(("UnfitWorker", problem, "", None, 0), 2)
    records: bytes = n_calls * (RESULT_RECORD.pack(STATUS_EXCEPTION, len(payload), 0) + payload)
    nbytes = RESULT_HEADER.size + len(records)
    header = RESULT_HEADER.pack(RESULT_MAGIC, n_calls, nbytes, 0, 0, 0, os.getpid(), n_slots, *_PLENTY, 0, 0)
    answer = header + records
    if nbytes > INLINE_NBYTES:
        return answer
    zero = next(bytes([value]) for value in range(255, 0, -1) if value not in answer)
    return ENCODING_PLAIN + zero + answer.replace(b"\0", zero)
