"""Checks the records of an event log: a function of these alone.

What is kept is nine bytes a call, in pages, and the bundles that are with workers.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vinefast.errors import Cancelled
from vinefast.events import layout
from vinefast.events.findings import Findings
from vinefast.library import protocol

_CALL = struct.Struct("=QQIIIBBBB")
assert _CALL.size == layout.CALL.itemsize

# What is said of a call that has ended: it was, and may run again, without an end.
_ENDED, _REMADE = 1, 2

# One that no call can have been given since what was told before is damage; and so is one that no call can ever have.
_MOST_AHEAD = 1 << 26
_MOST_CALLS = 1 << protocol.LOSSES_SHIFT
# Calls of a page: numbers may begin late, where the beginning of a log is gone, and one that is damaged is anywhere.
_PAGE_BITS = 12
_IN_PAGE = (1 << _PAGE_BITS) - 1
# After a gap, what has ended may have been made again meanwhile.
_AFTER_A_GAP = bytes.maketrans(bytes([_ENDED]), bytes([_REMADE]))


class _Away(NamedTuple):
    """A bundle that is with a worker, or on its way there."""

    at_ns: int
    numbers: Sequence[int]
    worker: int


def audit(records: Iterable[tuple[int, memoryview]], is_cut: bool = False) -> Findings:
    """Check the records of an event log.

    Parameters
    ----------
    records : iterable of (int, memoryview)
        Kind and body of each, in their order, as `EventFile.records` gives them.
    is_cut : bool
        Whether there were records before.

    Returns
    -------
    Findings
        ``killed`` if the records have no end.
    """
    auditor = _Auditor(is_cut)
    take = auditor.take
    try:
        for kind, body in records:
            take(kind, body)
    except (struct.error, ValueError) as error:
        auditor.findings.unknown.append(f"the event log is damaged, and what comes behind cannot be read: {error}")
        auditor.is_blind = True
    except MemoryError:
        auditor.findings.unknown.append("the event log cannot be checked to its end for lack of memory")
        auditor.is_blind = True
    return auditor.finish()


class _Auditor:
    """What is known so far."""

    def __init__(self, is_cut: bool) -> None:
        self.findings = Findings()
        self.is_blind = is_cut  # not all records are there
        # By the call's number: which bundle has it, 0: none; and whether it has ended.
        self._pages: dict[int, tuple[array[int], bytearray]] = {}
        self._away: dict[int, _Away] = {}
        self._joined_ns: dict[int, int] = {}
        self._left_ns: dict[int, int] = {}
        self._names: list[str] = []
        self._counters: dict[str, int] = {}
        self._last_ns = 0
        self._n_calls = 0  # one more than the highest number
        self._n_missing = 0  # records
        self._n_unknown = 0
        self._counted = {"calls_returned": 0, "calls_lost": 0, "calls_remade": 0}
        if is_cut:
            self.findings.unknown.append("the log's beginning has made room for later records (events-nbytes)")

    def take(self, kind: int, body: memoryview) -> None:
        """Look at the next record."""
        if kind == layout.ENDED:
            self._take_ended(body)
        elif kind == layout.SENT:
            self._take_sent(body)
        elif kind == layout.LOST:
            self._take_lost(body)
        elif kind == layout.COUNTERS:
            self._take_counters(body)
        elif kind == layout.REMADE:
            self._take_remade(body)
        elif kind == layout.CACHED:
            at_ns, _, _, worker, _ = layout.CACHED_BODY.unpack_from(body)
            self._look_at_time(at_ns, "a file came to a worker")
            self._look_at_worker(worker, None, "a file came to")
        elif kind == layout.LEFT_OUT:
            self._take_gap(layout.LEFT_OUT_BODY.unpack_from(body)[0])
        elif kind in layout.NAMED:
            self._take_name(kind, body)
        elif kind not in layout.KINDS:
            self._n_unknown += 1

    def _look_at_number(self, number: int) -> None:
        if number >= self._n_calls:
            known = max(self._n_calls, self._counters.get("calls_taken", 0))
            if number >= (_MOST_CALLS if self.is_blind else min(known + _MOST_AHEAD, _MOST_CALLS)):
                raise ValueError(f"a call of number {number}")
            self._n_calls = number + 1

    def _page(self, number: int) -> tuple[array[int], bytearray]:
        """Give the page of a call: behind its number's last bits there, what is known of it."""
        page = self._pages.get(number >> _PAGE_BITS)
        if page is None:
            page = array("Q", bytes(8 << _PAGE_BITS)), bytearray(1 << _PAGE_BITS)
            self._pages[number >> _PAGE_BITS] = page
        return page

    def _look_at_time(self, at_ns: int, what: str, call: int | None = None) -> None:
        if at_ns < self._last_ns:
            text = f"{what} {(self._last_ns - at_ns) * 1e-9} s before what the log tells first"
            self.findings.add("times-forward", call, text)
        self._last_ns = max(self._last_ns, at_ns)

    def _look_at_worker(self, worker: int, call: int | None, what: str) -> None:
        if worker in self._left_ns:
            self.findings.add("worker-there", call, f"{what} worker {worker} after that had left")
        elif worker not in self._joined_ns and not self.is_blind:
            self.findings.add("worker-there", call, f"{what} worker {worker}, which has not come")

    def _take_sent(self, body: memoryview) -> None:
        at_ns, task, first, n_calls, _, worker, _ = layout.SENT_BODY.unpack_from(body)
        rest = body[layout.SENT_BODY.size :]
        numbers: Sequence[int] = array("Q", bytes(rest)) if len(rest) else range(first, first + n_calls)
        if not numbers:
            return
        self._look_at_number(max(numbers))
        self._look_at_time(at_ns, "was sent", first)
        self._look_at_worker(worker, first, "was sent to")
        pages = self._pages
        for number in numbers:
            bundle_of, ends = pages.get(number >> _PAGE_BITS) or self._page(number)
            place = number & _IN_PAGE
            if bundle_of[place] not in (0, task):
                text = f"was sent in bundle {task} while bundle {bundle_of[place]} had it"
                self.findings.add("one-bundle", number, text)
            if ends[place] == _ENDED:
                self.findings.add("not-after-end", number, f"was sent in bundle {task} after its end")
            bundle_of[place] = task
        self._away[task] = _Away(at_ns, numbers, worker)

    def _give_up(self, task: int, numbers: Sequence[int]) -> None:
        pages = self._pages
        for number in numbers:
            bundle_of, _ = pages.get(number >> _PAGE_BITS) or self._page(number)
            if bundle_of[number & _IN_PAGE] == task:
                bundle_of[number & _IN_PAGE] = 0

    def _take_ended(self, body: memoryview) -> None:
        sent_ns, returned_ns, task, _, _, _, worker, _, _, n_calls, _, _ = layout.ENDED_BODY.unpack_from(body)
        away = self._away.pop(task, None)
        began_ns = max(sent_ns, away.at_ns) if away is not None else sent_ns
        if returned_ns < began_ns:
            text = f"bundle {task} came back {(began_ns - returned_ns) * 1e-9} s before it was sent"
            self.findings.add("times-forward", None, text)
        has_results = False
        pages = self._pages
        for number, _, _, _, _, status, _, _, _ in _CALL.iter_unpack(body[layout.ENDED_BODY.size :]):
            if number >= self._n_calls:
                self._look_at_number(number)
            bundle_of, ends = pages.get(number >> _PAGE_BITS) or self._page(number)
            place = number & _IN_PAGE
            bundle = bundle_of[place]
            if status != protocol.STATUS_ENGINE:
                has_results = True
                if bundle != task and not (self.is_blind and away is None):
                    text = f"has a result of bundle {task}, which did not have it"
                    self.findings.add("result-of-bundle", number, text)
            if bundle not in (0, task):
                self.findings.add("one-bundle", number, f"ended in bundle {task} while bundle {bundle} had it")
            if ends[place]:
                self.findings.add("ends-once", number, f"ended once more, in bundle {task}")
            else:
                ends[place] = _ENDED
                self.findings.ended += 1
        self._counted["calls_returned"] += n_calls
        if away is not None:
            if has_results:
                self._look_at_origin(task, worker, away)
            self._give_up(task, away.numbers)

    def _look_at_origin(self, task: int, worker: int, away: _Away) -> None:
        # 0: it left after TaskVine had taken the result, and before we did.
        if worker != away.worker and (worker or away.worker not in self._left_ns):
            text = f"was in bundle {task}, which came back from worker {worker}, and was with worker {away.worker}"
            self.findings.add("result-of-bundle", away.numbers[0], text)
        elif worker in self._left_ns:
            self._look_at_worker(worker, away.numbers[0], "came back from")

    def _take_lost(self, body: memoryview) -> None:
        at_ns, task, _, result, n_calls, _ = layout.LOST_BODY.unpack_from(body)
        self._look_at_time(at_ns, f"bundle {task} was lost")
        numbers = array("Q", bytes(body[layout.LOST_BODY.size :]))
        if not numbers:
            return
        self._look_at_number(max(numbers))
        for number in numbers:
            bundle_of, ends = self._page(number)
            bundle = bundle_of[number & _IN_PAGE]
            if bundle not in (0, task):
                self.findings.add("one-bundle", number, f"was lost with bundle {task} while bundle {bundle} had it")
            if ends[number & _IN_PAGE] == _ENDED:
                self.findings.add("not-after-end", number, f"was lost with bundle {task} after its end")
        away = self._away.pop(task, None)
        self._give_up(task, away.numbers if away is not None else numbers)
        if result != Cancelled.code:  # those are taken back, and not lost
            self._counted["calls_lost"] += n_calls

    def _take_remade(self, body: memoryview) -> None:
        at_ns, number = layout.REMADE_BODY.unpack_from(body)
        self._look_at_number(number)
        self._look_at_time(at_ns, "was to run again", number)
        _, ends = self._page(number)
        if not ends[number & _IN_PAGE] and not self.is_blind:
            self.findings.add("not-after-end", number, "was to make what it had made again, and had not ended")
        ends[number & _IN_PAGE] = _REMADE
        self._counted["calls_remade"] += 1

    def _take_gap(self, n: int) -> None:
        self._n_missing += n
        self.is_blind = True
        for task, away in self._away.items():
            self._give_up(task, away.numbers)
        self._away.clear()
        for _, ends in self._pages.values():
            ends[:] = ends.translate(_AFTER_A_GAP)

    def _take_name(self, kind: int, body: memoryview) -> None:
        at_ns, number, _ = layout.NAME_BODY.unpack_from(body)
        if kind == layout.COUNTER_NAMES:
            self._names = layout.text_of(body).split()
        elif kind == layout.WORKER:
            self._joined_ns.setdefault(number, at_ns)
        elif kind == layout.WORKER_LEFT:
            if self._left_ns.get(number) == at_ns:
                return  # a log that could not be written for a while defines all anew
            self._look_at_worker(number, None, "it was told once more of")
            if at_ns < self._joined_ns.get(number, 0):
                self.findings.add("times-forward", None, f"worker {number} left before it came")
            self._left_ns[number] = at_ns
        elif kind == layout.STOPPED:
            self._look_at_time(at_ns, "the executor was shut down")
            self.findings.state = "ended"

    def _take_counters(self, body: memoryview) -> None:
        values = array("Q", bytes(body))
        if self._names and len(values) != 1 + len(self._names):
            raise ValueError(f"{len(values)} numbers for {len(self._names)} counters")
        self._look_at_time(values[0], "the counters were read")
        self._counters = dict(zip(self._names, values[1:], strict=False))
        if self.is_blind or not self._names:
            return
        for name, n in self._counted.items():
            if self._counters.get(name, n) != n:
                self.findings.add("counters-agree", None, f"{name} is {self._counters[name]}, and the log has {n}")
                self._counted[name] = self._counters[name]  # said once

    def finish(self) -> Findings:
        """Look at what there is in the end."""
        findings = self.findings
        if self._n_missing:
            findings.unknown.append(f"{self._n_missing:,} records are missing, for which there was no room")
        if self._n_unknown:
            findings.unknown.append(f"{self._n_unknown:,} records are of kinds that this vinefast does not know")
        taken = self._counters.get("calls_taken")
        findings.calls = max(self._n_calls, taken or 0)
        findings.unfinished = findings.calls - findings.ended
        if self.is_blind:
            findings.calls = findings.unfinished = 0
            return findings
        if findings.state != "ended":
            return findings
        if taken is None:
            if self._n_calls:
                findings.unknown.append("the log has no counters")
            return findings
        if self._n_calls > taken:
            text = f"calls_taken is {taken}, and the log has a call {self._n_calls - 1}"
            findings.add("counters-agree", None, text)
        n_away = sum(len(away.numbers) for away in self._away.values() if away.worker not in self._left_ns)
        n_waiting = self._counters.get("calls_waiting", 0)
        n_open = findings.unfinished + self._counted["calls_remade"]
        if n_away + n_waiting > n_open:
            text = f"{n_waiting} calls waited and {n_away} were with workers, and {n_open} had not ended"
            findings.add("counters-agree", None, text)
        return findings
