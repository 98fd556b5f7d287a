"""What may come of bundles, given what was done to their library: as little as is true."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.library.encode import Record, ResultFrame
from vinefast.library.protocol import EXIT_NO_ROOM, OUTPUT_OF_CALL, STATUS_TIMED_OUT, STATUS_TOO_LARGE

from .plans import BundlePlan, Plan, died, raised

# A process that was killed may be that of a bundle which has come a moment later.
_SLACK_S = 0.3
# So many deaths of its processes in a row, without a step forward, and a bundle is given up.
_DEATHS_OF_GIVEN_UP = 4


class Wrong(AssertionError):
    """What came is not what may come."""


@dataclass
class Fault:
    """Something that was done to the library; it has not been mended while `end` is infinite."""

    kind: str
    begin: float
    end: float = float("inf")


@dataclass
class Sent:
    """A bundle that was sent and has not been answered.

    Attributes
    ----------
    numbers:
        Of its calls.
    stopped:
        Indices of those that were to end.
    """

    plan: BundlePlan
    numbers: list[int]
    sent_at: float = field(default_factory=time.monotonic)
    stopped: set[int] = field(default_factory=set)

    def endless(self) -> set[int]:
        """Give the indices of calls that end only if they are made to, which nobody has asked them for."""
        bounded = self.plan.limit_ms > 0
        plans = [(index, each) for index, each in enumerate(self.plan.plans) if index not in self.stopped]
        return {index for index, each in plans if each.is_endless and not (bounded or each.kind == "take_memory")}


@dataclass
class Model:
    """All that was sent, and all that was done.

    Attributes
    ----------
    trace:
        Where each call notes its number when it begins.
    strays:
        How many calls have left something that strikes another one: by what that one ends as.
    struck:
        How many calls were struck, likewise.
    """

    trace: Path
    faults: list[Fault] = field(default_factory=list)
    strays: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    def begin(self, kind: str) -> Fault:
        """A fault begins."""
        self.faults.append(Fault(kind, time.monotonic()))
        return self.faults[-1]

    def met_by(self, sent: Sent, *kinds: str) -> int:
        """Give how many faults a bundle that is being answered has lived through."""
        return sum(fault.kind in kinds and fault.end >= sent.sent_at - _SLACK_S for fault in self.faults)

    def ran(self) -> Counter[int]:
        """Give how often each call has begun."""
        return Counter(map(int, self.trace.read_text().split()))

    def check_once(self) -> None:
        """Check that no call has begun twice."""
        twice = [number for number, n in self.ran().items() if n > 1]
        _require(not twice, f"calls {twice} have run more than once")

    def judge_failed(self, sent: Sent, exit_code: int) -> None:
        """A bundle, or a command, has come back without a result frame."""
        self.outcomes[f"without a frame: {exit_code}"] += 1
        if exit_code == EXIT_NO_ROOM:
            _require(self.met_by(sent, "full disk"), f"no room for {sent}, while there was some")
        elif not sent.numbers and self.met_by(sent, "no descriptors"):
            return
        else:
            deaths = self.met_by(sent, "slot killed") + self.strays["end_later"] + self.strays["throw_later"]
            _require(exit_code == 1 and deaths >= _DEATHS_OF_GIVEN_UP, f"exit code {exit_code} of {sent}")

    def judge(self, sent: Sent, result: ResultFrame) -> BundlePlan | None:
        """Check a bundle that has come back; gives what of it was not run, and is to be sent again."""
        ran, n = self.ran(), len(result.records)
        _require(n <= len(sent.numbers), f"{n} records for {sent}")
        for number in sent.numbers[n:]:
            _require(not ran[number], f"call {number} has run, and was handed back: {sent}")
        unexplained: dict[str, set[int]] = defaultdict(set)
        for index, record in enumerate(result.records):
            number = sent.numbers[index]
            why = self._why(sent, index, record)
            self.outcomes[why] += 1
            if why == "own":
                _require(ran[number] == 1, f"call {number} has run {ran[number]} times: {sent}")
            elif why not in ("stopped", "limited", "no room"):
                unexplained[why].add(index)
        for why, indices in unexplained.items():
            self._charge(sent, why, indices, n)
        _check_output(sent, result)
        if n == len(sent.numbers):
            return None
        is_cut = not n or sent.plan.slice_ms or result.records[-1].status == STATUS_TOO_LARGE
        _require(is_cut, f"{n} records for no reason: {sent}")
        return sent.plan._replace(plans=sent.plan.plans[n:])

    def _why(self, sent: Sent, index: int, record: Record) -> str:
        """Give why a call may have ended so."""
        plan, number, bundle = sent.plan.plans[index], sent.numbers[index], sent.plan
        if plan.is_right(record, number):
            return "own"
        if index in sent.stopped and (raised(record, "CallStopped") or died(record, None, 9)):
            return "stopped"
        if record.status == STATUS_TIMED_OUT and bundle.limit_ms and record.duration_ns >= bundle.limit_ms * 1_000_000:
            return "limited"
        if plan.kind == "take_memory" and died(record, None, 9) and record.value[3]:
            if record.value[3][0] == bundle.memory_mb << 20:
                return "limited"
        if record.status == STATUS_TOO_LARGE and self.met_by(sent, "full disk"):
            return "no room"
        if raised(record, "TimeoutError"):
            return "throw_later"
        if died(record, 3, None):
            return "end_later"
        if died(record, None, 9):
            return "slot killed"
        said = record.value if record.status else None
        raise Wrong(f"call {number}, {plan}, has ended with status {record.status}: {said!r:.3000}\nin {sent}")

    def _charge(self, sent: Sent, why: str, indices: set[int], n_records: int) -> None:
        """Check that these calls were struck by what was there to strike, and by none of it twice."""
        cost = _strokes(sent.plan.plans[:n_records], indices)
        self.struck[why] += cost
        if why == "slot killed":
            _require(cost <= self.met_by(sent, why), f"{indices} have died, but were not killed: {sent}")
            there = self.met_by(Sent(sent.plan, [], 0.0), why)
        else:
            there = self.strays[why]
        n_struck = self.struck[why]
        _require(n_struck <= there, f"{n_struck} calls were struck by {there} ({why}): {indices} of {sent}")


def _strokes(plans: list[Plan], indices: set[int]) -> int:
    """Give how many strokes it takes at least to strike these calls.

    One strikes a call, or a function while it is loaded, and so all calls of that which have not ended by then.
    """
    strokes = 0
    by_function = defaultdict(set)
    for index in indices:
        by_function[plans[index].kind].add(index)
    for kind, struck in by_function.items():
        later = {index for index, plan in enumerate(plans) if plan.kind == kind and index >= min(struck)}
        strokes += 1 if later == struck else len(struck)
    return strokes


def _check_output(sent: Sent, result: ResultFrame) -> None:
    """Check that what comes back as the output of a call is not what another one has printed."""
    if result.output is None:
        return
    for kind, number, _, text in result.pieces():
        if kind == OUTPUT_OF_CALL:
            _require(number in sent.numbers, f"output of call {number} with {sent}")
            said = [line.split()[1] for line in text.splitlines() if line.startswith(b"call ")]
            _require({*said} <= {b"%d" % number}, f"as the output of call {number} came that of {said[:3]}: {sent}")


def _require(condition: object, what: str) -> None:
    if not condition:
        raise Wrong(what)


def descriptors_of(pid: int) -> int:
    """Give how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
