"""How it is with an executor, by its event log."""

import resource

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
        FunctionState("relax", 4, 1, 0, 8.0, 2.0, 3.0),
        FunctionState("other", 1, 0, 0, 3.0, 3.0, 3.0),
    ]


def test_numbers_that_are_far_from_each_other_take_no_room(tmp_path):
    """As one that is damaged may be from the others."""
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND)
    far = 1 << 24
    log.function(far, "relax")
    log.worker(far, SECOND)
    log.worker(3, SECOND)
    when = {"sent_ns": SECOND, "returned_ns": 2 * SECOND, "run_ns": SECOND}
    log.ended(1, [0, 1], [0, 0], **when, function=far, worker=far)
    log.ended(2, [2], [0], **when, function=2**32 - 1, worker=2**32 - 1)
    log.ended(3, [3], [0], **when, function=far - 1, worker=3)
    run = Run(log.path)
    run.update()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = state_of(run, "")
    assert [(function.name, function.n) for function in state.functions] == [("relax", 2)]
    assert {worker.number: worker.done for worker in state.workers} == {far: 2, 3: 1}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


def test_what_a_worker_had_that_is_lost_waits_for_another_one(tmp_path):
    """The counter has that, but is a second old."""
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND)
    log.worker(1, SECOND)
    log.name(layout.COUNTER_NAMES, 0, "calls_waiting others")
    log.put(layout.SENT, layout.SENT_BODY.pack(2 * SECOND, 7, 1, 3, 1, 1, 0))

    def counted(at_s, n_waiting):
        log.put(layout.COUNTERS, np.array([at_s * SECOND, n_waiting, 0], "u8").tobytes())
        return now()

    def now():
        run = Run(log.path)
        run.update()
        state = state_of(run, "")
        return state.waiting, state.running

    assert counted(3, 2) == (2, 3)
    log.name(layout.WORKER_LEFT, 1, "", 4 * SECOND)
    assert now() == (5, 0)
    assert counted(5, 5) == (5, 0)
    log.worker(2, 6 * SECOND)
    assert now() == (5, 0)
    log.put(layout.SENT, layout.SENT_BODY.pack(7 * SECOND, 7, 1, 3, 1, 2, 0))
    assert now() == (2, 3)
    assert counted(8, 2) == (2, 3)


def test_a_call_that_was_cancelled_has_not_failed(tmp_path):
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND)
    log.function(1, "relax")
    good, bad = protocol.STATUS_PICKLE, protocol.STATUS_EXCEPTION
    when = {"sent_ns": 2 * SECOND, "returned_ns": 9 * SECOND, "run_ns": 4 * SECOND}
    log.ended(1, [0, 1, 2, 3], [good, good, bad, bad], **when, cancelled=[1, 2])
    run = Run(log.path)
    run.update()
    state = state_of(run, "")
    assert (state.done, state.failed, state.cancelled) == (1, 1, 2)
    assert state.functions == [FunctionState("relax", 4, 1, 2, 4.0, 1.0, 1.0)]
