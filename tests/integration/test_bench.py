"""``vinefast bench`` with real executors, as small as it gets."""

import json
import subprocess
import sys

from tests.integration.processes import processes_marked, wait_until
from vinefast.bench.measures import MEASURES


def test_all_measures(mark, tmp_path):
    program = subprocess.run(
        [sys.executable, "-c", "from vinefast.cli import main; main()", "bench", "--tiny", "--slots", "2"]
        + ["--executors", "vinefast,floor,threads,processpool", "--output", "out"],
        # Not the source tree: workers must find what they call by themselves.
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
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
    assert wait_until(lambda: not processes_marked(mark))
