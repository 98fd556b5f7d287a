"""What the library finds out about processes."""

from __future__ import annotations

from vinefast.library import process


def test_descendants_may_be_any_number_of_generations(monkeypatch):
    monkeypatch.setattr(process, "children_of", lambda pid: {pid + 1: b"1"} if pid < 5000 else {})
    assert process.descendants_of(1) == dict.fromkeys(range(2, 5001), b"1")


def test_descendants_end_where_numbers_come_again(monkeypatch):
    monkeypatch.setattr(process, "children_of", lambda pid: {3 - pid: b"1"})
    assert process.descendants_of(1) == {2: b"1", 1: b"1"}
