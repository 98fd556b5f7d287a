"""Bytes that Hypothesis makes up: what comes of a file, or of a peer, when something goes wrong.

Each run makes up the same, and not much of it. ``VINEFAST_MADE_UP=100`` makes up a hundred times as much, and other
things each time. What C reads, `make fuzz` makes up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

NUMBERS = [bytes(4), b"\xff" * 4, b"\0\0\0\x7f", b"\xff" * 8, b"\x80"]
_TIMES = int(os.environ.get("VINEFAST_MADE_UP") or 0)


def examples(n: int) -> Callable[[Any], Any]:
    """Run a test with so many examples."""
    return settings(
        max_examples=n * max(1, _TIMES),
        derandomize=not _TIMES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def damaged(whole: bytes, begin: int = 0) -> st.SearchStrategy[bytes]:
    """Give these bytes as they are after some accidents, none of them before `begin`."""
    places = st.integers(begin, max(begin, len(whole)))
    accidents = st.one_of(
        st.tuples(st.just("cut"), places, st.none()),
        st.tuples(st.just("flip"), places, st.integers(0, 7)),
        st.tuples(st.just("put"), places, st.sampled_from(NUMBERS)),
        st.tuples(st.just("put"), places, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("zero"), places, st.integers(1, 64)),
        st.tuples(st.just("remove"), places, st.integers(1, 64)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=16)),
        st.tuples(st.just("repeat"), places, st.integers(1, 64)),
    )
    return st.lists(accidents, min_size=1, max_size=3).map(lambda several: _after(whole, several))


def _after(whole: bytes, accidents: list[tuple[str, int, Any]]) -> bytes:
    data = bytearray(whole)
    for kind, at, how in accidents:
        if kind == "cut":
            del data[at:]
        elif kind == "flip":
            data[at : at + 1] = bytes(byte ^ (1 << how) for byte in data[at : at + 1])
        elif kind == "put":
            data[at : at + len(how)] = how[: len(data) - at] if at < len(data) else b""
        elif kind == "zero":
            data[at : at + how] = bytes(len(data[at : at + how]))
        elif kind == "remove":
            del data[at : at + how]
        elif kind == "insert":
            data[at:at] = how
        else:
            data[at:at] = data[at : at + how]
    return bytes(data)
