"""The library's main process: hands bundles to slots, reports them done, and outlives every child."""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NoReturn

from . import child, parsl_side
from . import memory as layout
from .context import Contexts
from .failure import pack_death, pack_exception
from .fork_server import ForkServer, ForkServerGone, handover
from .frame import Origin, split_message
from .janitor import Janitor
from .memory import SlotMemory, hand_back, shared_number
from .process import adopt_orphans, descendants_of, end_group, has_ended, kill_group, log_tail, reap_others
from .protocol import STATUS_DIED, VINEFAST_VERSIONS
from .run import Resume
from .transfers import TransferWatch
from .worker_link import WorkerGone, WorkerLink

_FIRST_RESPAWN_S = 0.01
_LAST_RESPAWN_S = 2.0
# A bundle that waits longer for a slot is handed back, for another worker may have one. As long as VF_LONG_NS.
_LONGEST_WAIT_S = 0.1
# When to ask again which bundle a child had taken that died before it could say so.
_ASK_AGAIN_S = 0.05
# A child whose channel has ended may go on with its call, but once it has no call it ends itself.
_DISCONNECTED_S = 3.0
# How often in a row a bundle's child may die without getting anywhere.
_MAX_STALLED = 3


class Bundle:
    """A bundle on its way through this library."""

    def __init__(self, serial: int, task_id: bytes, message: bytes, received_ns: int) -> None:
        self.serial = serial
        self.task_id = task_id
        self.message = message
        self.received_ns = received_ns
        self.resume = Resume()
        self.stalled = 0
        self.progress = (-1, -1)


class Slot:
    """What the supervisor knows of one slot and its child.

    Attributes
    ----------
    pid:
        The child; 0 while there is none.
    channel:
        Socket to the child.
    outgoing:
        Bytes of the bundle that the child has not taken yet.
    spawn_at:
        When to try the next fork, while `pid` is 0.
    kill_at:
        When to end the child if it has no call by then, once its channel has ended.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.memory = SlotMemory()
        self.log_path = os.path.abspath(f"slot-{index}.log")
        self.pid = 0
        self.channel: socket.socket | None = None
        self.outgoing: memoryview | None = None
        self.listens_for_room = False
        self.bundle: Bundle | None = None
        self.spawn_at = 0.0
        self.respawn_s = _FIRST_RESPAWN_S
        self.kill_at = 0.0

    def is_busy(self) -> bool:
        """Whether the child is in the midst of a bundle."""
        counters = self.memory.counters
        return (
            self.bundle is not None and counters[layout.SERIAL] == self.bundle.serial and not counters[layout.FINISHED]
        )


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
        self._resources = (cores, *(_told(name) for name in ("MEMORY", "DISK", "GPUS")))
        self._slots = [Slot(index) for index in range(n_slots)]
        # The slot used last is the warmest: with little to do, few slots load many functions.
        self._idle: list[Slot] = []
        # Bundles that wait for a slot lie in a queue from which children help themselves, so that no slot waits for us
        # in between; by serial number, oldest first. Those for which the queue has no room wait here.
        self._queue_in, queue_out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._queue_out = child.Queue(queue_out, shared_number())
        self._queued: dict[int, Bundle] = {}
        # Those that were found to be in the queue no more: a child has taken them and will say so, unless it has died.
        self._taken: dict[int, Bundle] = {}
        self._find_lost_at: float | None = None
        self._waiting: deque[Bundle] = deque()
        self._n_bundles = 0
        self._childless: set[Slot] = set()
        # Their children live, but the channels to them have ended.
        self._disconnected: set[Slot] = set()
        # Children come from there if there is a context for all slots. Requested, and not there yet: by slot, our ends
        # of their channels.
        self._adopts = adopt_orphans()
        self._uses_fork_server = self._adopts and ForkServer.wanted()
        self._fork_server: ForkServer | None = None
        self._requested: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()

    def run(self) -> NoReturn:
        """Serve until the worker goes away or SIGTERM comes."""
        try:
            _say(self._greeting())
            self._listen_to_signals()
            # Before the forks: what is here now is shared by all children, and no collection shall touch and copy it.
            # A first exception brings in what serializes exceptions.
            pack_exception(Exception())
            gc.collect()
            gc.freeze()
            self._selector.register(self._link.in_fd, selectors.EVENT_READ, self._on_messages)
            for slot in reversed(self._slots):
                self._spawn(slot)
            while True:
                for key, events in self._selector.select(self._timeout_s()):
                    if isinstance(key.data, Slot):
                        self._on_channel(key.data, events)
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
        self._janitor.tell(descendants_of(self._pid))
        sys.stdout.flush()
        sys.stderr.flush()
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
        for slot in self._slots:
            if slot.pid:
                self._reap(slot)
        if self._fork_server is not None and has_ended(self._fork_server.pid):
            self._on_fork_server(ended=True)
        # One that we do not know may be a slot's, of which we shall hear.
        if self._adopts and not self._requested:
            own = {slot.pid for slot in self._slots}
            reap_others(own if self._fork_server is None else own | {self._fork_server.pid})

    # Time

    def _timeout_s(self) -> float | None:
        moments = [slot.spawn_at for slot in self._childless]
        for bundle in self._oldest_waiting():
            moments.append(bundle.received_ns * 1e-9 + _LONGEST_WAIT_S)
        moments += [watched.look_at for watched in (self._link, self._transfers) if watched.look_at is not None]
        moments += [slot.kill_at for slot in self._disconnected]
        if self._find_lost_at is not None:
            moments.append(self._find_lost_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _on_time(self) -> None:
        now = time.monotonic()
        if self._link.look_at is not None and now >= self._link.look_at:
            self._link.heal(now)
        if self._transfers.look_at is not None and now >= self._transfers.look_at:
            self._transfers.look(now)
        for slot in [slot for slot in self._childless if now >= slot.spawn_at]:
            self._spawn(slot)
        if any(now >= bundle.received_ns * 1e-9 + _LONGEST_WAIT_S for bundle in self._oldest_waiting()):
            self._hand_back_overdue(now)
        if self._find_lost_at is not None and now >= self._find_lost_at:
            self._find_lost()
        for slot in [slot for slot in self._disconnected if now >= slot.kill_at]:
            self._end_disconnected(slot, now)

    # Bundles

    def _on_messages(self) -> None:
        received_ns = time.monotonic_ns()
        for task_id, message in self._link.receive():
            self._n_bundles += 1
            self._place(Bundle(self._n_bundles, task_id, message, received_ns))

    def _place(self, bundle: Bundle) -> None:
        if self._idle:
            self._hand_over(self._idle.pop(), bundle)
        else:
            self._enqueue(bundle)

    @staticmethod
    def _request(bundle: Bundle) -> bytes:
        return child.REQUEST.pack(len(bundle.message), bundle.serial, bundle.received_ns) + bundle.message

    def _hand_over(self, slot: Slot, bundle: Bundle) -> None:
        slot.bundle = bundle
        slot.outgoing = memoryview(self._request(bundle))
        self._push(slot)

    def _enqueue(self, bundle: Bundle) -> None:
        request = self._request(bundle)
        try:
            if len(request) <= child.QUEUED_MAX_NBYTES:
                self._queue_in.send(request, socket.MSG_DONTWAIT)
                self._queued[bundle.serial] = bundle
                self._tell_length()
                return
        except OSError:
            pass  # it is full, or the system's limit is lower
        self._waiting.append(bundle)

    def _dequeue(self) -> Bundle | None:
        """Take back what no child has taken."""
        while (serial := self._next_queued()) is not None:
            bundle = self._queued.pop(serial, None)
            self._tell_length()
            if bundle is not None:
                return bundle
            _say(f"ignored bundle {serial} in the queue, which has gone another way")
        return self._waiting.popleft() if self._waiting else None

    def _next_queued(self) -> int | None:
        try:
            return child.REQUEST.unpack(self._queue_out.socket.recv(child.REQUEST.size, socket.MSG_DONTWAIT))[1]
        except BlockingIOError:
            return None

    def _dequeue_all(self) -> list[Bundle]:
        """Take back all that no child has taken, and so get to know what they have."""
        bundles = []
        while (bundle := self._dequeue()) is not None:
            bundles.append(bundle)
        self._taken.update(self._queued)
        self._queued.clear()
        self._tell_length()
        if self._taken and self._find_lost_at is None:
            # A call may have read from the queue, which its process has open.
            self._find_lost_at = time.monotonic() + _ASK_AGAIN_S
        return bundles

    def _tell_length(self) -> None:
        self._queue_out.length[0] = len(self._queued)

    def _oldest_waiting(self) -> Iterator[Bundle]:
        if len(self._requested) == len(self._slots):
            return  # the fork server is loading; where slots load, what they load it for waits as well
        yield from islice(self._queued.values(), 1)
        yield from islice(self._waiting, 1)

    def _hand_back_overdue(self, now: float) -> None:
        for bundle in self._dequeue_all():
            if now >= bundle.received_ns * 1e-9 + _LONGEST_WAIT_S:
                self._hand_back(bundle, now)
            else:
                self._place(bundle)

    def _find_lost(self) -> None:
        """Queue again what a child took that died before it could say so."""
        bundles = self._dequeue_all()
        if any(slot.pid and slot.memory.counters[layout.TAKING] for slot in self._slots):
            # It may have what we miss; it may also be suspended, for as long as it likes.
            self._find_lost_at = time.monotonic() + _ASK_AGAIN_S
        else:
            self._find_lost_at = None
            for slot in self._slots:
                while slot.channel is not None and self._read_answer(slot):
                    pass
            bundles = [*self._taken.values(), *bundles]
            self._taken.clear()
        for bundle in bundles:
            self._place(bundle)

    def _hand_back(self, bundle: Bundle, now: float) -> None:
        _, _, path = split_message(bundle.message)
        exit_code = 0
        try:
            wait_ns = time.monotonic_ns() - bundle.received_ns
            hand_back(os.path.join(os.fsencode(self._home), path), wait_ns, self._origin(self._slots[0]))
        except OSError as error:
            _say(f"cannot hand task {bundle.task_id.decode()} back: {error}")
            exit_code = 1
        self._link.report(bundle.task_id, exit_code, now)

    def _origin(self, slot: Slot) -> Origin:
        return Origin(slot.index, self._pid, len(self._slots), *self._resources)

    def _push(self, slot: Slot) -> None:
        assert slot.channel is not None and slot.outgoing is not None
        try:
            sent = slot.channel.send(slot.outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            # It just died; its exit will be heard of, and the bundle given to the next child.
            sent = len(slot.outgoing)
        rest = slot.outgoing[sent:]
        slot.outgoing = rest if rest else None
        if slot.listens_for_room != bool(rest):
            slot.listens_for_room = bool(rest)
            also = selectors.EVENT_WRITE if rest else 0
            self._selector.modify(slot.channel, selectors.EVENT_READ | also, slot)

    def _on_channel(self, slot: Slot, events: int) -> None:
        if slot.channel is None:
            return
        if events & selectors.EVENT_READ:
            self._read_answer(slot)
        if events & selectors.EVENT_WRITE and slot.outgoing is not None:
            self._push(slot)

    def _read_answer(self, slot: Slot) -> bool:
        assert slot.channel is not None
        try:
            answer = slot.channel.recv(child.ANSWER.size)
            while answer and not self._is_answer(answer):
                # A call has written to descriptors that it does not own; an answer may follow.
                more = slot.channel.recv(1)
                answer = (answer + more)[-child.ANSWER.size :] if more else b""
        except BlockingIOError:
            return False
        except OSError:
            answer = b""
        if not answer:
            # The child is dying, or a call closed descriptors that it does not own; its exit tells.
            self._close_channel(slot)
            if slot.pid:
                slot.kill_at = time.monotonic() + _DISCONNECTED_S
                self._disconnected.add(slot)
            return False
        outcome, taken = child.ANSWER.unpack(answer)
        self._finish(slot, outcome)
        if taken != child.NOTHING:
            slot.bundle = self._queued.pop(taken, None) or self._taken.pop(taken, None)
            self._tell_length()
            if slot.bundle is None:
                _say(f"slot {slot.index} has taken bundle {taken}, which has gone another way")
        elif slot.pid:
            self._make_idle(slot)
        return True

    def _is_answer(self, data: bytes) -> bool:
        if len(data) < child.ANSWER.size:
            return False
        outcome, taken = child.ANSWER.unpack(data)
        return outcome in child.OUTCOMES and taken <= self._n_bundles

    def _finish(self, slot: Slot, outcome: int) -> None:
        bundle, slot.bundle = slot.bundle, None
        if bundle is None:
            return
        slot.respawn_s = _FIRST_RESPAWN_S
        if outcome == child.NO_FRAME:
            _say(f"no result frame for task {bundle.task_id.decode()}, see {slot.log_path}")
        self._link.report(bundle.task_id, outcome, time.monotonic())

    def _end_disconnected(self, slot: Slot, now: float) -> None:
        slot.kill_at = now + _DISCONNECTED_S
        if not slot.is_busy():
            _say(f"the child of slot {slot.index} is killed: its channel has ended, but it has not")
            kill_group(slot.pid)

    def _make_idle(self, slot: Slot) -> None:
        bundle = self._dequeue() if self._queued or self._waiting else None
        if bundle is not None:
            self._hand_over(slot, bundle)
        else:
            self._idle.append(slot)

    # Children

    def _spawn(self, slot: Slot) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sys.stdout.flush()
        with theirs:
            try:
                if self._uses_fork_server:
                    self._open_fork_server().ask(slot.index, theirs)
                    self._requested[slot.index] = ours
                else:
                    self._welcome(slot, self._fork(slot, ours, theirs), ours)
            except OSError as error:
                ours.close()
                self._delay_spawn(slot)
                _say(f"cannot fork a child for slot {slot.index}: {error}")
                return
        self._childless.discard(slot)

    def _fork(self, slot: Slot, ours: socket.socket, theirs: socket.socket) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                self._let_go()
            except BaseException:
                os._exit(1)
            self._be_slot(slot.index, theirs, self._unfinished(slot))
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # it was faster
        return pid

    def _welcome(self, slot: Slot, pid: int, channel: socket.socket, greeting: bytes = b"") -> None:
        slot.pid = pid
        slot.channel = channel
        self._janitor.note(slot.index, pid)
        self._selector.register(channel, selectors.EVENT_READ, slot)
        if greeting:
            slot.outgoing = memoryview(greeting)
            self._push(slot)
        if slot.bundle is None:
            self._make_idle(slot)

    @staticmethod
    def _unfinished(slot: Slot) -> child.Unfinished | None:
        bundle = slot.bundle
        return None if bundle is None else child.Unfinished(bundle.message, bundle.received_ns, bundle.resume)

    def _be_slot(
        self, index: int, channel: socket.socket, unfinished: child.Unfinished | None, contexts: Contexts | None = None
    ) -> NoReturn:
        slot = self._slots[index]
        queue, log_path = self._queue_out, slot.log_path
        child.serve(self._origin(slot), slot.memory, channel, queue, log_path, self._home, unfinished, contexts)

    def _let_go(self) -> None:
        # In the child: what belongs to the supervisor alone.
        signal.set_wakeup_fd(-1)
        if self._fork_server is not None:
            self._fork_server.channel.close()
        for channel in self._requested.values():
            channel.close()
        self._janitor.close()
        self._selector.close()
        for fd in (self._link.in_fd, self._link.out_fd):
            os.close(fd)
        for end in (self._wake_in, self._wake_out, self._queue_in):
            end.close()
        for slot in self._slots:
            if slot.channel is not None:
                slot.channel.close()
        self._waiting.clear()
        self._queued.clear()
        self._taken.clear()

    # The fork server

    def _open_fork_server(self) -> ForkServer:
        if self._fork_server is None:
            self._fork_server = ForkServer.start(self._origin(self._slots[0]), self._let_go, self._be_slot)
            self._janitor.note(len(self._slots), self._fork_server.pid)
            self._selector.register(self._fork_server.channel, selectors.EVENT_READ, self._on_fork_server)
        return self._fork_server

    def _on_fork_server(self, ended: bool = False) -> None:
        fork_server = self._fork_server
        if fork_server is None:
            return
        try:
            while (forked := fork_server.hear()) is not None:
                self._on_forked(self._slots[forked[0]], forked[1])
        except ForkServerGone:
            ended = True
        if ended:
            self._lose_fork_server(fork_server)

    def _on_forked(self, slot: Slot, pid: int) -> None:
        channel = self._requested.pop(slot.index)
        if not pid:
            channel.close()
            self._delay_spawn(slot)
            return
        self._welcome(slot, pid, channel, handover(self._unfinished(slot)))
        self._reap(slot)  # if it has died, the signal came before we knew it

    def _lose_fork_server(self, fork_server: ForkServer) -> None:
        self._selector.unregister(fork_server.channel)
        fork_server.end()
        self._fork_server = None
        self._janitor.note(len(self._slots), 0)
        if fork_server.loaded:
            _say(f"the fork server has ended, see {fork_server.log_path}")
        else:
            # Then slots load it themselves, and calls that need it get to know what is wrong.
            self._uses_fork_server = False
            _say(f"the fork server cannot load the context, see {fork_server.log_path}")
        requested = [self._slots[index] for index in self._requested]
        for channel in self._requested.values():
            channel.close()
        self._requested.clear()
        for slot in requested:
            self._spawn(slot)

    def _delay_spawn(self, slot: Slot) -> None:
        self._childless.add(slot)
        slot.spawn_at = time.monotonic() + slot.respawn_s
        slot.respawn_s = min(2 * slot.respawn_s, _LAST_RESPAWN_S)

    def _close_channel(self, slot: Slot) -> None:
        if slot.channel is not None:
            self._selector.unregister(slot.channel)
            slot.channel.close()
            slot.channel = None
            slot.outgoing = None
            slot.listens_for_room = False
        if slot in self._idle:
            self._idle.remove(slot)

    def _reap(self, slot: Slot) -> None:
        # Looked at, but not yet taken: the process group's number cannot have passed to others when it is killed.
        if not has_ended(slot.pid):
            return
        end_group(slot.pid)
        _, status = os.waitpid(slot.pid, 0)
        slot.pid = 0
        self._disconnected.discard(slot)
        self._janitor.note(slot.index, 0)
        if slot.channel is not None:
            # Answers may lie there that we did not come to read.
            while slot.channel is not None and self._read_answer(slot):
                pass
            self._close_channel(slot)
        if slot.memory.counters[layout.TAKING]:
            slot.memory.counters[layout.TAKING] = 0
            self._find_lost()
        code = os.waitstatus_to_exitcode(status)
        if slot.bundle is not None:
            self._note_death(slot, slot.bundle, code)
        if slot.bundle is not None:
            self._spawn(slot)
            return
        _say(f"idle child of slot {slot.index} ended with {code}")
        self._delay_spawn(slot)

    def _note_death(self, slot: Slot, bundle: Bundle, code: int) -> None:
        counters = slot.memory.counters
        if counters[layout.SERIAL] != bundle.serial:
            slot.memory.reset(bundle.serial)  # it had not begun with it
        if counters[layout.FINISHED]:
            self._finish(slot, child.DONE)
            return
        record, done, dead_functions = bundle.resume
        progress = (counters[layout.DONE], len(dead_functions))
        stage = counters[layout.STAGE]
        counters[layout.STAGE] = layout.OUTSIDE
        # A call that was running is done with: given back now, it would run twice.
        bundle.stalled = bundle.stalled + 1 if progress == bundle.progress and stage != layout.RUNNING else 0
        bundle.progress = progress
        if bundle.stalled == _MAX_STALLED:
            self._finish(slot, child.NO_FRAME)
            return
        if stage == layout.OUTSIDE:
            return
        tail = log_tail(slot.log_path, counters[layout.LOG_START])
        payload = pack_death(code if code >= 0 else None, -code if code < 0 else None, tail)
        if stage == layout.RUNNING:
            bundle.resume = Resume((STATUS_DIED, payload), slot.memory.published(), dead_functions)
        else:
            bundle.resume = Resume(record, done, {**dead_functions, stage - layout.LOADING: payload})


def _say(text: str) -> None:
    try:
        print(f"vinefast: {text}", flush=True)
    except OSError:
        pass  # a full disk must not end the library


def _told(name: str) -> int:
    """What TaskVine says of the worker; 0 if it says nothing, or a user's variable has the same name."""
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else 0
