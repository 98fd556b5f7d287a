"""The Python of README and of docs/ runs: each page is a program."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.markdown import PAGES, ROOT, blocks_of, program_of
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


def test_the_job_of_several_nodes_runs(mark, tmp_path):
    """With a stand-in for srun, which starts two workers here."""
    blocks = blocks_of((ROOT / "docs/clusters.md").read_text(encoding="utf-8"))
    job = next(block.code for block in blocks if "python program.py &" in block.code)
    by_hand = next(block.code for block in blocks if 'print("vinefast worker"' in block.code)
    imports = "from parsl.executors.taskvine import TaskVineManagerConfig\nfrom vinefast import VineFastExecutor\n"
    (tmp_path / "program.py").write_text(
        f"{imports}{by_hand}\nimport time\n"
        "while executor.stats()['workers_connected'] < 2:\n    time.sleep(0.1)\n"
        "print('sum', sum(executor.map(abs, range(-100, 0))))\nparsl.dfk().cleanup()\n"
    )
    activate = tmp_path / "home/vf/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"PATH={shlex.quote(f'{tmp_path}/bin:{Path(sys.executable).parent}')}:$PATH\n")
    srun = tmp_path / "bin/srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\n"$@" &\n"$@" &\nwait\n')
    srun.chmod(0o755)
    (tmp_path / "job.sh").write_text(job)
    run = subprocess.run(
        ["sh", "job.sh"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "home")},
    )
    assert run.returncode == 0 and "sum 5050" in run.stdout, run.stdout + run.stderr


def test_the_documented_numbers_are_those_of_an_executor(executor):
    executor.submit(abs, None, -1).result(60)
    assert set(executor.stats()) == {counter.name for counters in COUNTERS.values() for counter in counters}
