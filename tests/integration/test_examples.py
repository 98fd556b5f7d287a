"""The examples that have no test of their own."""

import os
import re
import subprocess
import sys

from tests.integration.conftest import ROOT


def test_parsl_perf(mark, tmp_path):
    command = [sys.executable, "-m", "parsl.benchmark.perf", "--config", str(ROOT / "examples/parsl_perf.py")]
    run = subprocess.run(
        [*command, "--iterate", "10,300", "--time", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(re.findall(r"Tasks per second: [\d.]+", run.stdout)) == 2
