"""Calls that print, one way or another."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import subprocess
import sys
import time


def say(text, end="\n"):
    print(text, end=end)
    return text


def say_in_both(text):
    print(f"{text} out", end="")
    print(f"{text} err", file=sys.stderr)


def say_raw(data):
    sys.stdout.buffer.write(data)


def say_in_pieces(n, text):
    for _ in range(n):
        sys.stdout.write(text)


def log_warning(text):
    logging.getLogger("users").warning(text)


def say_in_c(text):
    os.write(1, text.encode())


def say_by_a_child(text):
    subprocess.run(["echo", text], check=True)


def be_silent():
    pass


def say_and_die(text, how):
    print(text)
    if how == "exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), 9)
    else:
        ctypes.string_at(0)


def say_and_raise(text):
    print(text, end="")
    raise ValueError(text)


def fork_and_say(text):
    pid = os.fork()
    if pid == 0:
        print(f"{text} of the child")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    print(f"{text} of the parent")


def close_both():
    os.close(1)
    os.close(2)


def send_elsewhere(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    os.dup2(fd, 1)
    os.close(fd)
    print(text)


def leave_a_daemon(seconds, text):
    """Something that goes on to write after the call has ended."""
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; echo {text}"])


def write_much_in_c(nbytes, seconds):
    chunk = b"c" * 65535 + b"\n"
    for _ in range(nbytes // len(chunk)):
        os.write(1, chunk)
    time.sleep(seconds)


def print_lines(nbytes):
    line = "l" * 99
    for _ in range(nbytes // 100):
        print(line)


def set_up_logging():
    """A context, whose handler has the stream of the process that loads it."""
    print("set up")
    logging.getLogger("users").addHandler(logging.StreamHandler())


def print_beyond_a_limit(nbytes, n_lines):
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, resource.RLIM_INFINITY))
    for _ in range(n_lines):
        print("x" * 99)


def say_and_return(n_printed, n_returned):
    print_lines(n_printed)
    return bytes(n_returned)
