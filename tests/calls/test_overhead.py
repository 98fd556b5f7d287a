"""Where a call's time goes, from counters."""

from vinefast.calls.overhead import Overhead, Stage, overhead

STATS = {
    "calls_submitted": 20,
    "calls_returned": 10,
    "serialize_ns": 40_000,
    "queue_ns": 100_000,
    "pack_ns": 5_000,
    "dispatch_ns": 200_000,
    "transfer_ns": 300_000,
    "library_ns": 50_000,
    "bundle_ns": 90_000,
    "run_ns": 30_000,
    "calls_ns": 20_000,
    "return_ns": 10_000,
    "complete_ns": 1_000,
}


def test_means_per_call():
    found = overhead(STATS)
    assert found.n_calls == 10
    spent = {stage.name: stage.spent_us for stage in found.stages}
    assert spent == {
        "serialize": 2.0,
        "queue": 10.0,
        "dispatch": 20.0,
        "transfer": 30.0,
        "library": 5.0,
        "companions": 7.0,
        "execute": 2.0,
        "return": 1.0,
        "complete": 0.1,
    }
    work = {stage.name: stage.work_us for stage in found.stages if stage.work_us is not None}
    assert work == {"serialize": 2.0, "queue": 0.5, "companions": 1.0, "execute": 2.0, "complete": 0.1}


def test_only_what_came_after():
    after = {name: 3 * value for name, value in STATS.items()}
    assert overhead(after, STATS) == overhead({name: 2 * value for name, value in STATS.items()})


def test_table():
    text = str(overhead(STATS))
    assert "10 calls" in text and "serialize" in text and "13.0%" in text
    assert "\x1b" not in text


def test_nothing_yet():
    assert all(stage.spent_us == 0 for stage in overhead({}).stages)
    assert "all" in str(overhead({}))


def test_a_notebook_shows_a_table():
    shown = overhead(STATS)._repr_html_()
    assert "10 calls" in shown and "serialize" in shown and "13.0%" in shown and shown.count("<tr>") == 11
    odd = Overhead(1, (Stage("<script>", 1.0, None, "a < b"),))
    assert "&lt;script&gt;" in odd._repr_html_() and "a &lt; b" in odd._repr_html_()
    assert "<script>" in str(odd)


def test_words_are_no_markup():
    assert "[red]x" in str(Overhead(1, (Stage("[red]x", 1.0, None, ""),)))
