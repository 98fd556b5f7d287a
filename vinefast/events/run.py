"""A run as its event log tells it: functions, workers, bundles, calls, failures, and counters over time."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vinefast.errors import EventLogError
from vinefast.events import layout
from vinefast.events.about import EVENTS, program_state
from vinefast.events.file import EventFile, open_log

# Functions, and workers, are counted from 1: a larger number is damage.
_MOST = 1 << 24
_BUNDLE = np.dtype(
    [
        ("sent_ns", "i8"),
        ("returned_ns", "i8"),
        ("task", "u8"),
        ("wait_ns", "i8"),
        ("run_ns", "i8"),
        ("dispatch_ns", "i8"),
        ("worker", "u4"),
        ("slot", "u4"),
        ("pid", "u4"),
        ("n_calls", "u4"),
        ("result", "u4"),
        ("n_sent", "u4"),
    ]
)


@dataclass
class Worker:
    """A worker of the run.

    Attributes
    ----------
    address : str
        Of its end of the connection.
    joined_ns, left_ns : int or None
        By the clock of the log; None: it has not left.
    node : dict
        What its library has told of its node.
    slots : int or None
        Calls that it can run at a time, if that library has told.
    """

    number: int
    address: str
    joined_ns: int
    left_ns: int | None = None
    node: dict[str, Any] = field(default_factory=dict)
    slots: int | None = None


@dataclass(frozen=True)
class Sent:
    """A bundle that is on its way, or with its worker; if that has left, it waits for another one.

    `numbers` are those of its calls; None: they follow each other from `first_call` on.
    """

    at_ns: int
    task: int
    first_call: int
    n_calls: int
    numbers: np.ndarray[Any, Any] | None
    function: int
    worker: int
    nbytes: int

    def has(self, number: int) -> bool:
        """Tell whether a call is in it."""
        if self.numbers is None:
            return self.first_call <= number < self.first_call + self.n_calls
        return bool((self.numbers == number).any())


@dataclass(frozen=True)
class Failure:
    """Why a call has no result."""

    number: int
    status: int
    nbytes: int
    payload: bytes

    def fields(self) -> tuple[Any, ...] | None:
        """Give what the payload says, if it is whole: a tuple of plain values; None: it is not."""
        try:
            found = _PlainUnpickler(io.BytesIO(self.payload)).load()
        except Exception:  # a cut payload may raise anything
            return None
        return found if isinstance(found, tuple) and all(map(_is_plain, found)) else None


_SCALARS = (str, bytes, int, float, type(None))
_OPCODES = (
    (pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.MEMOIZE, pickle.BINPUT, pickle.BINGET)
    + (pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BINFLOAT)
    + (pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1)
    + (pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.SHORT_BINBYTES, pickle.BINBYTES)
    + (pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
    + (pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS)
)


class _PlainUnpickler(pickle._Unpickler):
    """Makes values of built-in types, and runs no code of whoever has written a log.

    That of C would have room, in memory that it touches, for as many values as a damaged payload says.
    """

    dispatch = {opcode[0]: pickle._Unpickler.dispatch[opcode[0]] for opcode in _OPCODES}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(isinstance(each, _SCALARS) for each in value)
    return isinstance(value, _SCALARS)


@dataclass(frozen=True)
class Lost:
    """Calls that a bundle did not bring back."""

    at_ns: int
    task: int
    worker: int
    result: int
    numbers: np.ndarray[Any, Any]


class Run:
    """What is known of a run so far; `update` reads on.

    Parameters
    ----------
    directory : str
        Of an executor in a run directory, or the run directory if it has one executor.

    Attributes
    ----------
    about : dict
        What the program says of itself.
    functions : dict of int to str
    workers : dict of int to Worker
    away : dict of int to Sent
        Bundles that have not come back, by TaskVine's number of their task.
    failures : dict of int to Failure
        By the number of the call.
    losses : list of Lost
    lost_with_worker : dict of int to list of Sent
        Bundles whose worker left, so that TaskVine has sent them again, by the number of the task.
    n_left_out : int
        Records that are missing.
    n_unknown : int
        Records of kinds that are not known here: of a later vinefast, or damaged.
    is_cut : bool
        Whether there were files before those that are there: what is known is of the later part of the run.
    damage : str
        What is wrong in it, if that is so: what comes behind cannot be read.
    first_ns : int
        When the log begins, by its own clock.
    stopped_ns : int or None
        When the executor was shut down; None: it runs, or its program was killed.

    Raises
    ------
    EventLogError
        If there is no event log.
    """

    def __init__(self, directory: str) -> None:
        self.path: str = find(directory)
        self._file: EventFile | None = None
        self._begin()

    def _begin(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self.about: dict[str, Any] = {}
        self.functions: dict[int, str] = {}
        self.workers: dict[int, Worker] = {}
        self.away: dict[int, Sent] = {}
        self.failures: dict[int, Failure] = {}
        self.losses: list[Lost] = []
        self.lost_with_worker: dict[int, list[Sent]] = {}
        self.n_left_out: int = 0
        self.n_unknown: int = 0
        self.is_cut: bool = False
        self.damage: str = ""
        self.first_ns: int = 0
        self.stopped_ns: int | None = None
        self.wall_offset_ns: int = 0
        self._bundles: list[bytes] = []
        self._calls: list[bytes] = []
        self._samples: list[bytes] = []
        self._sample = np.dtype([("at_ns", "u8")])

    def update(self) -> bool:
        """Read what has been written meanwhile; tells whether there was something."""
        if self.damage:
            # What was seen may have been cut off meanwhile: half a record, for which there was no room on the disk.
            self._begin()
        found = self._file is not None and self._read(self._file)
        while self._file is None or not self._file.is_at(self.path):
            if self._file is not None:
                found |= self._read(self._file)  # the rest: by now nothing is added to it
            files = self._next_files()
            if not files:
                break
            for file in files:
                if self._file is not None:
                    self._leave(self._file)
                self._file = file
                found |= self._read(file)
        return found

    def _leave(self, file: EventFile) -> None:
        """Close a file that is followed by another one."""
        if file.behind and not self.damage:
            self.damage = f"{file.path} is damaged: {file.behind}"
        file.close()

    def _next_files(self) -> list[EventFile]:
        """Open what is to be read next: the newest file, and first the one before it, if that was not read."""
        files = open_log(self.path)
        last = self._file.head if self._file is not None else None
        if files and last is not None and files[-1].head != last and not files[-1].head.is_after(last):
            self._begin()  # another executor has begun in this directory
            last = None
        # One that is before the newest may be what another executor has left here.
        found = [
            file
            for file in files
            if (last is None or file.head.is_after(last)) and (file is files[-1] or files[-1].head.is_after(file.head))
        ]
        for file in files:
            if file not in found:
                file.close()
        if found and found[0].head.generation > (0 if last is None else last.generation + 1):
            self.is_cut = True
            self.away.clear()
        return found

    def _read(self, file: EventFile) -> bool:
        found = False
        take = self._take
        self.wall_offset_ns = file.head.wall_ns - file.head.monotonic_ns
        try:
            for kind, body in file.records():
                take(kind, body)
                found = True
        except (struct.error, ValueError) as error:
            self.damage = f"{file.path} is damaged: {error}"
        return found

    def _take(self, kind: int, body: memoryview) -> None:
        if kind == layout.ENDED:
            nbytes = layout.ENDED_BODY.size
            self._bundles.append(bytes(body[:nbytes]))
            self._calls.append(bytes(body[nbytes:]))
            self.away.pop(layout.ENDED_BODY.unpack_from(body)[2], None)
        elif kind == layout.SENT:
            at_ns, task, first_call, n_calls, *others = layout.SENT_BODY.unpack_from(body)
            rest = bytes(body[layout.SENT_BODY.size :])
            numbers = np.frombuffer(rest, "u8", n_calls) if rest else None
            sent = Sent(at_ns, task, first_call, n_calls, numbers, *others)
            if before := self.away.get(sent.task):
                self.lost_with_worker.setdefault(sent.task, []).append(before)
            self.away[sent.task] = sent
        elif kind == layout.COUNTERS:
            if len(body) == self._sample.itemsize:
                self._samples.append(bytes(body))
            elif names := (self._sample.names or ())[1:]:
                raise ValueError(f"{len(body)} bytes for {len(names)} counters and a time")
        elif kind == layout.FAILURE:
            number, status, nbytes = layout.FAILURE_BODY.unpack_from(body)
            self.failures[number] = Failure(number, status, nbytes, layout.payload_of(body))
        elif kind == layout.LOST:
            at_ns, task, worker, result, n_calls, _ = layout.LOST_BODY.unpack_from(body)
            numbers = np.frombuffer(bytes(body[layout.LOST_BODY.size :]), "u8", n_calls)
            self.losses.append(Lost(at_ns, task, worker, result, numbers))
            self.away.pop(task, None)
        elif kind == layout.LEFT_OUT:
            self.n_left_out += layout.LEFT_OUT_BODY.unpack_from(body)[0]
            self.away.clear()  # they may have come back, with nobody to say so
        elif kind in layout.NAMED:
            self._name(kind, body)
        elif kind not in layout.KINDS:
            self.n_unknown += 1

    def _name(self, kind: int, body: memoryview) -> None:
        at_ns, number, slots = layout.NAME_BODY.unpack_from(body)
        if number > _MOST:
            raise ValueError(f"number {number}")
        text = layout.text_of(body)
        self.first_ns = self.first_ns or at_ns
        if kind == layout.RUN:
            self.about = about_of(text)
        elif kind == layout.COUNTER_NAMES:
            sample = np.dtype([("at_ns", "u8"), *((name, "u8") for name in text.split())])
            if self._samples and sample != self._sample:
                raise ValueError("other counters than before")
            self._sample = sample
        elif kind == layout.STOPPED:
            self.stopped_ns = at_ns
        elif kind == layout.FUNCTION:
            self.functions[number] = text
        elif kind == layout.WORKER:
            self.workers.setdefault(number, Worker(number, text, at_ns))
        elif number in self.workers and kind == layout.NODE:
            self.workers[number].node, self.workers[number].slots = _json_of(text), slots
        elif number in self.workers and kind == layout.WORKER_LEFT:
            self.workers[number].left_ns = at_ns

    @property
    def bundles(self) -> np.ndarray[Any, Any]:
        """Bundles that came back, as a structured array."""
        self._bundles = [b"".join(self._bundles)]
        return np.frombuffer(self._bundles[0], _BUNDLE)

    @property
    def calls(self) -> np.ndarray[Any, Any]:
        """Their calls, in the order of `bundles`, each of which says how many are its."""
        self._calls = [b"".join(self._calls)]
        return np.frombuffer(self._calls[0], layout.CALL)

    @property
    def counters(self) -> np.ndarray[Any, Any]:
        """The executor's counters, as `vinefast.VineFastExecutor.stats` has them, at the moments `at_ns`."""
        self._samples = [b"".join(self._samples)]
        return np.frombuffer(self._samples[0], self._sample)

    def left_ns(self, worker: int) -> int | None:
        """Give the moment when a worker left; None: it has not, as far as is known."""
        return self.workers[worker].left_ns if worker in self.workers else None

    def lacks(self) -> list[str]:
        """Say what is not in the log, so that there may be more calls than are known; empty: nothing."""
        found = []
        if self.is_cut:
            found.append("its beginning has made room for later records (tune parameter events-nbytes)")
        if self.n_left_out:
            found.append(f"{self.n_left_out:,} records are missing, for which there was no room")
        if self.n_unknown:
            found.append(f"{self.n_unknown:,} records are of kinds that this vinefast does not know")
        if self.damage:
            found.append(self.damage)
        elif self._file is not None and self._file.behind and not self._is_written():
            found.append(f"{self.path} is cut off, or damaged: {self._file.behind}")
        return [f"{lack}: there may be more calls than these" for lack in found]

    def _is_written(self) -> bool:
        return self.stopped_ns is None and program_state(self.about) == "running"

    def wall_s(self, at_ns: int) -> float:
        """Give seconds since 1970 for a moment of the log."""
        return (at_ns + self.wall_offset_ns) * 1e-9


def about_of(text: str) -> dict[str, Any]:
    """Read what a program says of itself; raises ValueError if it is something else."""
    about = _json_of(text)
    program = about.get("program", [])
    pid = about.get("pid", 0)
    if not isinstance(program, list) or not isinstance(pid, int) or not 0 <= pid < 1 << 31:
        raise ValueError("what the program says of itself is something else")
    return about


def whole(text: str) -> str:
    """Replace halves of characters, which nobody could print, nor write to a file."""
    return text.encode("utf-8", "replace").decode()


def _json_of(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        # Arguments of a program may be no text.
        found = json.loads(whole(json.dumps(found, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def find_all(directory: str) -> list[str]:
    """Give the paths of the event logs of a run directory, or of an executor's part of one, sorted.

    Raises
    ------
    EventLogError
        If there is none.
    """
    found = [path for path in (directory, os.path.join(directory, EVENTS)) if _is_log(path)]
    try:
        if not found and os.path.isdir(directory):
            with os.scandir(directory) as entries:
                found = sorted(path for entry in entries if _is_log(path := os.path.join(entry.path, EVENTS)))
    except OSError as error:
        raise EventLogError(f"{directory} cannot be read: {error.strerror}") from None
    if not found:
        raise EventLogError(
            f"There is no event log in {directory}, nor in a directory there: is it a run directory, such as "
            "runinfo/000, of an executor of vinefast's that was started with tune parameter events-nbytes above 0?"
        )
    return found


def _is_log(path: str) -> bool:
    # When a file has got the other name, there may be no room for the next one.
    return os.path.isfile(path) or os.path.isfile(f"{path}.old")


def find(directory: str) -> str:
    """Give the path of the event log of an executor.

    Raises
    ------
    EventLogError
        If there is none, or there are several.
    """
    found = find_all(directory)
    if len(found) > 1:
        places = ", ".join(os.path.dirname(path) for path in found)
        raise EventLogError(f"{directory} has several executors; name one: {places}")
    return found[0]
