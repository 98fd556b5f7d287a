"""The types that a user's program sees, by mypy."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "tests/types/program.py"


def expected():
    """The lines at which something is to be found, and what."""
    found = set()
    for number, line in enumerate(PROGRAM.read_text().splitlines(), 1):
        marked = re.search(r"# error: \[(.*)\]$", line)
        found.update((number, code) for code in (marked[1].split(", ") if marked else ()))
    return found


@pytest.mark.processes
def test_mypy_finds_in_a_users_program_what_is_wrong_and_nothing_else(tmp_path):
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path}", "--no-error-summary", "--hide-error-context"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--follow-imports=silent", str(PROGRAM)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    found = {
        (int(number), code)
        for number, code in re.findall(r"^.*program\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.M)
    }
    assert len(expected()) > 5
    assert (found, done.stderr) == (expected(), ""), done.stdout
    assert not re.findall(r"^(?!.*tests/types/program\.py).*error:.*$", done.stdout, re.M)
