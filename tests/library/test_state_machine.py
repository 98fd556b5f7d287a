"""Random bundles, and random faults of all kinds, against a model of what may come of them.

All that is random comes from a seed: `make chaos SEED=1 SECONDS=600`, which are `VINEFAST_CHAOS_SEED` and
`VINEFAST_CHAOS_SECONDS` in the environment. What processes do meanwhile does not; so a seed that has failed once may
have to be tried several times.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.helpers.processes import MARK, is_alive, left_of
from tests.helpers.waiting import wait_until
from vinefast.calls.context import pack
from vinefast.library.context import FILE

from .chaos import faults
from .chaos.model import Model, Sent, Wrong, descriptors_of
from .chaos.plans import BUNDLES, BundlePlan, Plan, value_of
from .encode import decode_result, encode_command, encode_frame
from .worker import USER_MODULES, LibraryEnded, Worker

SHRINK = bool(os.environ.get("VINEFAST_CHAOS_SHRINK"))
SECONDS = float(os.environ.get("VINEFAST_CHAOS_SECONDS") or 0)
SEED = int(os.environ.get("VINEFAST_CHAOS_SEED") or random.SystemRandom().randrange(1 << 31))
_EXAMPLES_AT_ONCE = 10
# Who waits longer for a bundle, or for the end of a process, waits in vain.
_PATIENCE_S = 60.0
_MAX_PENDING = 24
# Runs after all faults, to see that the library goes on.
_LAST = BundlePlan([Plan("give")] * 3)

counted: Counter[str] = Counter()


class Library(RuleBasedStateMachine):
    """A library, its worker, and all that is done to both."""

    disk_nbytes = 0

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.worker: Worker | None = None

    # Its beginning and its end

    @initialize(
        slots=st.integers(1, 3),
        context=st.booleans(),
        max_calls=st.sampled_from([0, 0, 1, 5]),
        grace_s=st.sampled_from([0.1, 0.5]),
        jumps=st.booleans(),
        output=st.sampled_from(["", "kept", "sent"]),
        bundles=st.lists(BUNDLES, min_size=1, max_size=5),
        end=st.sampled_from(["pipe", "SIGTERM", "SIGKILL", "group"]),
        ends_early=st.booleans(),
    )
    def start(
        self,
        slots: int,
        context: bool,
        max_calls: int,
        grace_s: float,
        jumps: bool,
        output: str,
        bundles: list[BundlePlan],
        end: str,
        ends_early: bool,
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="vinefast-chaos-"))
        self.stack.callback(shutil.rmtree, directory, ignore_errors=True)
        self.scratch = directory / "scratch"
        self.scratch.mkdir()
        if self.disk_nbytes:
            self.stack.enter_context(faults.small_disk(self.scratch, self.disk_nbytes))
        self.model = Model(directory / "trace")
        self.model.trace.touch()
        self.mark = uuid.uuid4().hex
        modules = [str(USER_MODULES)]
        if jumps:
            (directory / "sitecustomize.py").write_text(faults.JUMPING_CLOCK)
            modules.insert(0, str(directory))
        variables = {
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join(modules),
            "PYTHONUNBUFFERED": "",
            "VINEFAST_STOP_GRACE_S": str(grace_s),
            "VINEFAST_SLOT_MAX_CALLS": str(max_calls),
        }
        if output:
            # What is printed is to be in a directory, bounded; if that is not there, it comes with results.
            kept = self.scratch / "output"
            variables |= {"VINEFAST_OUTPUT": str(kept), "VINEFAST_OUTPUT_NBYTES": "40000"}
            if output == "kept":
                kept.mkdir()
        files = {FILE: pickle.dumps(pack(dict), 5)} if context else {}
        self.worker = Worker(self.scratch, slots=slots, env=variables, files=files)
        self.stack.callback(self.worker.close)
        self.numbers = itertools.count(1)
        self.pending: dict[int, Sent] = {}
        self.commands: dict[int, Sent] = {}
        self.unsent: list[BundlePlan] = []
        self.suspended: set[int] = set()
        self.open_faults: list[tuple[str, object]] = []
        # Processes and shared memory that calls have left, and the process of the slot that they come from.
        self.left: list[tuple[int, int]] = []
        self.shared: list[str] = []
        self.end, self.ends_early = end, ends_early
        self.n_descriptors = 0
        self.pid = self.worker.process.pid
        self.send(bundles)

    def teardown(self) -> None:
        if self.worker is None:
            return
        has_failed = sys.exc_info()[0] is not None
        try:
            if not has_failed:
                if not self.ends_early:
                    self.settle()
                self._end(self.end)
                self.model.check_once()
            else:
                # Now: the same steps may do otherwise when they are tried again.
                sys.stderr.write(
                    f"\n{sys.exc_info()[1]!s:.5000}\nThe library has written: {self.worker.log()[-20_000:]}\n"
                )
        finally:
            faults.send_signal(faults.all_of(self.pid), signal.SIGCONT)
            if has_failed:
                faults.send_signal(faults.all_of(self.pid), signal.SIGKILL)
            self.stack.close()
            counted.update(self.model.outcomes)
            counted["examples"] += 1

    def _end(self, way: str) -> None:
        """The library ends, whatever it is at; nothing is left of it."""
        process = self.worker.process
        faults.send_signal([self.pid], signal.SIGCONT)
        if way == "pipe":
            self.worker.disconnect()
        elif way == "group":
            os.killpg(self.pid, signal.SIGKILL)
        else:
            process.send_signal(signal.Signals[way])
        try:
            exit_code = process.wait(_PATIENCE_S)
        finally:
            self.worker.disconnect()
        # As long as it imports its modules, SIGTERM has its usual effect.
        right = {"pipe": [0], "SIGTERM": [0, -signal.SIGTERM]}.get(way, [-signal.SIGKILL])
        if exit_code not in right:
            raise Wrong(f"the library has ended with {exit_code}")
        if left := left_of(self.mark, 20):
            raise Wrong(f"processes are left: {left}")
        if left := [pid for _, pid in self.left if is_alive(pid)]:
            raise Wrong(f"processes of calls are left: {left}")
        if not wait_until(lambda: not self._shared()):
            raise Wrong(f"shared memory is left: {self._shared()}")

    def _shared(self) -> list[str]:
        return [name for name in self.shared if Path("/dev/shm", name).exists()]

    # Bundles

    @rule(bundles=st.lists(BUNDLES, min_size=1, max_size=5))
    def send(self, bundles: list[BundlePlan]) -> None:
        """The worker sends bundles."""
        for bundle in bundles:
            self._send(bundle)

    def _send(self, bundle: BundlePlan) -> None:
        if len(self.pending) >= _MAX_PENDING:
            return
        numbers = [next(self.numbers) for _ in bundle.plans]
        calls = [plan.call(str(self.model.trace), number) for plan, number in zip(bundle.plans, numbers, strict=True)]
        frame = encode_frame(
            calls,
            bundle.slice_ms,
            limit_ms=bundle.limit_ms,
            first_number=numbers[0] if bundle.captures else None,
        )
        limit = b"M%d " % bundle.memory_mb if bundle.memory_mb else b""
        sent = Sent(bundle, numbers)
        for plan in bundle.plans:
            self.model.strays[plan.kind] += 1
        self.pending[self.worker.send_raw(limit + encode_command(frame))] = sent

    @rule(ms=st.integers(0, 300))
    def wait(self, ms: int) -> None:
        """Bundles come back; what of them has not run is sent once more."""
        end = time.monotonic() + ms / 1000
        while self._receive(max(0.0, end - time.monotonic())):
            pass
        unsent, self.unsent = self.unsent, []
        for bundle in unsent:
            self._send(bundle)

    def _receive(self, timeout_s: float) -> bool:
        """Take one answer; tells whether there was one in time."""
        if b"\n" not in self.worker._unread:
            ready, _, _ = select.select([self.worker.from_library], [], [], timeout_s)
            if not ready:
                return False
        task_id, exit_code = map(int, self.worker.read_message().split())
        output = self.worker.outputs.pop(task_id, None)
        sent = self.pending.pop(task_id, None) or self.commands.pop(task_id, None)
        if sent is None or output is None:
            raise Wrong(f"task {task_id} has been answered twice, or was never sent")
        if exit_code:
            self.model.judge_failed(sent, exit_code)
        elif sent.numbers:
            result = decode_result(output.read_bytes())
            self._note_left(result)
            if rest := self.model.judge(sent, result):
                self.unsent.append(rest)
        else:
            values = [record.value for record in decode_result(output.read_bytes()).records]
            if not all(value is None or isinstance(value, str) for value in values):
                raise Wrong(f"a command was answered by {values!r:.500}")
        shutil.rmtree(output.parent, ignore_errors=True)
        return True

    def _note_left(self, result) -> None:
        for record in result.records:
            value = value_of(record)
            if isinstance(value, tuple) and len(value) == 3:
                self.left.append(value[1:])
            elif isinstance(value, tuple):
                self.shared.append(value[1])

    @rule()
    def settle(self) -> None:
        """All faults are mended and all calls end: each bundle is answered, and all is as it was."""
        for kind, what in self.open_faults:
            self._mend(kind, what)
        self.open_faults.clear()
        self._resume()
        self._send(_LAST)
        end = time.monotonic() + _PATIENCE_S
        while self.pending or self.commands or self.unsent:
            for task_id, sent in self.pending.items():
                if endless := sent.endless():
                    self._stop(task_id, endless)
            # Not all at once: what finds no slot comes back again and again.
            while self.unsent and len(self.pending) < 4:
                self._send(self.unsent.pop())
            self._receive(1.0)
            if time.monotonic() > end:
                raise Wrong(f"no answer for {self.pending} {self.commands}")
        self._check_order()

    def _check_order(self) -> None:
        if self.worker.process.poll() is not None:
            raise LibraryEnded(self.worker.log())
        if not wait_until(lambda: not faults.zombies(self.pid)):
            raise Wrong(f"nobody waits for {faults.zombies(self.pid)}, {faults.describe(self.pid)}")
        # With those of a child that is about to come, there may be fewer.
        most = self.n_descriptors or 1 << 20
        if not wait_until(lambda: descriptors_of(self.pid) <= most):
            raise Wrong(f"{descriptors_of(self.pid)} descriptors, not {most}")
        if not wait_until(lambda: not self._outlived()):
            raise Wrong(f"outlive the process of their slot: {self._outlived()}")

    def _outlived(self) -> list[tuple[int, int]]:
        """What is in the group of a slot's process, and goes on though that one has ended."""
        found = []
        for slot_pid, pid in self.left:
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) == slot_pid and is_alive(pid) and not is_alive(slot_pid):
                    found.append((slot_pid, pid))
        return found

    # What the manager asks for

    def _pick(self, which: int) -> tuple[int, Sent] | None:
        tasks = [*self.pending.items()]
        return tasks[which % len(tasks)] if tasks else None

    @rule(which=st.integers(0, 20), indices=st.sets(st.integers(0, 9), min_size=1), is_stack=st.booleans())
    def ask(self, which: int, indices: set[int], is_stack: bool) -> None:
        """Calls of a bundle are to end, wherever they are; or somebody asks where one is."""
        if picked := self._pick(which):
            indices = {index % len(picked[1].numbers) for index in indices}
            if is_stack:
                self._command(b"T %d:%d" % (picked[0], min(indices)))
            else:
                self._stop(picked[0], indices)

    def _stop(self, task_id: int, indices: set[int]) -> None:
        self.pending[task_id].stopped |= indices
        self._command(b"S %d:%s" % (task_id, b",".join(b"%d" % index for index in sorted(indices))))

    def _command(self, command: bytes) -> None:
        self.commands[self.worker.send_raw(command)] = Sent(BundlePlan([]), [])

    # Faults

    @rule(which=st.integers(0, 2), name=st.sampled_from(["slot-", "slot-", "fork-server"]))
    def kill(self, which: int, name: str) -> None:
        """A slot's process, or the fork server, is killed."""
        if pids := faults.slots(self.pid, name):
            fault = self.model.begin("slot killed" if name == "slot-" else "fork server killed")
            faults.send_signal([pids[which % len(pids)]], signal.SIGKILL)
            fault.end = time.monotonic()

    @rule(which=st.integers(0, 2))
    def suspend(self, which: int) -> None:
        """A slot's process is suspended until further notice."""
        if pids := faults.slots(self.pid):
            pid = pids[which % len(pids)]
            self.suspended.add(pid)
            faults.suspend(pid)

    @rule(ms=st.integers(1, 1500))
    def suspend_all(self, ms: int) -> None:
        """All of a worker is suspended for a while, as batch systems do."""
        pids = faults.all_of(self.pid)
        faults.send_signal(pids, signal.SIGSTOP)
        time.sleep(ms / 1000)
        faults.send_signal([pid for pid in pids if pid not in self.suspended], signal.SIGCONT)

    @rule()
    def take_descriptors(self) -> None:
        """The supervisor gets no descriptor any more."""
        is_running = wait_until(lambda: faults.slots(self.pid) or faults.slots(self.pid, "fork-server"))
        if is_running and not any(kind == "no descriptors" for kind, _ in self.open_faults):
            self.open_faults.append(("no descriptors", self.model.begin("no descriptors")))
            faults.allow_descriptors(self.pid, 3)

    @rule()
    def mend(self) -> None:
        """What is suspended goes on, and what was taken last is given back."""
        self._resume()
        if self.open_faults:
            self._mend(*self.open_faults.pop())

    def _resume(self) -> None:
        faults.send_signal([*self.suspended], signal.SIGCONT)
        self.suspended.clear()

    def _mend(self, kind: str, fault) -> None:
        if kind == "no descriptors":
            faults.allow_descriptors(self.pid, None)
        else:
            (self.scratch / "ballast").unlink(missing_ok=True)
        # What has failed for it may come to nothing a little later.
        fault.end = time.monotonic() + 1


class LibraryOnASmallDisk(Library):
    """One that finds no room now and then."""

    disk_nbytes = 64 << 20

    @rule()
    def fill(self) -> None:
        """The disk is full."""
        if not any(kind == "full disk" for kind, _ in self.open_faults):
            self.open_faults.append(("full disk", self.model.begin("full disk")))
            faults.fill_disk(self.scratch)


@pytest.mark.skipif(not SECONDS, reason="make chaos runs this")
@pytest.mark.timeout(int(4 * SECONDS + 600))
@pytest.mark.parametrize("machine", [Library, LibraryOnASmallDisk])
def test_each_call_ends_as_it_may(machine):
    chosen = settings(
        max_examples=_EXAMPLES_AT_ONCE,
        stateful_step_count=30,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[*HealthCheck],
        # It takes minutes, and comes to nothing where a failure is rare.
        phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
    )
    end = time.monotonic() + SECONDS / 2
    with faults.own_mounts() as may_mount:
        if machine.disk_nbytes and not may_mount:
            pytest.skip("no disk can be mounted here, which takes root and mount namespaces")
        for number in itertools.count(SEED):
            seeded = seed(number)(type(machine.__name__, (machine,), {}))
            try:
                run_state_machine_as_test(seeded, settings=chosen)
            except BaseException:
                print(f"\nThis again: make chaos SEED={number} SECONDS=60")
                raise
            if time.monotonic() > end:
                break
    print(f"\n{machine.__name__}, seeds {SEED} to {number}: {dict(counted)}")
