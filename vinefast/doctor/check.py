"""What was looked at, what was seen, and what to do about that."""

from __future__ import annotations

import re
from dataclasses import dataclass

OK = "ok"
WARNING = "warning"
ERROR = "error"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        Of what.
    level : "ok", "warning" or "error"
        How it is.
    seen : str
        What was seen.
    advice : str
        What to do; empty: nothing.
    """

    name: str
    level: str
    seen: str
    advice: str = ""


def ok(name: str, seen: str) -> Check:
    """Make a check of what is as it should be."""
    return Check(name, OK, seen)


def warning(name: str, seen: str, advice: str) -> Check:
    """Make a check of what works, and is slow, unsafe, or may fail later."""
    return Check(name, WARNING, seen, advice)


def error(name: str, seen: str, advice: str) -> Check:
    """Make a check of what cannot work."""
    return Check(name, ERROR, seen, advice)


def refusal(name: str, text: str, advice: str) -> Check:
    """Make an error of a message, whose last sentences, if it has several, are the way out."""
    seen, *way_out = re.split(r"(?<=[.?])\s+", text.strip(), maxsplit=1)
    return error(name, seen.rstrip("."), way_out[0] if way_out else advice)
