"""The examples that have no test of their own."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
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


def rows(said):
    return dict(re.findall(r"│ (\w[^│]*?) +│ ([\d.,%]+) +│", said))


def test_parameter_sweep(mark, tmp_path):
    said = output(tmp_path, str(ROOT / "examples/parameter_sweep.py"), "--quick", "--picture", "sweep.png")
    assert rows(said)["pairs"] == "10,000" and 20 < float(rows(said)["part that is chaotic"].rstrip("%")) < 30
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.png"]


def test_steering(mark, tmp_path):
    said = output(tmp_path, str(ROOT / "examples/steering.py"), "--quick", "--picture", "energy.png")
    # That of 13 atoms is an icosahedron, which any search finds.
    assert re.findall(r"│ (from the best so far|at random) +│ 150 +│ \d+ +│ -44\.326801 +│", said) == [
        "from the best so far",
        "at random",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["energy.png"]


def test_service(mark, tmp_path):
    said = output(tmp_path, str(ROOT / "examples/service.py"), "--quick", "--picture", "map.png")
    assert rows(said)["tiles"] == "16" and rows(said)["clients that left early"] == "20"
    assert 0 < int(rows(said)["calls that were cancelled"]) <= 20
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_service_for_a_browser(mark, tmp_path):
    program = [sys.executable, str(ROOT / "examples/service.py"), "--serve", "--iterations", "20"]
    service = subprocess.Popen(
        program, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        address, _ = service.stdout.readline().split(", ")
        with urllib.request.urlopen(address + "0/0/0.png", timeout=60) as answer:
            assert answer.headers["Content-Type"] == "image/png" and answer.read().startswith(b"\x89PNG")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "1/2/0.png", timeout=60)
    finally:
        service.send_signal(signal.SIGINT)
        assert service.wait(60) == 0
        service.stdout.close()


def import_uproot():
    pytest.importorskip("coffea", reason="coffea is not installed: pip install 'vinefast[coffea]'")
    return pytest.importorskip("uproot")


def dimuon_masses(uproot, path):
    """The masses that `dimuon_mass.py` looks for, pair by pair, from the definition alone."""
    with uproot.open(path) as file:
        branches = [
            file["Events"][f"Muon_{name}"].array(library="np") for name in ("pt", "eta", "phi", "mass", "charge")
        ]
    for event in zip(*branches, strict=True):
        muons = [
            muon for muon in zip(*map(np.ndarray.tolist, event), strict=True) if muon[0] > 10 and abs(muon[1]) < 2.4
        ]
        if len(muons) >= 2 and muons[0][0] > 20 and muons[0][4] != muons[1][4]:
            momenta = [(pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), m) for pt, eta, phi, m, _ in muons[:2]]
            energy = sum(np.sqrt(x**2 + y**2 + z**2 + m**2) for x, y, z, m in momenta)
            x, y, z, _ = map(sum, zip(*momenta, strict=True))
            yield np.sqrt(energy**2 - x**2 - y**2 - z**2)


def test_dimuon_mass(mark, tmp_path):
    uproot = import_uproot()
    said = output(tmp_path, str(ROOT / "examples/dimuon_mass.py"), "--quick", "--keep", "kept", "--picture", "mass.png")
    found = {}
    for kind, n_events in (("Z", 8000), ("continuum", 32_000)):
        paths = sorted((tmp_path / "kept").glob(f"{kind}-*.root"))
        masses = np.sort([mass for path in paths for mass in dimuon_masses(uproot, path)])
        with uproot.open(tmp_path / "kept" / "histograms.root") as file:
            below = file[kind].values(flow=True).cumsum()
            edges = file[kind].axis().edges()
        # coffea computes with 32 bits: a mass may be on the other side of an edge that it is next to.
        assert (np.searchsorted(masses, edges * (1 - 1e-4)) <= below[:-1]).all()
        assert (below[:-1] <= np.searchsorted(masses, edges * (1 + 1e-4))).all()
        assert below[-1] == len(masses) > n_events / 20
        found[kind] = edges[np.argmax(np.diff(below[:-1]))]
    assert 88 <= found["Z"] <= 93 and found["continuum"] < 60
    ways = re.findall(r"│ ([A-Za-z' ]+?) +│ [\d.]+ +│ [\d.]+ +│ \d+ +│", said)
    assert ways == ["IterativeExecutor", "FuturesExecutor", "ParslExecutor on vinefast", "vinefast's map"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "mass.png"]


def test_dimuon_mass_without_coffea(tmp_path):
    tmp_path.joinpath("awkward.py").write_text("raise ModuleNotFoundError(\"No module named 'awkward'\")")
    program = [sys.executable, str(ROOT / "examples/dimuon_mass.py")]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    run = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr == "No module named 'awkward'. This program needs coffea: pip install 'vinefast[coffea]'\n"


@pytest.mark.parametrize("name", ["data_reduction", "parameter_sweep", "steering", "service", "dimuon_mass"])
def test_an_example_without_a_place_for_its_picture(tmp_path, name):
    if name == "dimuon_mass":
        import_uproot()
    program = [sys.executable, str(ROOT / f"examples/{name}.py"), "--quick", "--picture", "no/curve.png"]
    run = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "there is no directory no" in run.stderr
