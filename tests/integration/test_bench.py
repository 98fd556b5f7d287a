"""``vinefast bench`` with real executors, as small as it gets."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from tests.helpers.processes import left_of
from tests.helpers.waiting import wait_until
from vinefast.bench.measures import MEASURES


@pytest.mark.timeout(400)  # on a busy machine
def test_all_measures(mark, tmp_path):
    program = subprocess.run(
        [sys.executable, "-c", "from vinefast.cli import main; main()", "bench", "--tiny", "--slots", "2"]
        + ["--executors", "vinefast,floor,threads,processpool", "--output", "out"],
        # Not the source tree: workers must find what they call by themselves.
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert program.returncode == 0, program.stderr
    record = json.loads((tmp_path / "out/bench.json").read_text())
    assert record["failures"] == []
    done = {(sample["executor"], sample["measure"]) for sample in record["samples"]}
    skipped = {(entry["executor"], entry["measure"]) for entry in record["skipped"]}
    assert done | skipped == {(executor, name) for executor in record["plan"]["executors"] for name in MEASURES}
    assert not {name for executor, name in skipped if executor == "vinefast"} - {"map"}
    for sample in record["samples"]:
        assert all(value >= 0 for value in sample["metrics"].values()), sample
    for row in record["summary"]:
        if row["measure"] == "duration":
            assert row["metrics"]["share_of_slots"]["median"] <= 1.01
    for name in MEASURES:
        assert f"{name}: {MEASURES[name].title}" in program.stdout
    assert not left_of(mark)


def in_session(session):
    found = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def test_killed_in_the_middle(mark, tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", "from vinefast.cli import main; main()", "bench", "--quick", "--slots", "2"]
        + ["--executors", "htex", "--measures", "duration", "--output", "out"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert wait_until(lambda: psutil.Process(program.pid).children())
    (child,) = psutil.Process(program.pid).children()
    # Processes that change their title, as HTEX's do, hide what they inherited.
    assert wait_until(lambda: any("HTEX" in " ".join(one.cmdline()) for one in child.children()), 30)
    time.sleep(1)
    child.kill()
    assert program.wait(60) == 1
    (failure,) = json.loads((tmp_path / "out/bench.json").read_text())["failures"]
    assert "ended with -9" in failure["reason"]
    assert in_session(child.pid) == []
    assert not left_of(mark)
