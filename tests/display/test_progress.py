"""Bars, without an executor: on real pseudo-terminals, in files, in a real notebook."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import nbclient
import nbformat
import pytest
from rich.console import Console

from vinefast.display import screen
from vinefast.display.progress import Progress
from vinefast.display.state import Counts

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.processes

# A program whose first calls take a while.
PROGRAM = """
import sys, time, threading
import vinefast
from concurrent.futures import Future

futures = [Future() for _ in range(40)]

def work():
    for i, future in enumerate(futures):
        time.sleep(0.02)
        if i % 10 == 9:
            future.set_exception(KeyError(i))
        else:
            future.set_result(i)

threading.Thread(target=work).start()
"""
SHOW = PROGRAM + "vinefast.wait(futures, progress=True)\nprint('over')\n"


def environment(**variables):
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", **variables}


def on_a_terminal(program, stdout=None, **variables):
    """Run a program whose standard error, and output unless that is given, is a terminal; gives what that has got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=environment(**variables),
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when nobody has the other side any more
                break
            shown += piece
    os.close(ours)
    if process.poll() is None and time.monotonic() > deadline:
        process.kill()
    assert process.wait() == 0, shown
    return shown.decode()


def plain(shown):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_a_terminal_shows_a_bar_that_moves_and_stays_at_its_end():
    shown = on_a_terminal(SHOW)
    states = re.findall(r"wait .*?(\d+)/40", plain(shown))
    assert len(set(states)) > 2 and states[-1] == "40"
    last = plain(shown).split("\r\n")[-3:]
    assert "40/40, 4 failed" in last[0] and re.search(r", in [\d.]+ m?s", last[0]) and last[1].strip() == "over"
    assert re.search(r"/40, .*\d/s, [\d.:]+( m?s)? left", plain(shown))
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") > -1  # the cursor is back


def test_what_is_printed_meanwhile_stands_above_the_bar():
    program = (
        PROGRAM + "for future in vinefast.as_completed(futures, progress=True): print('line', future.exception())\n"
    )
    lines = [line for line in re.split(r"[\r\n]+", plain(on_a_terminal(program))) if line]
    assert sum(line.startswith("line ") for line in lines) == 40
    assert "as_completed" in lines[-1] and "40/40" in lines[-1]


def test_standard_output_goes_where_it_went(tmp_path):
    with (tmp_path / "out").open("w") as file:
        program = PROGRAM + "for future in vinefast.as_completed(futures, progress=True): print('line')\n"
        shown = on_a_terminal(program, file)
    assert "line" not in shown and "40/40" in plain(shown)
    assert (tmp_path / "out").read_text() == "line\n" * 40


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_nothing_is_shown_where_there_is_no_terminal(variables):
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=60, env=environment(**variables)
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_nothing_is_shown_on_a_dumb_terminal():
    assert on_a_terminal(SHOW, TERM="dumb") == "over\r\n"


def test_nothing_is_shown_unless_it_is_asked_for():
    assert on_a_terminal(PROGRAM + "vinefast.wait(futures)\nprint('over')") == "over\r\n"


def test_ctrl_c_and_the_programs_end_give_the_cursor_back():
    interrupted = PROGRAM + (
        "import _thread\nthreading.Timer(0.2, _thread.interrupt_main).start()\n"
        "try: vinefast.wait(futures, progress=True)\nexcept KeyboardInterrupt: print('stopped')\n"
    )
    left_alone = PROGRAM + (
        "from vinefast.display.progress import Progress\nfrom vinefast.display.state import Counts\n"
        "Progress('mine [red]', lambda: Counts(9, 3)).start()\n"
    )
    for program, words in ((interrupted, "stopped"), (left_alone, "mine [red]")):
        shown = on_a_terminal(program)
        assert words in plain(shown)
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") > -1


def test_two_bars_stand_one_below_the_other():
    program = PROGRAM + (
        "from vinefast.display.progress import Progress\nfrom vinefast.display.state import Counts\n"
        "with Progress('first', lambda: Counts(9, 3)):\n    vinefast.wait(futures, progress=True)\n    print('over')\n"
    )
    lines = [line.strip() for line in plain(on_a_terminal(program)).split("\r\n")]
    assert lines[-2].startswith("first") and "3/9" in lines[-2]
    over = next(i for i, line in enumerate(lines) if line.endswith("over"))
    assert any("40/40" in line for line in lines[:over])


def test_a_terminal_that_is_gone_fails_nobody(tmp_path):
    """As when a connection breaks under a program that ignores SIGHUP."""
    program = PROGRAM + (
        "import sys\n"
        "n = len(vinefast.wait(futures, progress=True).done)\n"
        "n += len(list(vinefast.as_completed(futures, progress=True)))\n"
        f"print(n, type(sys.stderr).__name__, file=open({str(tmp_path / 'out')!r}, 'w'))\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    shown = b""
    while b"/40" not in shown:
        shown += os.read(ours, 65536)
    os.close(ours)
    assert process.wait(60) == 0 and (tmp_path / "out").read_text() == "80 TextIOWrapper\n"


def test_a_forked_child_writes_nothing_of_the_bar():
    program = PROGRAM + (
        "import os\n"
        "for future in vinefast.as_completed(futures, progress=True):\n"
        "    if future is futures[5]:\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            print('child', flush=True)\n"
        "            break\n"
        "if child: print('child ended', os.waitpid(child, 0)[1], 'parent goes on')\n"
        "else: os._exit(0)\n"
    )
    shown = plain(on_a_terminal(program))
    assert "child" in shown and "child ended 0 parent goes on" in shown and shown.count("40/40") == 1


CELLS = """
import threading, time, vinefast
from concurrent.futures import Future
futures = [Future() for _ in range(30)]
def work():
    for future in futures:
        time.sleep(0.02)
        future.set_result(1)
threading.Thread(target=work).start()
_ = vinefast.wait(futures, progress=True)
"""


def test_a_notebook_shows_a_bar_without_ipywidgets():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELLS)])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    try:
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    (shown,) = notebook.cells[0].outputs
    assert '<progress max="30" value="30">' in shown["data"]["text/html"] and "30/30" in shown["data"]["text/plain"]


def test_a_bar_by_itself_is_over_when_all_calls_are_done():
    counts = Counts(0, 0)
    bar = Progress("x", lambda: counts)
    bar.look()
    assert not bar.is_over  # nothing has been submitted yet
    counts = Counts(5, 4)
    bar.look()
    assert not bar.is_over
    counts = Counts(5, 5)
    bar.look()
    assert bar.is_over
    with bar:
        assert not bar.is_over


@pytest.mark.parametrize("width", [1, 2, 7, 20, 500])
def test_a_line_fits_into_any_width(width):
    bar = Progress("a title that is longer than some terminals are wide", lambda: Counts(602, 240, 5, 1, 347, 15, 1, 2))
    bar.look()
    console = Console(width=width, file=StringIO())
    console.print(bar.line())
    shown = console.file.getvalue()
    assert shown.count("\n") == 1 and len(shown.rstrip()) <= width


def test_what_cannot_be_counted_ends_nothing():
    bar = Progress("x", lambda: 1 // 0)
    with bar:
        bar.look()
    assert bar.text() == "0/0"


def test_a_title_is_no_markup_and_no_html_and_commands_no_terminal():
    bar = Progress("<b>[bold]\x1b[2J\n", lambda: Counts(2, 1))
    bar.look()
    assert "&lt;b&gt;[bold]\\x1b[2J\\n" in bar.html()
    assert bar.text() == "1/2"
    assert not screen.is_there() or sys.stderr.isatty()


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (120, r"VineFastExecutor .{30} 240/602, 5 failed, 347 waiting, 15 running, 1 worker with 2 slots"),
        (90, r"VineFastExecutor .{8,30} 240/602, 5 failed, 347 waiting, 15 running$"),
        (60, r"VineFastExecutor .{8,30} 240/602, 5 failed$"),
        (40, r"VineFastExecutor 240/602, 5 failed$"),
    ],
)
def test_a_line_says_what_there_is_room_for(width, expected):
    bar = Progress("VineFastExecutor", lambda: Counts(602, 240, 5, 0, 347, 15, 1, 2))
    bar.look()
    console = Console(width=width, file=StringIO())
    console.print(bar.line())
    shown = console.file.getvalue().rstrip()
    assert "\n" not in shown and re.match(expected, shown)
