"""Processes that are kept running, whatever ends them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress

from parsl.executors.taskvine import TaskVineFactoryConfig

from vinefast._log_fields import fields
from vinefast._teardown import join
from vinefast.errors import EngineFailure, signal_text
from vinefast.workers.contact import Contact
from vinefast.workers.launch.launcher import Launcher, OnFailure
from vinefast.workers.launch.processes import LACKS, end_session, log_excerpt, session_members, why_lacking
from vinefast.workers.listening import listening_variables
from vinefast.workers.scratch import Scratch, sweep

logger: logging.Logger = logging.getLogger(__name__)

_POLL_S = 0.2

# A process that ends sooner has not done any work, and one that does so again and again never will.
_SOON_S = 2.0
_MAX_EARLY_ENDS = 5
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0

_NUDGE_S = 0.05
_GRACE_S = 1.5


class ProcessLauncher(Launcher):
    """Processes of ours that a thread keeps running."""

    program = "vine_worker"
    count = 1
    grace_s = _GRACE_S

    def __init__(self, config: TaskVineFactoryConfig, directory: str) -> None:
        super().__init__(config, directory)
        self._label = os.path.basename(directory)  # the executor's, by which its directory is named
        self._retired = threading.Event()
        self._thread: threading.Thread | None = None
        self._processes: list[subprocess.Popen[bytes] | None] = []
        self._place: str | None = None
        self._scratch: Scratch | None = None
        self._variables: dict[str, str] = {}
        self._ended: list[int] = []  # the last processes, each of which leads a session
        self._removed: str | None = None

    def start(self, contact: Contact, on_failure: OnFailure) -> None:
        """Start the processes."""
        super().start(contact, on_failure)
        if self.local:
            self._variables = listening_variables(contact.listen_address)
        self._started_s = [0.0] * self.count
        self._early_ends = [0] * self.count
        self._log_starts = [0] * self.count
        self._processes = [None] * self.count
        for index in range(self.count):
            self._begin(index)
        self._thread = threading.Thread(target=self._watch, args=(on_failure,), name="vinefast-launch", daemon=True)
        self._thread.start()

    def retire(self) -> None:
        """Replace no worker that leaves from now on."""
        self._retired.set()

    def stop(self) -> None:
        """End the processes and remove their files."""
        self.retire()
        if self._thread is not None:
            join(self._thread)
        processes = [process for process in self._processes if process is not None]
        deadline_s = time.monotonic() + self.grace_s
        for process in processes:
            while process.poll() is None and time.monotonic() < deadline_s:
                # Again and again: a worker sleeps for seconds here and there, and each signal ends one such sleep.
                for other in processes:
                    self._end(other)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_NUDGE_S)
            if process.poll() is None:
                logger.info(
                    "Killing %s (pid %d), which did not end by itself",
                    self.program,
                    process.pid,
                    extra=fields(self._label, pid=process.pid),
                )
            try:
                end_session(process)
            except OSError as error:  # /proc cannot be read
                logger.warning(
                    "Not all that %s (pid %d) has started is ended: %s",
                    self.program,
                    process.pid,
                    error,
                    extra=fields(self._label, pid=process.pid),
                )
                process.kill()
        self._processes = []
        self._ended += [process.pid for process in processes]
        if self._scratch is not None:
            self._removed = self._scratch.path
            self._scratch.close()
            self._scratch = None

    def left(self) -> list[str]:
        """Say what there still is of the last processes."""
        found = [
            f"process {member} of the session of {self.program} (pid {pid}) still runs"
            for pid in self._ended
            for member in session_members(pid)
        ]
        if self._removed is not None and os.path.exists(self._removed):
            found.append(f"{self._removed}, the workers' scratch directory, is still there")
        return found

    def diagnosis(self) -> str:
        """Show the first process's log."""
        return log_excerpt(self._log_path(0))

    def _launch(self, index: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        raise NotImplementedError

    def _log_path(self, index: int) -> str:
        raise NotImplementedError

    def _begin(self, index: int) -> None:
        with suppress(FileNotFoundError):
            self._log_starts[index] = os.path.getsize(self._log_path(index))
        self._processes[index] = self._launch(index)
        self._started_s[index] = time.monotonic()

    def _watch(self, on_failure: OnFailure) -> None:
        sweep(self._place)
        lack: OSError | None = None
        while not self._retired.wait(_POLL_S):
            former, lack = lack, None
            for index, process in enumerate(self._processes):
                try:
                    if process is None:
                        pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._early_ends[index], 32), _LONGEST_PAUSE_S)
                        if time.monotonic() >= self._started_s[index] + pause_s:
                            self._begin(index)
                    elif process.poll() is not None:
                        self._lost(index, process)
                except Exception as error:
                    if not isinstance(error, OSError) or error.errno not in LACKS:
                        on_failure(error)
                        return
                    lack = error
            if lack is not None and former is None:
                logger.warning(
                    "No %s can be started at present: %s", self.program, why_lacking(lack), extra=fields(self._label)
                )

    def _lost(self, index: int, process: subprocess.Popen[bytes]) -> None:
        end_session(process)
        self._processes[index] = None
        lived_s = time.monotonic() - self._started_s[index]
        # Killed is not failed: a call may do that to its worker, which says nothing about the next.
        early = lived_s < _SOON_S and process.returncode != -signal.SIGKILL
        self._early_ends[index] = self._early_ends[index] + 1 if early else 0
        log_path = self._log_path(index)
        how = f"{self.program} (pid {process.pid}) {_end_of(process.returncode)} after {lived_s:.1f} s"
        # One that was killed may have been in somebody's way; one that gave up will do so again.
        if self._early_ends[index] >= _MAX_EARLY_ENDS and process.returncode > 0:
            excerpt = log_excerpt(log_path, self._log_starts[index])
            raise EngineFailure(f"No worker can be started: {how}, like those before it. {excerpt}")
        logger.warning("%s; starting another. Its log is %s", how, log_path, extra=fields(self._label, pid=process.pid))


def _end_of(returncode: int) -> str:
    return f"ended with status {returncode}" if returncode >= 0 else f"was killed by {signal_text(-returncode)}"
