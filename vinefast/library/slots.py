"""The slots of a library: their children, and the bundles that these are at."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from . import blame, child, stack, stops
from . import memory as layout
from .asked_stacks import AskedStacks
from .context import Contexts
from .early_stops import EarlyStops
from .fork_server import ForkServer, ForkServerGone, handover
from .frame import Origin
from .grace import Grace
from .janitor import Janitor
from .log_file import LogWatch, mark
from .memory_limit import MemoryLimits, split_limit
from .out_of_memory import Cause, OomKills
from .process import adopt_orphans, end_group, flush_output, has_ended, kill_group, reap_others, say
from .slot import FIRST_RESPAWN_S, Slot
from .stopping import Stopping
from .time_limit import TimeLimits
from .waiting import Bundle, WaitingBundles
from .worker_link import WorkerLink

_LAST_RESPAWN_S = 2.0
# So many fork servers in a row may end before they have forked a child: chance, or what their context does to them.
_MAX_BARREN = 3
# A child whose channel has ended may go on with its call, but once it has no call it ends itself.
_DISCONNECTED_S = 3.0


class Slots:
    """All slots.

    Parameters
    ----------
    n_slots:
        How many.
    resources:
        Of the worker: cores, memory and disk in MB, GPUs.
    link:
        Where bundles that are done are reported.
    janitor:
        Told of every child's process group.
    selector:
        Watches the channels; a slot's has the slot as its data, and calls for `on_channel`.
    let_go:
        Called in every new child: closes what is the supervisor's.
    answer_stack:
        Called with a command that has asked for a stack, and the stack.

    Attributes
    ----------
    waiting:
        Bundles for which no slot is free.
    """

    def __init__(
        self,
        n_slots: int,
        resources: tuple[int, ...],
        link: WorkerLink,
        janitor: Janitor,
        selector: selectors.BaseSelector,
        let_go: Callable[[], None],
        answer_stack: Callable[[Bundle, str | None], None],
    ) -> None:
        self._resources = resources
        self._link = link
        self._janitor = janitor
        self._selector = selector
        self._let_go_of_supervisor = let_go
        self._home = os.getcwd()
        self._pid = os.getpid()
        self._slots = [Slot(index) for index in range(n_slots)]
        # The slot used last is the warmest: with little to do, few slots load many functions.
        self._idle: list[Slot] = []
        self.waiting: WaitingBundles = WaitingBundles()
        self._stopping = Stopping(self._home)
        self._time_limits = TimeLimits()
        self._asked_stacks = AskedStacks(self._home, answer_stack)
        self._limits = MemoryLimits()
        self._oom_kills = OomKills()
        self._early_stops = EarlyStops()
        self._n_bundles = 0
        self._childless: set[Slot] = set()
        # Children that others have replaced: their time to end.
        self._leaving: dict[int, Grace] = {}
        self._n_replaced = 0
        # Their children live, but the channels to them have ended: the time that such a child has.
        self._disconnected: dict[Slot, Grace] = {}
        # Children come from there if there is a context for all slots. Requested, and not there yet: by slot, our ends
        # of their channels.
        self._adopts = adopt_orphans()
        self._uses_fork_server = self._adopts and ForkServer.wanted()
        self._fork_server: ForkServer | None = None
        # How many in a row have loaded the context and ended before they had forked a child.
        self._n_barren = 0
        self._requested: dict[int, socket.socket] = {}

    def start(self) -> None:
        """Fork the children."""
        for number in (stops.SIGNAL, stack.SIGNAL):
            signal.signal(number, signal.SIG_IGN)  # so that none ends by it before it listens
        for slot in reversed(self._slots):
            self._spawn(slot)

    def origin(self, index: int) -> Origin:
        """Say who makes a slot's result frames."""
        return Origin(index, self._pid, len(self._slots), *self._resources)

    def log_watch(self) -> LogWatch:
        """Give what sees to it that their logs stay short."""
        return LogWatch([(slot.log, slot.memory) for slot in self._slots])

    # Time

    def moments(self) -> list[float]:
        """When something is to be done by `spawn_due` or a method after it."""
        return [
            *(slot.spawn_at for slot in self._childless),
            *(grace.look_at for grace in self._disconnected.values()),
            *(grace.look_at for grace in self._leaving.values()),
            *self._stopping.moments(),
            *self._time_limits.moments(),
            *self._asked_stacks.moments(),
            *self._limits.moments(),
        ]

    def spawn_due(self, now: float) -> None:
        """Try once more to fork children that could not be had."""
        for slot in [slot for slot in self._childless if now >= slot.spawn_at]:
            self._spawn(slot)

    def end_disconnected(self, now: float) -> None:
        """End children whose channels have ended, if they have no call."""
        for slot in [slot for slot, grace in self._disconnected.items() if grace.look(now)]:
            self._disconnected[slot] = Grace(_DISCONNECTED_S, now)
            self._end_disconnected(slot)
        for pid in [pid for pid, grace in self._leaving.items() if grace.look(now)]:
            self._leaving[pid] = Grace(_DISCONNECTED_S, now)
            kill_group(pid)

    def end_stopped(self, now: float) -> None:
        """End calls that were asked to end and have not, or that have run for too long."""
        self._stopping.look(now)
        self._time_limits.look(now)

    def answer_stacks(self, now: float) -> None:
        """Answer commands that ask where calls are."""
        self._asked_stacks.look(now)

    def end_exceeding(self, now: float) -> None:
        """End calls that take more memory than they may."""
        self._limits.look(now)

    def are_loading(self) -> bool:
        """Whether the fork server has no children yet. Where slots load, what they load it for waits as well."""
        return len(self._requested) == len(self._slots)

    # Bundles

    def accept(self, task_id: bytes, message: bytes, received_ns: int) -> None:
        """Take a bundle that the worker has sent.

        Raises
        ------
        FrameError
            If it is none.
        """
        memory_limit, message = split_limit(message)
        self._n_bundles += 1
        self._oom_kills.refresh(received_ns * 1e-9)
        bundle = Bundle(self._n_bundles, task_id, message, received_ns, memory_limit)
        bundle.stopped |= self._early_stops.take(task_id, received_ns * 1e-9)
        self.place(bundle)

    def place(self, bundle: Bundle) -> None:
        """Give a bundle to an idle slot, or let it wait."""
        if self._idle:
            self._hand_over(self._idle.pop(), bundle)
        else:
            self.waiting.put(bundle)

    def wait_on(self, bundle: Bundle, now: float) -> None:
        """Let a bundle wait that cannot be handed back now."""
        bundle.wait_from(now)
        self.place(bundle)

    def stop(self, stops: dict[bytes, set[int]], now: float) -> None:
        """End calls, given by the task ids of their bundles.

        Bundles that are not here have been, or are to come: their worker may still wait for a file.
        """
        for slot in self._slots:
            if slot.bundle is not None and slot.bundle.task_id in stops:
                slot.bundle.stopped |= stops.pop(slot.bundle.task_id)
                self._stopping.begin(slot, now)
        for bundle in self.waiting.all():
            bundle.stopped |= stops.pop(bundle.task_id, set())
        for task_id, indices in stops.items():
            self._early_stops.add(task_id, indices, now)

    def ask_stack(self, command: Bundle, calls: dict[bytes, set[int]], now: float) -> None:
        """Have a command answered that asks where a call is, given by the task id of its bundle."""
        task_id, indices = calls.popitem()
        slots = [slot for slot in self._slots if slot.bundle is not None and slot.bundle.task_id == task_id]
        self._asked_stacks.begin(command, slots[0] if slots else None, indices.pop(), now)

    def _hand_over(self, slot: Slot, bundle: Bundle) -> None:
        self._give(slot, bundle)
        slot.outgoing = memoryview(bundle.request())
        self._push(slot)

    def _give(self, slot: Slot, bundle: Bundle) -> None:
        slot.bundle = bundle
        if bundle.stopped:
            self._stopping.begin(slot, time.monotonic())
        if bundle.memory_limit:
            self._limits.begin(slot, time.monotonic())

    def find_lost(self) -> None:
        """Queue again what a child took that died before it could say so."""
        bundles = self.waiting.take_all_back()
        if any(slot.pid and slot.memory.counters[layout.TAKING] for slot in self._slots):
            # It may have what we miss; it may also be suspended, for as long as it likes.
            self.waiting.ask_again()
        else:
            self.waiting.find_lost_at = None
            for slot in self._slots:
                while slot.channel is not None and self._read_answer(slot):
                    pass
            bundles = [*self.waiting.take_lost(), *bundles]
        for bundle in bundles:
            self.place(bundle)

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

    def on_channel(self, slot: Slot, events: int) -> None:
        """Read from and write to a slot's channel."""
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
                self._disconnected[slot] = Grace(_DISCONNECTED_S, time.monotonic())
            return False
        outcome, taken = child.ANSWER.unpack(answer)
        if outcome == child.TIMED:
            self._time_limits.begin(slot, taken)
            return True
        self._finish(slot, outcome)
        if taken == child.LEAVES:
            self._replace(slot)
        elif taken != child.NOTHING:
            bundle = self.waiting.claim(taken)
            if bundle is not None:
                self._give(slot, bundle)
            else:
                say(f"slot {slot.index} has taken bundle {taken}, which has gone another way")
        elif slot.pid:
            self._make_idle(slot)
        return True

    def _is_answer(self, data: bytes) -> bool:
        if len(data) < child.ANSWER.size:
            return False
        outcome, taken = child.ANSWER.unpack(data)
        return outcome in child.OUTCOMES and (taken <= self._n_bundles or taken == child.LEAVES)

    def _finish(self, slot: Slot, outcome: int) -> None:
        bundle, slot.bundle = slot.bundle, None
        if bundle is None:
            return
        slot.respawn_s = FIRST_RESPAWN_S
        if outcome == child.NO_FRAME:
            say(f"no result frame for task {bundle.task_id.decode(errors='replace')}, see {slot.log.path}")
        self._link.report(bundle.task_id, outcome, time.monotonic())

    def _end_disconnected(self, slot: Slot) -> None:
        if not slot.is_busy():
            say(f"the child of slot {slot.index} is killed: its channel has ended, but it has not")
            kill_group(slot.pid)

    def _replace(self, slot: Slot) -> None:
        """Fork another child for one that leaves between two bundles. Nobody waits until that one has ended."""
        self._n_replaced += 1
        if self._n_replaced & (self._n_replaced - 1) == 0:  # each time that it has doubled
            say(f"{self._n_replaced} processes of slots have been replaced for their calls or their growth")
        if not slot.pid:
            slot.is_replaced = True  # it has ended already
            return
        self._leaving[slot.pid] = Grace(_DISCONNECTED_S, time.monotonic())
        slot.pid = 0
        self._janitor.note(slot.index, 0)
        self._close_channel(slot)
        self._spawn(slot)

    def _make_idle(self, slot: Slot) -> None:
        bundle = self.waiting.take_back() if self.waiting else None
        if bundle is not None:
            self._hand_over(slot, bundle)
        else:
            self._idle.append(slot)

    # Children

    def _spawn(self, slot: Slot) -> None:
        flush_output()
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    self._start_child(slot, ours, theirs)
                except OSError:
                    ours.close()
                    raise
        except OSError as error:
            self._delay_spawn(slot)
            say(f"cannot fork a child for slot {slot.index}: {error}")
            return
        self._childless.discard(slot)

    def _start_child(self, slot: Slot, ours: socket.socket, theirs: socket.socket) -> None:
        ours.setblocking(False)
        if self._uses_fork_server:
            self._open_fork_server().ask(slot.index, theirs)
            self._requested[slot.index] = ours
        else:
            self._welcome(slot, self._fork(slot, ours, theirs), ours)

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
        if slot.has_had_child:
            slot.memory.counters[layout.REPLACED] += 1
        slot.has_had_child = True
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
        return None if bundle is None else child.Unfinished(bundle.message, bundle.received_ns, bundle.history.resume)

    def _be_slot(
        self, index: int, channel: socket.socket, unfinished: child.Unfinished | None, contexts: Contexts | None = None
    ) -> NoReturn:
        slot = self._slots[index]
        for other in self._slots:
            if other is not slot:
                other.stack.close()
        queue, log = self.waiting.reader, slot.log
        shared = (slot.memory, slot.stops, slot.stack)
        child.serve(self.origin(index), *shared, channel, queue, log, self._home, unfinished, contexts)

    def _let_go(self) -> None:
        # In a child: what belongs to the supervisor alone.
        signal.set_wakeup_fd(-1)
        if self._fork_server is not None:
            self._fork_server.channel.close()
        for channel in self._requested.values():
            channel.close()
        self._janitor.close()
        self._selector.close()
        self._let_go_of_supervisor()
        self.waiting.let_go()
        for slot in self._slots:
            if slot.channel is not None:
                slot.channel.close()

    # The fork server

    def _open_fork_server(self) -> ForkServer:
        if self._fork_server is None:
            self._fork_server = ForkServer.start(self.origin(0), self._let_go, self._be_slot)
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
        self._reap_others()  # whose signals came while we did not know all of our own

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
        self._n_barren = 0 if fork_server.has_forked else self._n_barren + 1
        if fork_server.loaded and self._n_barren < _MAX_BARREN:
            say(f"the fork server has ended, see {fork_server.log.path}")
        else:
            # Then slots load it themselves, and calls that need it get to know what is wrong.
            self._uses_fork_server = False
            fails = "fork once it has loaded" if fork_server.loaded else "load"
            say(f"the fork server cannot {fails} the context, see {fork_server.log.path}")
        requested = [self._slots[index] for index in self._requested]
        for channel in self._requested.values():
            channel.close()
        self._requested.clear()
        for slot in requested:
            self._spawn(slot)

    # Ends

    def reap(self) -> None:
        """Take note of what has ended."""
        for slot in self._slots:
            if slot.pid:
                self._reap(slot)
        for pid in [pid for pid in self._leaving if has_ended(pid)]:
            end_group(pid)
            os.waitpid(pid, 0)
            del self._leaving[pid]
        if self._fork_server is not None and has_ended(self._fork_server.pid):
            self._on_fork_server(ended=True)
        self._reap_others()

    def _reap_others(self) -> None:
        # One that we do not know may be a slot's, of which we shall hear.
        if self._adopts and not self._requested:
            own = {slot.pid for slot in self._slots} | self._leaving.keys()
            reap_others(own if self._fork_server is None else own | {self._fork_server.pid})

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
        _, status, usage = os.wait4(slot.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        cause = self._cause_of(slot, code, usage.ru_maxrss * 1024)
        slot.pid = 0
        self._disconnected.pop(slot, None)
        self._janitor.note(slot.index, 0)
        if slot.channel is not None:
            # Answers may lie there that we did not come to read.
            while slot.channel is not None and self._read_answer(slot):
                pass
            self._close_channel(slot)
        if slot.memory.counters[layout.TAKING]:
            slot.memory.counters[layout.TAKING] = 0
            self.find_lost()
        timed_out, slot.timed_out = slot.timed_out, None
        if slot.bundle is not None:
            self._note_death(slot, slot.bundle, code, cause, timed_out)
        if slot.bundle is not None or slot.is_replaced:
            slot.is_replaced = False
            self._spawn(slot)
            return
        say(f"idle child of slot {slot.index} ended with {code}")
        self._delay_spawn(slot)

    def _cause_of(self, slot: Slot, code: int, peak: int) -> Cause | None:
        """Tell whether memory has cost a child its life; `peak` is the most that it had in its life."""
        cause, slot.cause = slot.cause, None
        if code != -signal.SIGKILL:
            return None
        # In any case, for the next one to be compared with.
        have_risen = self._oom_kills.have_risen()
        if cause is None and have_risen:
            cause = Cause(0, max(peak, self._limits.peak(slot)))
        return cause

    def _note_death(self, slot: Slot, bundle: Bundle, code: int, cause: Cause | None, timed_out: bytes | None) -> None:
        counters = slot.memory.counters
        counters[layout.DEATH_AT] = slot.memory.position(max(0, slot.log.nbytes()))
        counted = blame.Counted(
            counters[layout.SERIAL],
            bool(counters[layout.FINISHED]),
            counters[layout.DONE],
            slot.memory.published(),
            counters[layout.STAGE],
        )
        verdict = blame.judge(bundle.serial, counted, bundle.history)
        bundle.history = verdict.history
        if not verdict.begun:
            slot.memory.reset(bundle.serial)
        if verdict.fate is blame.Fate.FINISHED:
            self._finish(slot, child.DONE)
            return
        counters[layout.STAGE] = layout.OUTSIDE
        counters[layout.CALL_NS] = 0
        if verdict.fate is blame.Fate.GIVEN_UP:
            self._finish(slot, child.NO_FRAME)
        elif verdict.blamed != layout.OUTSIDE:
            tail = slot.log.tail(max(0, slot.memory.offset(counters[layout.LOG_START])))
            how = f"with status {code}" if code >= 0 else f"by signal {-code}"
            slot.log.append(mark(f"the process that wrote this has ended {how}, and another goes on"))
            bundle.history = verdict.history._replace(resume=verdict.resume(code, tail, cause, timed_out))
