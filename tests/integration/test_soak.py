"""A short soak, ``python -m benches.soak``: each kind of fault once at least, and nothing is lost, wrong or left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benches.soak.samples import heap_in_use
from tests.helpers.processes import left_of
from tests.helpers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
# In the words of benches/soak/faults.py; the others need a network or a disk of one's own.
FAULTS = {
    *(f"{target} {what}" for target in ("worker", "library", "slot") for what in ("killed", "suspended")),
    "silent connections",
    "garbage connections",
}
PRIVILEGED = {"network cut", "worker's disk full", "run directory's disk full"}
KINDS = 13


def start(directory, *options):
    command = [sys.executable, "-m", "benches.soak", "--directory", str(directory), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_heap_is_told_from_what_lies_free_in_it():
    if not heap_in_use():
        pytest.skip("this C library does not tell")
    small, large = 10_000, 1 << 20  # of one arena, and mapped by themselves
    before = heap_in_use()
    held = [bytes(small) for _ in range(1000)] + [bytes(large) for _ in range(10)]
    used = heap_in_use() - before
    nbytes = 1000 * small + 10 * large
    assert nbytes <= used < 1.5 * nbytes
    held.clear()
    assert heap_in_use() - before < nbytes / 2


@pytest.mark.timeout(600)  # on a busy machine, calls that lost their workers take their time
def test_nothing_is_lost_doubled_wrong_or_left(mark, tmp_path):
    options = "--seconds", "30", "--every", "1.5", "--longest", "4", "--sample", "2", "--rate", "60", "--seed", "3"
    soak = start(tmp_path, *options, "--picture", str(tmp_path / "soak.svg"))
    said = soak.communicate(timeout=550)[0]
    assert soak.returncode == 0, said
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [summary[name] for name in ("lost", "doubled", "wrong", "left")] == [[], [], [], []]
    missing = {*PRIVILEGED} if "No network is cut" in said else set()
    missing |= {kind for kind in PRIVILEGED if "disk" in kind and "No disk is filled" in said}
    assert {*summary["faults"]} == FAULTS | (PRIVILEGED - missing)
    assert len(summary["outcomes"]) == KINDS
    assert sum(map(sum, (kind.values() for kind in summary["outcomes"].values()))) == sum(summary["calls"].values())
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) > 5 and all(sample["rss"] > 0 for sample in samples)
    assert all(sample["heap"] > 0 for sample in samples) or not heap_in_use()
    assert "seed 3" in said
    assert "No picture" in said or "<svg" in (tmp_path / "soak.svg").read_text()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_there_is_to_say(mark, tmp_path, number):
    soak = start(tmp_path, "--seconds", "3600", "--every", "30", "--sample", "1")
    samples = tmp_path / "samples.jsonl"
    assert wait_until(lambda: samples.exists() and samples.stat().st_size > 0, 120)
    os.kill(soak.pid, number)
    said = soak.communicate(timeout=250)[0]
    assert soak.returncode == 0, said
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["lost"] == [] and sum(summary["calls"].values()) > 10
    assert not left_of(mark)


@pytest.mark.timeout(600)
def test_nothing_is_wrong_or_left_of_programs_that_are_killed(mark, tmp_path):
    """By this seed, the first start is killed within half a second; the last ones end by themselves."""
    command = [sys.executable, "-m", "benches.soak.restarts", "--directory", str(tmp_path), "--seed", "36"]
    ended = subprocess.run(
        [*command, "--seconds", "5", "--steps", "8"], cwd=ROOT, capture_output=True, text=True, timeout=550
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["wrong"], summary["left"]) == ([], [])
    numbers = summary["numbers"]
    assert sum(summary["kills"].values()) + numbers["programs ended"] == numbers["starts"] > 1
    assert numbers["steps done"] % 8 == 0 < numbers["steps done"] and numbers["calls ended"] > 8
    assert "seed 36" in ended.stdout and not left_of(mark)
