"""How it is with an executor now, by its event log."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vinefast.events.about import program_state
from vinefast.events.run import Run
from vinefast.library import protocol

_RATE_S = 5.0
RESULTS = (protocol.STATUS_NONE, protocol.STATUS_PICKLE, protocol.STATUS_PARSL, protocol.STATUS_BUFFERS)


@dataclass
class WorkerState:
    """A worker that is connected.

    Attributes
    ----------
    number, address, host
        Which one.
    slots : int or None
        Calls that it can run at a time, if a library has told.
    running, bundles : int
        Calls that it has now, and in how many bundles.
    done : int
        Calls that have ended there.
    functions : dict of str to int
        What it has, by function.
    """

    number: int
    address: str
    host: str
    slots: int | None
    running: int = 0
    bundles: int = 0
    done: int = 0
    functions: dict[str, int] = field(default_factory=dict)


@dataclass
class FunctionState:
    """The calls of a function, or of several of one name, that have ended.

    Attributes
    ----------
    name : str
    n, failed, cancelled : int
        Calls, those of them that have no result, and those that were cancelled.
    total_s, mean_s, longest_s : float
        Seconds in slots.
    """

    name: str
    n: int
    failed: int
    cancelled: int
    total_s: float
    mean_s: float
    longest_s: float


@dataclass
class State:
    """An executor.

    Attributes
    ----------
    state : str
        ``running``, ``ended``, or ``lost``: its program is no more, and has not shut it down; ``elsewhere`` if that
        cannot be told from this machine.
    seconds : float
        Since its start, until its end if that has come.
    waiting, running, done, failed, cancelled, again : int
        Calls that wait, that workers have, that have results, that have none; and how often calls were run again.
    rate : float
        Calls per second that have ended in the last five seconds.
    counters : dict of str to int
        What `VineFastExecutor.stats` counts, a second ago at the most.
    left_out : int
        Records that the event log has lost: what is counted here is too small.
    lacks : list of str
        That, and what else is not in it, in words.
    """

    label: str
    directory: str
    program: str
    host: str
    pid: int
    state: str
    seconds: float
    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int
    again: int
    rate: float
    workers: list[WorkerState]
    functions: list[FunctionState]
    counters: dict[str, int]
    left_out: int
    lacks: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        return asdict(self)


def state_of(run: Run, directory: str) -> State:
    """Give the state of an executor as far as its event log has been read."""
    about, calls, bundles = run.about, run.calls, run.bundles
    state = _state(run)
    now_ns = _now_ns(run, state)
    is_result = np.isin(calls["status"], RESULTS)
    is_cancelled = calls["is_cancelled"] != 0
    is_failed = ~is_result & ~is_cancelled
    recent = bundles["returned_ns"] > now_ns - _RATE_S * 1e9
    counters = run.counters
    last = {name: int(counters[-1][name]) for name in counters.dtype.names[1:]} if len(counters) else {}
    waiting, running = _waiting_and_running(run, last.get("calls_waiting", 0))
    return State(
        label=str(about.get("label", "")),
        directory=directory,
        program=" ".join(map(str, about.get("program", [])[1:])),
        host=str(about.get("host", "")),
        pid=int(about.get("pid", 0)),
        state=state,
        seconds=(now_ns - run.first_ns) * 1e-9 if run.first_ns else 0.0,
        waiting=waiting,
        running=running,
        done=int(np.count_nonzero(is_result & ~is_cancelled)),
        failed=int(np.count_nonzero(is_failed)),
        cancelled=int(np.count_nonzero(is_cancelled)),
        again=sum(len(lost.numbers) for lost in run.losses)
        + sum(sent.n_calls for each in run.lost_with_worker.values() for sent in each),
        rate=float(bundles["n_calls"][recent].sum()) / _RATE_S if state in ("running", "elsewhere") else 0.0,
        workers=_workers(run),
        functions=_functions(run, is_failed, is_cancelled),
        counters=last,
        left_out=run.n_left_out,
        lacks=run.lacks(),
    )


def _waiting_and_running(run: Run, calls_waiting: int) -> tuple[int, int]:
    counted_ns = int(run.counters["at_ns"][-1]) if len(run.counters) else 0
    waiting, running = calls_waiting, 0
    for sent in run.away.values():
        left_ns = run.left_ns(sent.worker)
        if left_ns is None:
            running += sent.n_calls
            waiting -= sent.n_calls if sent.at_ns > counted_ns else 0
        elif left_ns > counted_ns:
            waiting += sent.n_calls  # TaskVine keeps them until another worker comes
    return max(0, waiting), running


def _now_ns(run: Run, state: str) -> int:
    if run.stopped_ns is not None:
        return run.stopped_ns
    if state == "running":
        return time.monotonic_ns()
    return int(max([0, *run.counters["at_ns"][-1:], *run.bundles["returned_ns"][-1:]]))


def _state(run: Run) -> str:
    if run.stopped_ns is not None:
        return "ended"
    return program_state(run.about)


def _workers(run: Run) -> list[WorkerState]:
    found = {}
    for worker in run.workers.values():
        if worker.left_ns is None:
            host = str(worker.node.get("hostname", "")) or worker.address.rpartition(":")[0]
            found[worker.number] = WorkerState(worker.number, worker.address, host, worker.slots)
    for sent in run.away.values():
        if at := found.get(sent.worker):
            at.running += sent.n_calls
            at.bundles += 1
            name = run.functions.get(sent.function, "?")
            at.functions[name] = at.functions.get(name, 0) + sent.n_calls
    bundles, numbers = run.bundles, sorted(found)
    done = np.bincount(_places(bundles["worker"], numbers), bundles["n_calls"], len(numbers))
    for number, n_done in zip(numbers, done.tolist(), strict=False):
        found[number].done = int(n_done)
    return list(found.values())


def _functions(run: Run, is_failed: np.ndarray[Any, Any], is_cancelled: np.ndarray[Any, Any]) -> list[FunctionState]:
    calls, found = run.calls, []
    known = sorted(run.functions)
    n = len(known)
    of_call = _places(calls["function"], known)
    counts = np.bincount(of_call, minlength=n)
    totals = np.bincount(of_call, calls["duration_ns"], n) * 1e-9
    failed = np.bincount(of_call, is_failed, n)
    cancelled = np.bincount(of_call, is_cancelled, n)
    longest = np.zeros(len(counts))
    np.maximum.at(longest, of_call, calls["duration_ns"])
    # Of one name there are several where a notebook's cell has defined a function anew, say.
    of_name: dict[str, list[int]] = {}
    for place, number in enumerate(known):
        if counts[place]:
            of_name.setdefault(run.functions[number], []).append(place)
    for name, places in of_name.items():
        n_calls, total_s = int(counts[places].sum()), float(totals[places].sum())
        longest_s = float(longest[places].max()) * 1e-9
        n_failed, n_cancelled = int(failed[places].sum()), int(cancelled[places].sum())
        found.append(FunctionState(name, n_calls, n_failed, n_cancelled, total_s, total_s / n_calls, longest_s))
    return sorted(found, key=lambda function: -function.total_s)


def _places(numbers: np.ndarray[Any, Any], known: list[int]) -> np.ndarray[Any, Any]:
    """Give the place of each number among those that are known, sorted, and one behind these for all others."""
    keys = np.array([*known, 1 << 32], np.int64)
    places = np.searchsorted(keys, numbers.astype(np.int64))
    found: np.ndarray[Any, Any] = np.where(keys[places] == numbers, places, len(known))
    return found
