"""The examples that have no test of their own."""

import os
import re
import subprocess
import sys

import pytest

from tests.integration.conftest import ROOT

# On a busy machine one takes minutes.
pytestmark = pytest.mark.timeout(400)


def output(directory, *arguments):
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_parsl_perf(mark, tmp_path):
    program = ["-m", "parsl.benchmark.perf", "--config", str(ROOT / "examples/parsl_perf.py")]
    said = output(tmp_path, *program, "--iterate", "10,300", "--time", "1")
    assert len(re.findall(r"Tasks per second: [\d.]+", said)) == 2


def test_inference(mark, tmp_path):
    said = output(tmp_path, str(ROOT / "examples/inference.py"), "--quick")
    rows = re.findall(r"│ ([a-z ]+?) +│ (\d+) +│ (\d+) +│ [\d.]+ +│ [\d.]+ +│ ([\d.]+)% +│", said)
    calls_and_loads = {way: (int(calls), int(loads)) for way, calls, loads, _ in rows}
    assert calls_and_loads.pop("once per slot") in [(300, n + 1) for n in range(os.cpu_count())]
    assert calls_and_loads == {"once per worker": (300, 1), "for each call": (4, 4)}
    assert all(float(accuracy) > 80 for *_, accuracy in rows)
    assert list(tmp_path.iterdir()) == []


def test_data_reduction(mark, tmp_path):
    said = output(tmp_path, str(ROOT / "examples/data_reduction.py"), "--quick", "--picture", "curve.png")
    figures = {name: float(value.replace(",", "")) for name, value in re.findall(r"│ (\w[^│]*?) +│ ([\d.,]+) +│", said)}
    frames, numbers_per_frame = 8 * 31, 2 * 3 * 55
    assert figures["bytes of trajectories, on workers"] > frames * numbers_per_frame * 8
    came = figures["bytes that came to the manager"]
    assert 240 * 8 < came < figures["bytes of trajectories, on workers"] / 20
    assert figures["ratio"] == round(figures["bytes of trajectories, on workers"] / came)
    assert figures["calls"] == 8 + 8 + 7 + 1  # the last one brings the root's value
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_data_reduction_without_a_place_for_its_picture(tmp_path):
    program = [sys.executable, str(ROOT / "examples/data_reduction.py"), "--quick", "--picture", "no/curve.png"]
    run = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "there is no directory no" in run.stderr
