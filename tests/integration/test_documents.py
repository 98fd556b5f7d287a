"""The Python of README and of docs/ runs: each page is a program."""

import os
import subprocess
import sys

import pytest

from tests.helpers.markdown import PAGES, ROOT, program_of
from vinefast.calls.counters import COUNTERS

pytestmark = pytest.mark.timeout(300)

PROGRAMS = {page.relative_to(ROOT).as_posix(): program_of(page.read_text(encoding="utf-8")) for page in PAGES}


@pytest.mark.parametrize("page", [page for page, program in PROGRAMS.items() if program])
def test_the_python_of_a_page_runs(mark, tmp_path, page):
    program = tmp_path / page.replace("/", "-")
    program.write_text(PROGRAMS[page], encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, f"{page}, whose lines have these numbers:\n{run.stdout}{run.stderr}"
    assert "Traceback" not in run.stderr, run.stderr


def test_the_documented_numbers_are_those_of_an_executor(executor):
    executor.submit(abs, None, -1).result(60)
    assert set(executor.stats()) == {counter.name for counters in COUNTERS.values() for counter in counters}
