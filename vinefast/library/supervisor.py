"""The library's main process and its event loop: hands bundles to slots, and outlives every child.

`slots` has the children, `waiting` the bundles for which no slot is free, `blame` whom to blame when a child has died.
"""

from __future__ import annotations

import gc
import os
import pickle
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from . import parsl_side, stopping
from .child import NO_FRAME
from .failure import pack_exception
from .frame import FrameError, split_message
from .janitor import Janitor
from .memory import hand_back, is_no_room
from .process import descendants_of, flush_output, lacks_means, make_room, say
from .protocol import COMMAND_STACK, COMMAND_STOP, EXIT_NO_ROOM, VINEFAST_VERSIONS
from .slot import Slot
from .slots import Slots
from .transfers import TransferWatch
from .waiting import Bundle
from .worker_link import WorkerGone, WorkerLink


class Supervisor:
    """One thread, one event loop; no user code ever runs here.

    Parameters
    ----------
    link:
        The worker's pipes, already announced to.
    janitor:
        Told of every child's process group.
    transfers:
        The worker's, looked at when it is time.
    n_slots:
        Children to keep. The worker may send more bundles than that; they wait here.
    cores:
        Of the worker; what else it has, TaskVine says in the environment.
    """

    def __init__(self, link: WorkerLink, janitor: Janitor, transfers: TransferWatch, n_slots: int, cores: int) -> None:
        self._link = link
        self._janitor = janitor
        self._transfers = transfers
        self._home = os.getcwd()
        self._pid = os.getpid()
        resources = (cores, *(_told(name) for name in ("MEMORY", "DISK", "GPUS")))
        self._selector = selectors.DefaultSelector()
        self._slots = Slots(n_slots, resources, link, janitor, self._selector, self._let_go, self._answer_stack)
        self._waiting = self._slots.waiting
        self._logs = self._slots.log_watch()
        self._wake_in, self._wake_out = socket.socketpair()

    def run(self) -> NoReturn:
        """Serve until the worker goes away or SIGTERM comes."""
        try:
            say(self._greeting())
            self._listen_to_signals()
            # Before the forks: what is here now is shared by all children, and no collection shall touch and copy it.
            # A first exception brings in what serializes exceptions.
            pack_exception(Exception())
            gc.collect()
            gc.freeze()
            self._selector.register(self._link.in_fd, selectors.EVENT_READ, self._on_messages)
            self._slots.start()
            while True:
                for key, events in self._selector.select(self._timeout_s()):
                    if isinstance(key.data, Slot):
                        self._slots.on_channel(key.data, events)
                    else:
                        key.data()
                self._on_time()
        except WorkerGone:
            self._leave(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            self._leave(1)

    @staticmethod
    def _greeting() -> str:
        if not parsl_side.available():
            return parsl_side.problem()
        here, there = parsl_side.versions(), os.environ.get(VINEFAST_VERSIONS)
        return here if there in (None, here) else f"{here}; but the submit side has {there}"

    def _leave(self, exit_code: int) -> NoReturn:
        # The janitor does the rest, with time: for what the children have started, children die with us; and for what a
        # worker that is no more has left.
        make_room()
        self._janitor.tell(descendants_of(self._pid))
        flush_output()
        os._exit(exit_code)

    # Signals: a wake-up descriptor, so that neither a child's exit nor SIGTERM can be missed between two system calls.

    def _listen_to_signals(self) -> None:
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._on_signals)

    def _on_signals(self) -> None:
        try:
            numbers = set(self._wake_in.recv(4096))
        except BlockingIOError:
            return
        if numbers - {signal.SIGCHLD}:
            self._leave(0)
        self._slots.reap()

    # Time

    def _timeout_s(self) -> float | None:
        moments = self._slots.moments()
        moments.append(self._logs.look_at)
        moments += [bundle.hand_back_at for bundle in self._oldest_waiting()]
        moments += [watched.look_at for watched in (self._link, self._transfers) if watched.look_at is not None]
        if self._waiting.find_lost_at is not None:
            moments.append(self._waiting.find_lost_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _on_time(self) -> None:
        now = time.monotonic()
        if self._link.look_at is not None and now >= self._link.look_at:
            self._link.heal(now)
        if self._transfers.look_at is not None and now >= self._transfers.look_at:
            self._transfers.look(now)
        if now >= self._logs.look_at:
            self._logs.look(now)
        self._slots.spawn_due(now)
        if any(now >= bundle.hand_back_at for bundle in self._oldest_waiting()):
            self._hand_back_overdue(now)
        if self._waiting.find_lost_at is not None and now >= self._waiting.find_lost_at:
            self._slots.find_lost()
        self._slots.end_disconnected(now)
        self._slots.end_stopped(now)
        self._slots.answer_stacks(now)
        self._slots.end_exceeding(now)

    def _oldest_waiting(self) -> Iterator[Bundle]:
        return iter(()) if self._slots.are_loading() else self._waiting.oldest()

    # Bundles

    def _on_messages(self) -> None:
        received_ns = time.monotonic_ns()
        for task_id, message in self._link.receive():
            try:
                if message.startswith((COMMAND_STOP, COMMAND_STACK)):
                    self._obey(Bundle(0, task_id, message, received_ns))
                else:
                    self._slots.accept(task_id, message, received_ns)
            except FrameError as error:
                say(f"cannot run task {task_id.decode(errors='replace')}: {error}")
                self._link.report(task_id, NO_FRAME, time.monotonic())

    def _obey(self, command: Bundle) -> None:
        now = time.monotonic()
        try:
            calls = stopping.parse(split_message(command.message)[0])
            if command.message.startswith(COMMAND_STACK):
                self._slots.ask_stack(command, calls, now)
                return
            self._slots.stop(calls, now)
        except (KeyError, ValueError) as error:
            say(f"{command.message[:40]!r} is no command: {error!r}")
        self._hand_back(command, now)

    def _answer_stack(self, command: Bundle, stack: str | None) -> None:
        self._hand_back(command, time.monotonic(), pickle.dumps(stack, 5))

    def _hand_back_overdue(self, now: float) -> None:
        for bundle in self._waiting.take_all_back():
            if now >= bundle.hand_back_at:
                self._hand_back(bundle, now)
            else:
                self._slots.place(bundle)

    def _hand_back(self, bundle: Bundle, now: float, *values: bytes) -> None:
        exit_code = 0
        try:
            _, _, path = split_message(bundle.message)
            wait_ns = time.monotonic_ns() - bundle.received_ns
            hand_back(os.path.join(os.fsencode(self._home), path), wait_ns, self._slots.origin(0), *values)
        except (FrameError, OSError) as error:
            if bundle.serial and isinstance(error, OSError) and lacks_means(error):
                # Without a frame, the manager would take calls for failed that have not run.
                self._slots.wait_on(bundle, now)
                return
            say(f"cannot hand task {bundle.task_id.decode(errors='replace')} back: {error}")
            exit_code = EXIT_NO_ROOM if is_no_room(error) else NO_FRAME
        self._link.report(bundle.task_id, exit_code, now)

    def _let_go(self) -> None:
        # In a child: what belongs to the supervisor alone.
        for fd in (self._link.in_fd, self._link.out_fd):
            os.close(fd)
        for end in (self._wake_in, self._wake_out):
            end.close()


def _told(name: str) -> int:
    """What TaskVine says of the worker; 0 if it says nothing, or a user's variable has the same name."""
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else 0
