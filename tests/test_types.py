"""The types that a user's program sees, by mypy and by pyright, which basedpyright brings with its Node.js."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import parsl
import pytest

import vinefast
from vinefast.calls.apps import ParslArguments
from vinefast.settings.resources import RULES

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "tests/types/program.py"


def expected():
    """The lines at which something is to be found, and what mypy calls it."""
    found = set()
    for number, line in enumerate(PROGRAM.read_text().splitlines(), 1):
        marked = re.search(r"# error: \[(.*)\]$", line)
        found.update((number, code) for code in (marked[1].split(", ") if marked else ()))
    return found


def run(*command):
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110)


@pytest.mark.processes
def test_mypy_finds_in_a_users_program_what_is_wrong_and_nothing_else(tmp_path):
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path}", "--no-error-summary", "--hide-error-context"]
    done = run("mypy", *options, "--follow-imports=silent", str(PROGRAM))
    found = {
        (int(number), code)
        for number, code in re.findall(r"^.*program\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.M)
    }
    assert len(expected()) > 5
    assert (found, done.stderr) == (expected(), ""), done.stdout
    assert not re.findall(r"^(?!.*tests/types/program\.py).*error:.*$", done.stdout, re.M)


@pytest.mark.processes
def test_pyright_finds_in_a_users_program_what_is_wrong_and_nothing_else(tmp_path):
    config = tmp_path / "pyrightconfig.json"
    settings = {"typeCheckingMode": "strict", "include": [str(PROGRAM)], "extraPaths": [str(ROOT)]}
    config.write_text(json.dumps(settings))
    done = run("basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(config))
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert {entry["file"] for entry in found} == {str(PROGRAM)}, done.stdout
    lines = {entry["range"]["start"]["line"] + 1 for entry in found}
    assert lines == {number for number, _ in expected()}, done.stdout


def test_a_resource_specification_has_for_type_checkers_the_keys_that_are_read():
    assert set(vinefast.ResourceSpecification.__annotations__) == {*RULES, "exec_mode"}


def test_python_app_has_for_type_checkers_the_arguments_of_parsls():
    assert set(ParslArguments.__annotations__) == set(inspect.signature(parsl.python_app).parameters) - {"function"}
