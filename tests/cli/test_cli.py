"""The command ``vinefast``: options, what it writes, and that it ends in order however it ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from datetime import datetime, timezone

import pytest
from click.testing import CliRunner

from tests.helpers.processes import MARK, left_of, processes_marked
from vinefast.bench import picture
from vinefast.bench.peers import PEERS
from vinefast.bench.record import make_record, summarize
from vinefast.bench.rounds import Findings, Plan
from vinefast.bench.table import number, tables
from vinefast.bench.timing import rate
from vinefast.cli import main

pytestmark = pytest.mark.processes

PROGRAM = [sys.executable, "-c", "from vinefast.cli import main; main()", "bench"]


def invoke(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def mark(monkeypatch):
    """A mark that every process started from here on inherits; none of them must be left."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    yield value
    assert not left_of(value)


@pytest.fixture
def fake_dask(tmp_path, monkeypatch):
    """Stand in for Dask's package; gives a function that takes the body of the cluster's start."""

    def fake(body):
        directory = tmp_path / "fake"
        directory.mkdir()
        source = "class LocalCluster:\n    def __init__(self, **_):\n" + textwrap.indent(body, " " * 8)
        (directory / "distributed.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(directory), prepend=os.pathsep)

    return fake


def test_help_and_version():
    assert "bench" in invoke("--help").output
    assert "--rounds" in invoke("bench", "--help").output
    result = invoke("--version")
    assert result.exit_code == 0 and "vinefast" in result.output


def test_matplotlib_is_not_imported():
    code = "import sys, vinefast.cli; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_list_says_why_an_executor_is_missing(monkeypatch):
    monkeypatch.setattr(PEERS["ray"], "module", "no_such_module.within")
    output = invoke("bench", "--list").output
    assert "no: the module no_such_module.within is not installed; install ray" in output
    for name in ("vinefast", "htex", "queue", "duration"):
        assert name in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--executors", "vinfast"], "there is no executor 'vinfast'; known: vinefast, floor"),
        (["--measures", "executor,speed"], "there is no measure 'speed'; known: executor, stages, apps"),
        (["--measures", ","], "no measure is named"),
        (["--rounds", "0"], "0 is not in the range"),
        (["--slots", "two"], "'two' is not a valid integer"),
        (["--timeout", "0"], "0.0 is not in the range"),
    ],
)
def test_bad_input(arguments, message):
    result = invoke("bench", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_executor_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(PEERS["ray"], "module", "no_such_module")
    result = invoke("bench", "--executors", "ray")
    assert result.exit_code == 2
    assert "ray cannot be measured: the module no_such_module is not installed; install ray" in result.output


def test_output_that_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    result = invoke("bench", "--executors", "floor", "--output", str(tmp_path / "file" / "below"))
    assert result.exit_code == 2
    assert "cannot be made: Not a directory; name another directory" in " ".join(result.output.split())


def test_record(mark, tmp_path):
    started = ["--tiny", "--executors", "floor", "--measures", "executor,one,apps", "--rounds", "2", "--json"]
    program = subprocess.run([*PROGRAM, *started, "--output", "out"], cwd=tmp_path, check=True, capture_output=True)
    record = json.loads(program.stdout)
    assert record == json.loads((tmp_path / "out/bench.json").read_text())
    assert record["schema_version"] == 1 and not record["interrupted"] and record["failures"] == []
    assert {"cpu", "cores", "memory_bytes", "kernel", "load_before", "load_after"} <= set(record["machine"])
    assert {"python", "parsl", "vinefast", "numpy", "TaskVine"} <= set(record["versions"])
    assert record["plan"]["rounds"] == 2
    rates = [s["metrics"]["calls_per_s"] for s in record["samples"] if s["measure"] == "executor"]
    assert len(rates) == 2
    row = record["summary"][0]
    assert (row["measure"], row["executor"]) == ("executor", "floor")
    assert row["metrics"]["calls_per_s"] == {
        "median": pytest.approx(sum(rates) / 2),
        "min": min(rates),
        "max": max(rates),
        "rounds": 2,
    }
    assert {"round": 1, "executor": "floor", "measure": "apps", "reason": "Parsl apps do not run on it"} in record[
        "skipped"
    ]
    # No escape codes and no progress bar where there is no terminal.
    assert b"\x1b" not in program.stderr and b"round 2 of 2: floor" in program.stderr


def test_peer_that_fails_to_start(mark, fake_dask, tmp_path):
    fake_dask("raise RuntimeError('no cluster [today]')")
    arguments = ["--tiny", "--executors", "dask,floor", "--measures", "executor", "--output", "out"]
    program = subprocess.run([*PROGRAM, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
    (failure,) = json.loads((tmp_path / "out/bench.json").read_text())["failures"]
    assert failure == {
        "round": 1,
        "executor": "dask",
        "measure": "start",
        "reason": "RuntimeError: no cluster [today]",
    }
    assert "RuntimeError: no cluster [today]" in program.stdout
    assert "floor" in program.stdout


def test_peer_that_hangs(mark, fake_dask, tmp_path):
    fake_dask("import subprocess; subprocess.run('sleep 100 & sleep 100', shell=True)")
    arguments = ["--tiny", "--executors", "dask,floor", "--measures", "executor", "--timeout", "30", "--output", "out"]
    subprocess.run([*PROGRAM, *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=110)
    record = json.loads((tmp_path / "out/bench.json").read_text())
    assert [failure["reason"] for failure in record["failures"]] == ["no answer for 30 s"]
    assert {sample["executor"] for sample in record["samples"]} == {"floor"}


def test_peer_that_dies(mark, fake_dask, tmp_path):
    fake_dask("import os, sys; print('the last word', file=sys.stderr, flush=True); os._exit(3)")
    arguments = ["--tiny", "--executors", "dask", "--measures", "executor", "--output", "out"]
    program = subprocess.run([*PROGRAM, *arguments], cwd=tmp_path, capture_output=True)
    assert program.returncode == 1
    (failure,) = json.loads((tmp_path / "out/bench.json").read_text())["failures"]
    assert failure["reason"] == "its process ended with 3: the last word"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_ended_in_the_middle(mark, tmp_path, monkeypatch, end):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    arguments = ["--quick", "--executors", "floor,vinefast", "--measures", "executor,duration", "--output", "out"]
    program = subprocess.Popen([*PROGRAM, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    for line in program.stderr:
        if b": vinefast" in line:
            break
    time.sleep(2)
    assert len(processes_marked(mark)) > 3
    program.send_signal(end)
    program.communicate(timeout=30)
    assert not left_of(mark)
    if end == signal.SIGINT:
        assert program.returncode == 130
        record = json.loads((tmp_path / "out/bench.json").read_text())
        assert record["interrupted"]
        assert "floor" in {sample["executor"] for sample in record["samples"]}
        assert list(scratch.iterdir()) == []


def sample(executor, value, measure="executor", case="", **others):
    name = {"executor": "calls_per_s", "duration": "calls_per_s", "one": "p50_ms", "apps": "apps_per_s"}[measure]
    return {"round": 1, "executor": executor, "measure": measure, "case": case, "metrics": {name: value, **others}}


def test_comparison():
    rows = summarize(
        [
            *(sample("vinefast", value) for value in (100, 300, 200)),
            sample("htex", 20),
            sample("threads", 1000),
            sample("floor", 5000),
            sample("vinefast", 1.0, "one"),
            sample("htex", 4.0, "one"),
        ]
    )
    found = {(row["measure"], row["executor"]): row for row in rows}
    assert found["executor", "vinefast"]["metrics"]["calls_per_s"] == {
        "median": 200,
        "min": 100,
        "max": 300,
        "rounds": 3,
    }
    assert found["executor", "vinefast"]["to_best"] == 10
    assert found["executor", "vinefast"]["to_threads"] == 0.2
    assert found["executor", "htex"]["to_best"] == 0.1
    assert found["executor", "threads"]["to_best"] is None
    # Less is better here.
    assert found["one", "vinefast"]["to_best"] == 4


def a_record():
    samples = [
        sample(executor, factor * value, "duration", case, share_of_slots=0.5)
        for executor, factor in (("vinefast", 1.0), ("htex", 0.1))
        for case, value in (("0 ms", 80_000.0), ("1 ms", 1_900.0), ("100 ms", 19.0), ("0-100 ms", 38.0))
    ]
    plan = Plan(["vinefast", "htex"], ["duration"], "quick", 1, 2)
    return make_record(plan, Findings(samples), (0.0, 0.0, 0.0), datetime.now(timezone.utc))


def test_tables_hold_every_row():
    ((title, table),) = tables(a_record())
    assert title.startswith("duration") and table.row_count == 8


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (77123.4, "77,100"), (999.6, "1,000"), (12.345, "12.3"), (0.00456, "0.00456")]
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    assert picture.draw(a_record(), str(tmp_path / "picture.png"))
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = ("--tiny", "--executors", "threads", "--measures", "duration", "--output", str(tmp_path / "out"))
    result = invoke("bench", *arguments)
    assert result.exit_code == 0, result.output
    assert "pip install 'vinefast[bench]'" in result.output
    assert (tmp_path / "out/bench.json").exists()


def test_rate_stops_where_it_should():
    counts = []

    def run(count):
        counts.append(count)
        time.sleep(1e-4 * count)

    count, per_s = rate(run, 10_000, 0.1)
    assert counts[0] == 10 and counts == sorted(counts)
    assert count == counts[-1] < 10_000 and 5_000 < per_s < 10_000
    counts.clear()
    assert rate(run, 300, 1e-9, at_once=True)[0] == 300 and counts == [10, 300]
    counts.clear()
    # What is measured is never the first run, which is cold.
    assert rate(run, 4, 1.0)[0] == 4 and counts == [4, 4]
