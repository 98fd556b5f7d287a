"""What is to end before it has come ends when it comes, and nothing else does."""

from vinefast.library import early_stops
from vinefast.library.early_stops import EarlyStops


def test_a_bundle_that_comes_later_has_them():
    stops = EarlyStops()
    stops.add(b"17", {1, 2}, 0.0)
    stops.add(b"17", {4}, 5.0)
    assert stops.take(b"18", 6.0) == set()
    assert stops.take(b"17", 3600.0) == {1, 2, 4}
    assert stops.take(b"17", 3600.0) == set()


def test_a_number_that_comes_again_after_weeks_is_another_bundle():
    stops = EarlyStops()
    stops.add(b"17", {1}, 0.0)
    stops.add(b"18", {1}, 80000.0)
    assert stops.take(b"17", 90000.0) == set()
    assert stops.take(b"18", 90000.0) == {1}


def test_there_are_never_very_many():
    stops = EarlyStops()
    n = early_stops._MAX_BUNDLES + 10
    for i in range(n):
        stops.add(b"%d" % i, {0}, 1.0)
    assert [i for i in range(n) if stops.take(b"%d" % i, 2.0)] == [*range(10, n)]
