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

from . import memory as layout
from . import parsl_side, slot
from .context import Contexts
from .failure import pack_death, pack_exception
from .frame import Origin, split_message
from .keeper import Keeper
from .memory import SlotMemory, hand_back, shared_number
from .nursery import Nursery, NurseryGone, legacy
from .process import adopt_orphans, descendants_of, end_group, has_ended, kill_group, log_tail, reap_others
from .protocol import STATUS_DIED, VINEFAST_VERSIONS
from .run import Resume
from .transfers import TransferWatch
from .worker_link import WorkerGone, WorkerLink

_FIRST_RESPAWN_S = 0.01
_LAST_RESPAWN_S = 2.0
# A bundle that waits longer for a slot is handed back, for another worker may have one. As long as VF_LONG_NS.
_PATIENCE_S = 0.1
# When to ask again which bundle a child had taken that died before it could say so.
_ASK_AGAIN_S = 0.05
# A child whose channel has ended may go on with its call, but once it has no call it ends itself.
_MUTE_S = 3.0
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
    keeper:
        Told of every child's process group.
    transfers:
        The worker's, looked at when it is time.
    n_slots:
        Children to keep. The worker may send more bundles than that; they wait here.
    cores:
        Of the worker; what else it has, TaskVine says in the environment.
    """

    def __init__(self, link: WorkerLink, keeper: Keeper, transfers: TransferWatch, n_slots: int, cores: int) -> None:
        self._link = link
        self._keeper = keeper
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
        self._queue_out = slot.Queue(queue_out, shared_number())
        self._queued: dict[int, Bundle] = {}
        # Those that were found to be in the queue no more: a child has taken them and will say so, unless it has died.
        self._taken: dict[int, Bundle] = {}
        self._find_lost_at: float | None = None
        self._waiting: deque[Bundle] = deque()
        self._n_bundles = 0
        self._childless: set[Slot] = set()
        # Their children live, but their channels have ended.
        self._mute: set[Slot] = set()
        # Children come from there if there is a context for all slots. Unborn: our ends of the channels of those due.
        self._adopts = adopt_orphans()
        self._has_nursery = self._adopts and Nursery.wanted()
        self._nursery: Nursery | None = None
        self._unborn: dict[int, socket.socket] = {}
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
            for each in reversed(self._slots):
                self._spawn(each)
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
        # The keeper does the rest, with time: for what the children have started, children die with us; and for what a
        # worker that is no more has left.
        self._keeper.tell(descendants_of(self._pid))
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
        for each in self._slots:
            if each.pid:
                self._reap(each)
        if self._nursery is not None and has_ended(self._nursery.pid):
            self._on_nursery(ended=True)
        # One that we do not know may be a slot's, of which we shall hear.
        if self._adopts and not self._unborn:
            own = {each.pid for each in self._slots}
            reap_others(own if self._nursery is None else own | {self._nursery.pid})

    # Time

    def _timeout_s(self) -> float | None:
        moments = [each.spawn_at for each in self._childless]
        for bundle in self._oldest_waiting():
            moments.append(bundle.received_ns * 1e-9 + _PATIENCE_S)
        moments += [each.look_at for each in (self._link, self._transfers) if each.look_at is not None]
        moments += [each.kill_at for each in self._mute]
        if self._find_lost_at is not None:
            moments.append(self._find_lost_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _on_time(self) -> None:
        now = time.monotonic()
        if self._link.look_at is not None and now >= self._link.look_at:
            self._link.heal(now)
        if self._transfers.look_at is not None and now >= self._transfers.look_at:
            self._transfers.look(now)
        for each in [each for each in self._childless if now >= each.spawn_at]:
            self._spawn(each)
        if any(now >= bundle.received_ns * 1e-9 + _PATIENCE_S for bundle in self._oldest_waiting()):
            self._hand_back_overdue(now)
        if self._find_lost_at is not None and now >= self._find_lost_at:
            self._find_lost()
        for each in [each for each in self._mute if now >= each.kill_at]:
            self._end_mute(each, now)

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
        return slot.REQUEST.pack(len(bundle.message), bundle.serial, bundle.received_ns) + bundle.message

    def _hand_over(self, each: Slot, bundle: Bundle) -> None:
        each.bundle = bundle
        each.outgoing = memoryview(self._request(bundle))
        self._push(each)

    def _enqueue(self, bundle: Bundle) -> None:
        request = self._request(bundle)
        try:
            if len(request) <= slot.QUEUED_MAX_NBYTES:
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
            return slot.REQUEST.unpack(self._queue_out.socket.recv(slot.REQUEST.size, socket.MSG_DONTWAIT))[1]
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
        if len(self._unborn) == len(self._slots):
            return  # the nursery is loading; where slots load, what they load it for waits as well
        yield from islice(self._queued.values(), 1)
        yield from islice(self._waiting, 1)

    def _hand_back_overdue(self, now: float) -> None:
        for bundle in self._dequeue_all():
            if now >= bundle.received_ns * 1e-9 + _PATIENCE_S:
                self._hand_back(bundle, now)
            else:
                self._place(bundle)

    def _find_lost(self) -> None:
        """Queue again what a child took that died before it could say so."""
        bundles = self._dequeue_all()
        if any(each.pid and each.memory.counters[layout.TAKING] for each in self._slots):
            # It may have what we miss; it may also be suspended, for as long as it likes.
            self._find_lost_at = time.monotonic() + _ASK_AGAIN_S
        else:
            self._find_lost_at = None
            for each in self._slots:
                while each.channel is not None and self._read_answer(each):
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

    def _origin(self, each: Slot) -> Origin:
        return Origin(each.index, self._pid, len(self._slots), *self._resources)

    def _push(self, each: Slot) -> None:
        assert each.channel is not None and each.outgoing is not None
        try:
            sent = each.channel.send(each.outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            # It just died; its exit will be heard of, and the bundle given to the next child.
            sent = len(each.outgoing)
        rest = each.outgoing[sent:]
        each.outgoing = rest if rest else None
        if each.listens_for_room != bool(rest):
            each.listens_for_room = bool(rest)
            also = selectors.EVENT_WRITE if rest else 0
            self._selector.modify(each.channel, selectors.EVENT_READ | also, each)

    def _on_channel(self, each: Slot, events: int) -> None:
        if each.channel is None:
            return
        if events & selectors.EVENT_READ:
            self._read_answer(each)
        if events & selectors.EVENT_WRITE and each.outgoing is not None:
            self._push(each)

    def _read_answer(self, each: Slot) -> bool:
        assert each.channel is not None
        try:
            answer = each.channel.recv(slot.ANSWER.size)
            while answer and not self._is_answer(answer):
                # A call has written to descriptors that it does not own; an answer may follow.
                more = each.channel.recv(1)
                answer = (answer + more)[-slot.ANSWER.size :] if more else b""
        except BlockingIOError:
            return False
        except OSError:
            answer = b""
        if not answer:
            # The child is dying, or a call closed descriptors that it does not own; its exit tells.
            self._close_channel(each)
            if each.pid:
                each.kill_at = time.monotonic() + _MUTE_S
                self._mute.add(each)
            return False
        outcome, taken = slot.ANSWER.unpack(answer)
        self._finish(each, outcome)
        if taken != slot.NOTHING:
            each.bundle = self._queued.pop(taken, None) or self._taken.pop(taken, None)
            self._tell_length()
            if each.bundle is None:
                _say(f"slot {each.index} has taken bundle {taken}, which has gone another way")
        elif each.pid:
            self._make_idle(each)
        return True

    def _is_answer(self, data: bytes) -> bool:
        if len(data) < slot.ANSWER.size:
            return False
        outcome, taken = slot.ANSWER.unpack(data)
        return outcome in slot.OUTCOMES and taken <= self._n_bundles

    def _finish(self, each: Slot, outcome: int) -> None:
        bundle, each.bundle = each.bundle, None
        if bundle is None:
            return
        each.respawn_s = _FIRST_RESPAWN_S
        if outcome == slot.NO_FRAME:
            _say(f"no result frame for task {bundle.task_id.decode()}, see {each.log_path}")
        self._link.report(bundle.task_id, outcome, time.monotonic())

    def _end_mute(self, each: Slot, now: float) -> None:
        each.kill_at = now + _MUTE_S
        if not each.is_busy():
            _say(f"the child of slot {each.index} is killed: its channel has ended, but it has not")
            kill_group(each.pid)

    def _make_idle(self, each: Slot) -> None:
        bundle = self._dequeue() if self._queued or self._waiting else None
        if bundle is not None:
            self._hand_over(each, bundle)
        else:
            self._idle.append(each)

    # Children

    def _spawn(self, each: Slot) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sys.stdout.flush()
        with theirs:
            try:
                if self._has_nursery:
                    self._open_nursery().ask(each.index, theirs)
                    self._unborn[each.index] = ours
                else:
                    self._welcome(each, self._fork(each, ours, theirs), ours)
            except OSError as error:
                ours.close()
                self._delay_spawn(each)
                _say(f"cannot fork a child for slot {each.index}: {error}")
                return
        self._childless.discard(each)

    def _fork(self, each: Slot, ours: socket.socket, theirs: socket.socket) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                self._let_go()
            except BaseException:
                os._exit(1)
            self._be_slot(each.index, theirs, self._unfinished(each))
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # it was faster
        return pid

    def _welcome(self, each: Slot, pid: int, channel: socket.socket, greeting: bytes = b"") -> None:
        each.pid = pid
        each.channel = channel
        self._keeper.note(each.index, pid)
        self._selector.register(channel, selectors.EVENT_READ, each)
        if greeting:
            each.outgoing = memoryview(greeting)
            self._push(each)
        if each.bundle is None:
            self._make_idle(each)

    @staticmethod
    def _unfinished(each: Slot) -> slot.Unfinished | None:
        bundle = each.bundle
        return None if bundle is None else slot.Unfinished(bundle.message, bundle.received_ns, bundle.resume)

    def _be_slot(
        self, index: int, channel: socket.socket, unfinished: slot.Unfinished | None, contexts: Contexts | None = None
    ) -> NoReturn:
        each = self._slots[index]
        queue, log_path = self._queue_out, each.log_path
        slot.serve(self._origin(each), each.memory, channel, queue, log_path, self._home, unfinished, contexts)

    def _let_go(self) -> None:
        # In the child: what belongs to the supervisor alone.
        signal.set_wakeup_fd(-1)
        if self._nursery is not None:
            self._nursery.channel.close()
        for channel in self._unborn.values():
            channel.close()
        self._keeper.close()
        self._selector.close()
        for fd in (self._link.in_fd, self._link.out_fd):
            os.close(fd)
        for end in (self._wake_in, self._wake_out, self._queue_in):
            end.close()
        for each in self._slots:
            if each.channel is not None:
                each.channel.close()
        self._waiting.clear()
        self._queued.clear()
        self._taken.clear()

    # The nursery

    def _open_nursery(self) -> Nursery:
        if self._nursery is None:
            self._nursery = Nursery.start(self._origin(self._slots[0]), self._let_go, self._be_slot)
            self._keeper.note(len(self._slots), self._nursery.pid)
            self._selector.register(self._nursery.channel, selectors.EVENT_READ, self._on_nursery)
        return self._nursery

    def _on_nursery(self, ended: bool = False) -> None:
        nursery = self._nursery
        if nursery is None:
            return
        try:
            while (birth := nursery.hear()) is not None:
                self._on_birth(self._slots[birth[0]], birth[1])
        except NurseryGone:
            ended = True
        if ended:
            self._lose_nursery(nursery)

    def _on_birth(self, each: Slot, pid: int) -> None:
        channel = self._unborn.pop(each.index)
        if not pid:
            channel.close()
            self._delay_spawn(each)
            return
        self._welcome(each, pid, channel, legacy(self._unfinished(each)))
        self._reap(each)  # if it has died, the signal came before we knew it

    def _lose_nursery(self, nursery: Nursery) -> None:
        self._selector.unregister(nursery.channel)
        nursery.bury()
        self._nursery = None
        self._keeper.note(len(self._slots), 0)
        if nursery.loaded:
            _say(f"the nursery has ended, see {nursery.log_path}")
        else:
            # Then slots load it themselves, and calls that need it get to know what is wrong.
            self._has_nursery = False
            _say(f"the nursery cannot load the context, see {nursery.log_path}")
        unborn = [self._slots[index] for index in self._unborn]
        for channel in self._unborn.values():
            channel.close()
        self._unborn.clear()
        for each in unborn:
            self._spawn(each)

    def _delay_spawn(self, each: Slot) -> None:
        self._childless.add(each)
        each.spawn_at = time.monotonic() + each.respawn_s
        each.respawn_s = min(2 * each.respawn_s, _LAST_RESPAWN_S)

    def _close_channel(self, each: Slot) -> None:
        if each.channel is not None:
            self._selector.unregister(each.channel)
            each.channel.close()
            each.channel = None
            each.outgoing = None
            each.listens_for_room = False
        if each in self._idle:
            self._idle.remove(each)

    def _reap(self, each: Slot) -> None:
        # Looked at, but not yet taken: the process group's number cannot have passed to others when it is killed.
        if not has_ended(each.pid):
            return
        end_group(each.pid)
        _, status = os.waitpid(each.pid, 0)
        each.pid = 0
        self._mute.discard(each)
        self._keeper.note(each.index, 0)
        if each.channel is not None:
            # Answers may lie there that we did not come to read.
            while each.channel is not None and self._read_answer(each):
                pass
            self._close_channel(each)
        if each.memory.counters[layout.TAKING]:
            each.memory.counters[layout.TAKING] = 0
            self._find_lost()
        code = os.waitstatus_to_exitcode(status)
        if each.bundle is not None:
            self._note_death(each, each.bundle, code)
        if each.bundle is not None:
            self._spawn(each)
            return
        _say(f"idle child of slot {each.index} ended with {code}")
        self._delay_spawn(each)

    def _note_death(self, each: Slot, bundle: Bundle, code: int) -> None:
        counters = each.memory.counters
        if counters[layout.SERIAL] != bundle.serial:
            each.memory.reset(bundle.serial)  # it had not begun with it
        if counters[layout.FINISHED]:
            self._finish(each, slot.DONE)
            return
        record, done, dead_functions = bundle.resume
        progress = (counters[layout.DONE], len(dead_functions))
        stage = counters[layout.STAGE]
        counters[layout.STAGE] = layout.OUTSIDE
        # A call that was running is done with: given back now, it would run twice.
        bundle.stalled = bundle.stalled + 1 if progress == bundle.progress and stage != layout.RUNNING else 0
        bundle.progress = progress
        if bundle.stalled == _MAX_STALLED:
            self._finish(each, slot.NO_FRAME)
            return
        if stage == layout.OUTSIDE:
            return
        tail = log_tail(each.log_path, counters[layout.LOG_START])
        payload = pack_death(code if code >= 0 else None, -code if code < 0 else None, tail)
        if stage == layout.RUNNING:
            bundle.resume = Resume((STATUS_DIED, payload), each.memory.published(), dead_functions)
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
