"""The numbers of a report's pictures, and the page."""

import numpy as np
import pytest

from tests.events.logs import LogWriter
from vinefast.events import layout
from vinefast.events.figures import N_BINS, Figures
from vinefast.events.report import _unit_of, report_of
from vinefast.events.run import Run
from vinefast.library import protocol

SECOND = 10**9


@pytest.fixture
def log(tmp_path):
    return LogWriter(tmp_path / "executor")


def read(log):
    run = Run(log.directory)
    run.update()
    return run


def test_over_time(log):
    """400 seconds: ten calls end in the 100th, of which one has failed, and one in the last."""
    log.run(at_ns=SECOND)
    log.function(1, "relax")
    log.worker(1, at_ns=SECOND)
    statuses = [protocol.STATUS_PICKLE] * 9 + [protocol.STATUS_EXCEPTION]
    log.ended(1, range(10), statuses, sent_ns=90 * SECOND, returned_ns=int(100.5 * SECOND), run_ns=2 * SECOND)
    log.ended(2, [10], [protocol.STATUS_NONE], sent_ns=300 * SECOND, returned_ns=400 * SECOND, run_ns=SECOND // 2)
    log.stopped(at_ns=401 * SECOND)
    figures = Figures(read(log))
    assert figures.edges_s[-1] == 400 and len(figures.edges_s) == N_BINS + 1
    # Few calls: bins of 20 s.
    edges_s, ended = figures.ended()
    assert len(edges_s) == 21 and edges_s[1] == 20
    assert ended["done"][4] * 20 == 9 and ended["failed"][4] * 20 == 1 and ended["done"].sum() * 20 == 10
    timeline = figures.timeline()
    assert timeline.rows == ["worker 1, slot 0"]
    busy = timeline.busy[0]
    assert busy[97:100] == pytest.approx([0.5, 1, 0.5]) and busy[398] == pytest.approx(0.5)
    assert busy.sum() == pytest.approx(2.5)
    at_s, sizes = figures.bundle_sizes()
    assert at_s.tolist() == [89, 299] and sizes.tolist() == [10, 1]
    assert figures.workers() == [("1 on 10.0.0.1", 0.0, 400.0)]


def test_many_calls_are_shown_in_narrow_bins(log):
    log.run(at_ns=SECOND)
    log.function(1, "relax")
    log.worker(1, at_ns=SECOND)
    for task in range(100):
        numbers = range(20 * task, 20 * task + 20)
        log.ended(task, numbers, [0] * 20, sent_ns=SECOND, returned_ns=(task + 2) * SECOND, run_ns=SECOND)
    log.stopped(at_ns=401 * SECOND)
    edges_s, ended = Figures(read(log)).ended()
    assert len(edges_s) == N_BINS + 1 and ended["done"].max() == 20 and ended["done"].sum() == 2000


def test_many_slots_are_shown_by_worker(log):
    log.run(at_ns=SECOND)
    log.function(1, "relax")
    for number in range(1, 251):
        log.worker(number, at_ns=SECOND)
        for slot in range(2):
            task = 2 * number + slot
            log.ended(
                task, [task], [0], sent_ns=SECOND, returned_ns=3 * SECOND, run_ns=SECOND, worker=number, slot=slot
            )
    log.stopped(at_ns=5 * SECOND)
    timeline = Figures(read(log)).timeline()
    assert timeline.rows[0] == "worker 1" and len(timeline.rows) == 125
    assert timeline.busy.sum() * 4 / N_BINS == pytest.approx(125)


def test_a_run_in_which_nothing_happened(log):
    log.run(at_ns=SECOND)
    run = read(log)
    figures = Figures(run)
    assert not figures.stages() and not figures.workers() and not figures.timeline().rows
    assert "None." in report_of(run, log.directory)


def test_names_are_text(log):
    """A function, or an exception, may have any name."""
    name = "<script>alert(1)</script>"
    log.run(at_ns=SECOND, label=name)
    log.function(1, name)
    log.worker(1, at_ns=SECOND)
    log.ended(1, [5], [protocol.STATUS_EXCEPTION], sent_ns=2 * SECOND, returned_ns=3 * SECOND, run_ns=SECOND)
    log.failure(5, protocol.STATUS_EXCEPTION, (name, name, name, None))
    page = report_of(read(log), name)
    body = page[page.index("<body>") :]
    assert name not in body and body.count("&lt;script&gt;alert(1)") > 4
    assert "src=" not in page[: page.index("<script>")] and 'src="http' not in body


def test_a_long_run_takes_no_more_room(log):
    rng = np.random.default_rng(1)
    log.run(at_ns=SECOND)
    log.function(1, "relax")
    log.worker(1, at_ns=SECOND)
    page = len(report_of(read(log), ""))
    for task in range(20_000):
        returned_ns = int(rng.integers(2, 3000) * SECOND)
        log.ended(task, range(5), [0] * 5, sent_ns=SECOND, returned_ns=returned_ns, run_ns=SECOND)
    assert len(read(log).calls) == 100_000 and layout.CALL.itemsize == 32
    assert len(report_of(read(log), "")) < page + 1_000_000


@pytest.mark.parametrize(("us", "unit"), [(3.0, "microseconds"), (4200.0, "milliseconds"), (5.5e6, "seconds")])
def test_times_have_few_digits(us, unit):
    name, n_us = _unit_of(us)
    assert name == unit and 1 <= us / n_us < 1000
