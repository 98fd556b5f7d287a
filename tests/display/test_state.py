"""The state of an executor in words."""

from vinefast.display.html import table
from vinefast.display.state import Counts, State, counts_of

STATS = {
    "calls_submitted": 1000,
    "calls_outstanding": 300,
    "calls_waiting": 120,
    "calls_failed": 7,
    "calls_cancelled": 2,
    "workers_connected": 1,
    "slots": 2,
}


def test_counts_of_stats():
    assert counts_of(STATS) == Counts(1000, 700, 7, 2, 120, 180, 1, 2)
    assert counts_of({}) == Counts(0, 0, 0, 0, 0, 0, 0, 0)


def test_counts_since_a_moment():
    before = counts_of({"calls_submitted": 650, "calls_outstanding": 50, "calls_failed": 3})
    assert counts_of(STATS, before) == Counts(400, 100, 4, 2, 120, 180, 1, 2)


def test_a_line():
    counts = counts_of(STATS)
    assert State("x", "not started", Counts(0, 0)).line() == "not started"
    assert State("x", "running", counts, "localhost", 9123).line() == (
        "running; manager at localhost:9123; 1 worker with 2 slots; "
        "calls: 120 waiting, 180 running, 691 done, 7 failed, 2 cancelled"
    )
    assert State("x", "failed", counts, "h", 1, "no TaskVine").line().startswith("failed (no TaskVine); manager at h:1")
    assert State("x", "ended", Counts(3, 3)).line() == "ended; calls: 3 done, 0 failed"


def test_a_table_shows_all_text_as_it_is():
    shown = State("<b>", "failed", counts_of(STATS), "host", 9123, "a < b & c").html()
    assert "VineFastExecutor &lt;b&gt;" in shown and "failed: a &lt; b &amp; c" in shown and "host:9123" in shown
    assert "<b>" not in shown
    assert "manager" not in State("x", "not started", Counts(0, 0)).html()
    assert "&lt;i&gt;" in table("t", [["a", "<i>"]], ["<u>", "n"], 1) and "<u>" not in table("t", [], ["<u>"])
