"""A process of our own that says what it finds in lines of JSON, and of which nothing is left in the end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil

_MARK = "VINEFAST_CHILD_MARK"
_GRACE_S = 10.0
_LEAVING_S = 3.0

Say = Callable[..., None]


class Child:
    """A process that runs a function of a module; in the end, neither it nor anything that it started is left.

    Parameters
    ----------
    module : str
        Whose function ``main`` it runs, without arguments.
    arguments : dict
        What `begin` gives there.
    directory : str
        Where it runs.
    log : file
        Takes what it prints.
    """

    def __init__(self, module: str, arguments: dict[str, Any], directory: str, log: Any) -> None:
        self._mark = uuid.uuid4().hex
        # `-c` and not `-m`: executors that spawn processes would have each of them import the module again.
        self._command = [sys.executable, "-c", f"from {module} import main; main()", json.dumps(arguments)]
        self._directory = directory
        self._log = log

    def __enter__(self) -> Child:
        self.process = subprocess.Popen(
            self._command,
            # Its end of file tells that this process is gone.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._directory,
            env={**os.environ, _MARK: self._mark},
            # The terminal's interrupt is for this process, which then ends the other in order.
            start_new_session=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        process = self.process
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
            end = time.monotonic() + (_LEAVING_S if process.poll() is not None else 0.0)
            while _left(process.pid, self._mark) and time.monotonic() < end:
                time.sleep(0.02)
        finally:
            end = time.monotonic() + _LEAVING_S
            # Again, since one may just have started another.
            while (left := _left(process.pid, self._mark)) and time.monotonic() < end:
                for one in left:
                    with suppress(psutil.Error):
                        one.kill()
                time.sleep(0.02)
            # One that waits for a disk that hangs cannot be killed.
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVING_S)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def messages(self, timeout_s: float) -> Iterator[dict[str, Any] | None]:
        """Give what it says until it ends; None, as the last, if it says nothing for too long."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        os.set_blocking(descriptor, False)
        rest = b""
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                # Processes that the child left behind may hold the pipe open.
                ended = self.process.poll() is not None
                if selector.select(0.0 if ended else 0.2):
                    data = os.read(descriptor, 65536)
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        end = time.monotonic() + timeout_s
                        yield json.loads(line)
                    if not data:
                        return
                elif ended:
                    return
                if time.monotonic() > end:
                    yield None
                    return


def begin() -> tuple[Say, dict[str, Any]]:
    """Be the process of a `Child`: give what says something to who has started it, and the arguments.

    It ends with who has started it, as if interrupted.
    """
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    # What is printed is no answer.
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(**message: Any) -> None:
        print(json.dumps(message), file=channel)

    return say, json.loads(sys.argv[1])


def last_line(path: str) -> str:
    """Give the last line of a log that is not empty."""
    with open(path, errors="replace") as log:
        lines = [line.strip() for line in log if line.strip()]
    return lines[-1] if lines else "it left no message"


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _left(session: int, mark: str) -> list[psutil.Process]:
    """Find processes by their session, which some leave, and by a mark, which those that change their title lose."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            belongs = os.getsid(process.pid) == session or process.environ().get(_MARK) == mark
            if belongs and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
