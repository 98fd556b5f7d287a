"""What people read: text that somebody else has chosen, such as names and messages, durations and moments."""

from __future__ import annotations

import re
from datetime import datetime

from rich.text import Text

# Colours, which tracebacks and pytest's output have, and which are no part of what they say.
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
# What a terminal takes for a command, but for tabs and ends of lines; and what changes the direction of what follows.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NOT_IN_A_LINE = re.compile("[\t\n\u2028\u2029]")


def plain(text: str) -> str:
    """Give a text without colours, and with what would command a terminal written out, as `repr` does."""
    return _COMMANDS.sub(_written_out, _COLOURS.sub("", text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """Give a text as `plain` does, on one line."""
    return _NOT_IN_A_LINE.sub(_written_out, plain(text))


def verbatim(text: str, style: str = "") -> Text:
    """Make what rich shows as it is: neither its markup nor commands to a terminal are obeyed."""
    return Text(plain(text), style=style)


def duration(seconds: float) -> str:
    """Write so many seconds as 17 us, 3.2 ms, 42.5 s, 3:07 or 1:02:09."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(at_s: float, finest: str = "milliseconds") -> str:
    """Write a moment, in seconds since 1970, in local time, down to what `datetime.isoformat` calls `finest`."""
    try:
        return datetime.fromtimestamp(at_s).astimezone().isoformat(" ", finest)
    except (ValueError, OverflowError, OSError):  # no clock has shown that: somebody has written it
        return "?"


def _written_out(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]
