"""An emulated TaskVine worker: its side of the pipe protocol, with real pipes, signals and a real library process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from vinefast.workers.command import LIBRARY_ARCHIVE, library_archive
from vinefast.workers.environment import PYTHON

from .encode import Call, ResultFrame, decode_result, encode_command, encode_frame

REPOSITORY = Path(__file__).parents[2]
USER_MODULES = Path(__file__).parent / "user"
LIBRARY_TASK_ID = 7

READ_HELLO = True

signals_seen = 0


def _count_signal(number: int, frame: object) -> None:
    global signals_seen
    signals_seen += 1


def install_library(sandbox: Path) -> None:
    """Put there what TaskVine puts into the sandbox of a library, or of a call in regular mode."""
    (sandbox / LIBRARY_ARCHIVE).write_bytes(library_archive())


def library_command(sandbox: Path, module: str) -> list[str]:
    """Give the command that runs a module of the library, as the shell of a task makes it."""
    return [sys.executable, str(sandbox / LIBRARY_ARCHIVE), PYTHON, module]


class LibraryEnded(Exception):
    """The library closed its pipe."""


class Worker:
    """Starts a library in `directory`, sends bundles, collects results.

    SIGCHLDs are counted in `signals_seen`; every worker of a test process gets those of all.
    """

    def __init__(
        self,
        directory: Path,
        slots: int = 1,
        env: dict[str, str] | None = None,
        extra: tuple[str, ...] = (),
        files: dict[str, bytes] | None = None,
    ) -> None:
        self.directory = directory
        self.outputs: dict[int, Path] = {}
        self._next_task_id = 100
        self._commands: dict[int, bytes] = {}
        self._unread = b""
        self._old_handler = signal.signal(signal.SIGCHLD, _count_signal)
        self.library_directory = directory / "libr.7"
        self.library_directory.mkdir()
        for name, content in (files or {}).items():
            (self.library_directory / name).write_bytes(content)
        install_library(self.library_directory)
        library_in, self.to_library = os.pipe()
        self.from_library, library_out = os.pipe()
        arguments = [
            f"--in-pipe-fd={library_in}",
            f"--out-pipe-fd={library_out}",
            f"--task-id={LIBRARY_TASK_ID}",
            f"--library-cores={slots}",
            "--function-slots=4096",
            f"--worker-pid={os.getpid()}",
            *extra,
        ]
        path = os.pathsep.join(filter(None, [str(USER_MODULES), os.environ.get("PYTHONPATH")]))
        with open(self.library_directory / ".taskvine.stdout", "ab") as output:
            self.process = subprocess.Popen(
                [*library_command(self.library_directory, "vinefast_library"), *arguments],
                cwd=self.library_directory,
                pass_fds=(library_in, library_out),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path, **(env or {})},
            )
        os.close(library_in)
        os.close(library_out)
        if READ_HELLO:
            self.read_hello()

    def read_hello(self) -> None:
        """Read the library's announcement."""
        self.hello = json.loads(self.read_message())

    # Messages

    def read_message(self, timeout_s: float = 10.0) -> bytes:
        """Read one ``LENGTH\\n`` message of the library."""
        deadline = time.monotonic() + timeout_s
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline and len(rest) >= int(line):
                self._unread = rest[int(line) :]
                return rest[: int(line)]
            ready, _, _ = select.select([self.from_library], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"nothing from the library; it says: {self.log()}")
            chunk = os.read(self.from_library, 65536)
            if not chunk:
                raise LibraryEnded(self.log())
            self._unread += chunk

    def send_raw(self, command: bytes, task_id: int | None = None, output: str | None = None) -> int:
        """Send a COMMAND as it is; give the task id. Its output goes to a file in its sandbox, or to `output`."""
        if task_id is None:
            task_id = self._next_task_id
            self._next_task_id += 1
        sandbox = self.directory / f"func.{task_id}"
        sandbox.mkdir(exist_ok=True)
        self.outputs[task_id] = sandbox / ".taskvine.stdout"
        if output is not None:
            self.outputs[task_id].symlink_to(output)
        self._commands[task_id] = command
        body = b"%d %s %s %s" % (task_id, command, os.fsencode(sandbox), os.fsencode(self.outputs[task_id]))
        message = b"%d\n%s" % (len(body), body)
        while message:
            message = message[os.write(self.to_library, message) :]
        return task_id

    def send(
        self,
        calls: list[Call],
        slice_ms: int = 0,
        carry: bool | set[int] = True,
        output: str | None = None,
        limit_ms: int = 0,
    ) -> int:
        """Send a bundle; give its task id."""
        return self.send_raw(encode_command(encode_frame(calls, slice_ms, carry, 0, limit_ms)), output=output)

    def collect(self, timeout_s: float = 10.0, resend: bool = True) -> tuple[int, ResultFrame]:
        """Wait for the next finished bundle; one that waited too long, and is handed back, is sent again."""
        while True:
            task_id, exit_code = map(int, self.read_message(timeout_s).split())
            assert exit_code == 0, self.log()
            result = decode_result(self.outputs[task_id].read_bytes())
            if result.records or not resend:
                return task_id, result
            self.send_raw(self._commands[task_id], task_id)

    def run(
        self, calls: list[Call], slice_ms: int = 0, carry: bool | set[int] = True, limit_ms: int = 0
    ) -> ResultFrame:
        """Send one bundle and wait for it."""
        task_id = self.send(calls, slice_ms, carry, limit_ms=limit_ms)
        done_id, result = self.collect()
        assert done_id == task_id
        return result

    # Life

    def log(self) -> str:
        """What the library and its slots wrote."""
        paths = [self.library_directory / ".taskvine.stdout", *sorted(self.library_directory.glob("slot-*.log"))]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in paths if path.exists())

    def disconnect(self) -> None:
        """Close the pipes, as the end of a worker does."""
        for fd in (self.to_library, self.from_library):
            if fd >= 0:
                os.close(fd)
        self.to_library = self.from_library = -1

    def close(self) -> None:
        self.disconnect()
        try:
            self.process.wait(5)
        finally:
            self.process.kill()
            self.process.wait()
            signal.signal(signal.SIGCHLD, self._old_handler)
