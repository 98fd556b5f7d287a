"""How it is with an executor, by its event log."""

import numpy as np

from tests.events.logs import LogWriter
from vinefast.events import layout
from vinefast.events.run import Run
from vinefast.events.state import FunctionState, state_of
from vinefast.library import protocol

SECOND = 10**9


def test_functions_of_one_name_are_counted_together(tmp_path):
    """Such as those of a notebook's cell that was run again."""
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND)
    for number, name in enumerate(("relax", "other", "relax"), 1):
        log.function(number, name)
    good, bad = protocol.STATUS_PICKLE, protocol.STATUS_EXCEPTION
    when = {"sent_ns": 2 * SECOND, "returned_ns": 9 * SECOND}
    log.ended(1, [0, 1], [good, bad], **when, run_ns=2 * SECOND, function=1)
    log.ended(2, [2], [good], **when, run_ns=3 * SECOND, function=2)
    log.ended(3, [3, 4], [good, good], **when, run_ns=6 * SECOND, function=3)
    run = Run(log.path)
    run.update()
    assert state_of(run, "").functions == [
        FunctionState("relax", 4, 1, 8.0, 2.0, 3.0),
        FunctionState("other", 1, 0, 3.0, 3.0, 3.0),
    ]


def test_without_a_worker_what_taskvine_was_given_waits_too(tmp_path):
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND)
    names = ("calls_waiting", "workers_connected", "calls_sent", "calls_returned", "calls_handed_back", "calls_lost")
    log.name(layout.COUNTER_NAMES, 0, " ".join(names))

    def waiting(*counters):
        log.put(layout.COUNTERS, np.array([2 * SECOND, *counters], "u8").tobytes())
        run = Run(log.path)
        run.update()
        return state_of(run, "").waiting

    assert waiting(4, 0, 1, 0, 0, 0) == 5
    assert waiting(4, 0, 9, 3, 2, 1) == 7
    assert waiting(4, 1, 9, 3, 2, 1) == 4  # the other three are on their way


def test_what_a_worker_had_that_is_lost_waits_for_another_one(tmp_path):
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND)
    log.worker(1, SECOND)
    log.name(layout.COUNTER_NAMES, 0, "calls_waiting workers_connected calls_sent calls_returned")
    log.put(layout.SENT, layout.SENT_BODY.pack(2 * SECOND, 7, 1, 3, 1, 1, 0))

    def counts(*counters):
        log.put(layout.COUNTERS, np.array([4 * SECOND, *counters], "u8").tobytes())
        run = Run(log.path)
        run.update()
        state = state_of(run, "")
        return state.waiting, state.running

    assert counts(2, 1, 3, 0) == (2, 3)
    log.name(layout.WORKER_LEFT, 1, "", 3 * SECOND)
    assert counts(2, 0, 3, 0) == (5, 0)
    log.worker(2, 5 * SECOND)
    assert counts(2, 1, 3, 0) == (5, 0)
    log.put(layout.SENT, layout.SENT_BODY.pack(6 * SECOND, 7, 1, 3, 1, 2, 0))
    assert counts(2, 0, 3, 0) == (2, 3)  # the worker has come since what was counted
