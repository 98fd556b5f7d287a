"""Calls that carry a number: each notes it when it begins, and gives what tells it from all others."""

from __future__ import annotations

import ctypes
import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import resource_tracker, shared_memory

import calls

HELD = []


def _numbered(function):
    @functools.wraps(function)
    def note_and_call(trace, number, *args):
        fd = os.open(trace, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, b"%d\n" % number)
        finally:
            os.close(fd)
        return function(number, *args)

    return note_and_call


@_numbered
def give(number):
    return number


@_numbered
def nothing(number):
    return None


@_numbered
def nap(number, ms):
    time.sleep(ms / 1000)
    return number


@_numbered
def fail(number):
    raise ValueError(number)


@_numbered
def leave(number, code):
    sys.exit(code)


@_numbered
def end(number, code):
    os._exit(code)


@_numbered
def fall(number, signal_number):
    os.kill(os.getpid(), signal_number)
    time.sleep(60)


@_numbered
def speak(number, nbytes):
    line = f"call {number} says ".ljust(99, "x")
    for _ in range(nbytes // 100 + 1):
        print(line)
    return number


def pattern(number, nbytes):
    return (b"%d " % number) * (nbytes // (len(str(number)) + 1) + 1)


@_numbered
def fill(number, nbytes):
    return pattern(number, nbytes)


class Block:
    """Travels in a buffer beside its pickle, as arrays do."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Block, (pickle.PickleBuffer(self.data),)


@_numbered
def give_block(number, nbytes):
    return Block(bytearray(pattern(number, nbytes)))


@_numbered
def give_closure(number):
    return lambda: number


@_numbered
def fork_back(number):
    """The child returns from the call as well."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return number


@_numbered
def leave_process(number, in_session):
    process = subprocess.Popen(["sleep", "300"], start_new_session=in_session, stdin=subprocess.DEVNULL)
    return number, os.getpid(), process.pid


@_numbered
def leave_fork(number):
    """Leave a process that has only been forked, into a session of its own, and has lost its parent."""
    read_fd, write_fd = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            os.setsid()
            if (pid := os.fork()) == 0:
                os.closerange(0, 256)
                while True:
                    time.sleep(1)
            os.write(write_fd, b"%d" % pid)
        finally:
            os._exit(0)
    pid = int(os.read(read_fd, 32))
    os.waitpid(between, 0)
    os.close(read_fd)
    os.close(write_fd)
    return number, os.getpid(), pid


@_numbered
def share_memory(number):
    memory = shared_memory.SharedMemory(create=True, size=1)
    resource_tracker.ensure_running()
    HELD.append(memory)
    return number, memory.name


@_numbered
def spoil(number, name):
    getattr(calls, name)()
    return number


@_numbered
def go_elsewhere(number):
    os.chdir("/")
    return number


@_numbered
def throw_later(number, ms):
    """Throw into this thread once, after the call is over."""
    thread = ctypes.c_ulong(threading.get_ident())
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    timer = threading.Timer(ms / 1000, throw, (thread, ctypes.py_object(TimeoutError)))
    timer.daemon = True
    timer.start()
    return number


@_numbered
def end_later(number, ms):
    timer = threading.Timer(ms / 1000, os._exit, (3,))
    timer.daemon = True
    timer.start()
    return number


@_numbered
def speak_later(number, ms):
    timer = threading.Timer(ms / 1000, print, ("of a thread that stayed",))
    timer.daemon = True
    timer.start()
    return number


# What follows does not end by itself.


@_numbered
def sleep(number):
    time.sleep(300)


@_numbered
def be_deaf(number):
    """Take each interruption for something else."""
    while True:
        try:
            time.sleep(300)
        except BaseException:  # noqa: S110
            pass


@_numbered
def compute(number):
    calls.compute_in_c()


@_numbered
def block(number):
    """Wait where no signal is heard."""
    calls.sleep_in_c(300)


@_numbered
def default_signals(number):
    calls.forget_signal_handlers()


@_numbered
def take_memory(number, mb):
    data = bytearray(b"x") * (mb << 20)
    time.sleep(300)
    return len(data)


SIGNALS = [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT, signal.SIGHUP, signal.SIGUSR1]
