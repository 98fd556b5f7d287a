"""Text of others, durations and moments."""

import time

import pytest
from rich.console import Console

from vinefast.display.text import duration, moment, one_line, plain, verbatim


def test_nothing_commands_a_terminal():
    assert plain("a\x1b[2Jb\x07\x9bc\u202ed") == r"a\x1b[2Jb\x07\x9bc\u202ed"
    assert plain("\x1b[1;31mred\x1b[0m") == "red"
    assert plain("one\ttwo\r\nthree\n") == "one\ttwo\nthree\n" and plain("50 %\r60 %") == r"50 %\r60 %"
    assert one_line("one\ttwo\nthree") == r"one\ttwo\nthree"
    assert plain("\u00e9 \u4e2d \U0001f600") == "\u00e9 \u4e2d \U0001f600"


def test_markup_is_text():
    console = Console(width=80, color_system="truecolor", force_terminal=True)
    with console.capture() as shown:
        console.print(verbatim("[red]a[/b] [link=x]"))
    assert shown.get() == "[red]a[/b] [link=x]\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (17.4e-6, "17.4 us"),
        (0.00321, "3.21 ms"),
        (0.26, "260 ms"),
        (42.4, "42.4 s"),
        (187, "3:07"),
        (3729, "1:02:09"),
        (86400, "24:00:00"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_moments():
    assert moment(time.time())[:2] == "20" and "." not in moment(1.5e9, "seconds")
    assert moment(1e300) == "?" and moment(-1e15) == "?"
