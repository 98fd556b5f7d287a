"""The command that lets faults happen on executors, ``python -m benches.faults``, on vinefast."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import left_of

ROOT = Path(__file__).resolve().parents[2]


def run(*options):
    command = [sys.executable, "-m", "benches.faults", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.timeout(400)  # on a busy machine
@pytest.mark.parametrize(
    ("fault", "cell"),
    [
        ("os._exit", r"CallDied, \d+\.\d s"),
        ("is killed", r"as it ended, \d+\.\d s"),  # on another worker
    ],
)
def test_nothing_else_goes_wrong(mark, fault, cell):
    program = run("--executors", "vinefast", "--only", fault)
    assert program.returncode == 0, program.stderr
    title, _, row = program.stdout.strip().splitlines()[-3:]
    assert title == "| the call | vinefast |"
    assert re.fullmatch(rf"\| [^|]*{re.escape(fault)}[^|]* \| {cell} \|", row), row
    assert not left_of(mark)


def test_without_its_module_the_stock_executor_is_left_out():
    program = run("--only", "there is no such fault")
    assert program.returncode == 0, program.stderr
    is_there = importlib.util.find_spec("ndcctools") is not None
    assert ("taskvine is left out: the module ndcctools.taskvine is not installed" in program.stderr) != is_there
    assert program.stdout.startswith("| the call | vinefast | htex |") != is_there


def test_an_executor_that_is_not_there():
    program = run("--executors", "vinefast,none")
    assert program.returncode == 2 and "'none' is none of vinefast, floor" in program.stderr
