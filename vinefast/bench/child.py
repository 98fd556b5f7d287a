"""One executor in a process of its own: started, measured, shut down. Says what it finds in lines of JSON.

A process of its own, so that no executor measures what an earlier one has left in memory, threads or signal handlers,
and so that one that hangs can be ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from vinefast._child import Say, begin
from vinefast.bench.effort import EFFORTS, Effort
from vinefast.bench.measures import MEASURES, NotMeasured, warm_up
from vinefast.bench.peers import PEERS, Peer


def main() -> None:
    """Measure as the one argument says, a JSON object with the arguments of `measure`."""
    say, arguments = begin()
    measure(say=say, **arguments)


def measure(say: Say, executor: str, measures: Sequence[str], effort: str, slots: int, directory: str) -> None:
    """Measure one executor once.

    Parameters
    ----------
    say : callable
        Takes messages: ``begin`` with what begins; ``measure``, ``case`` and ``metrics`` of a sample; ``failed`` or
        ``skipped`` with a measure and a ``reason``.
    executor : str
        Name of the executor.
    measures : list of str
        Names of measures.
    effort : str
        Name of an effort.
    slots : int
        How many calls are to run at a time.
    directory : str
        For files of the executor.
    """
    peer = PEERS[executor](slots, directory)
    say(begin="start")
    start = time.perf_counter()
    try:
        peer.start()
        # A built-in function: what is measured is the executor, not a worker's import of vinefast.
        if peer.run(abs, -1) != 1:
            raise AssertionError("the first call came back with a wrong result")
    except Exception as error:
        say(failed="start", reason=explained(error))
        # What a failed start leaves behind is looked for by whoever started this process.
        os._exit(0)
    start_s = time.perf_counter() - start
    try:
        _measure(peer, measures, EFFORTS[effort], say)
    finally:
        say(begin="shutdown")
        start = time.perf_counter()
        peer.stop()
        stop_s = time.perf_counter() - start
    say(measure="start", case="", metrics={"start_s": start_s, "stop_s": stop_s})


def _measure(peer: Peer, measures: Sequence[str], effort: Effort, say: Say) -> None:
    try:
        warm_up(peer, effort)
    except Exception as error:
        say(failed="warm-up", reason=explained(error))
        return
    for name in measures:
        samples = MEASURES[name].samples
        if samples is None:
            continue
        say(begin=name)
        try:
            for case, metrics in samples(peer, effort):
                say(measure=name, case=case, metrics=metrics)
        except NotMeasured as reason:
            say(skipped=name, reason=str(reason))
        except Exception as error:
            say(failed=name, reason=explained(error))


def explained(error: BaseException) -> str:
    """Say what went wrong, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
