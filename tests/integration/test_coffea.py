"""coffea's own `ParslExecutor` with vinefast: what it can be asked for, with nothing of coffea or Parsl changed."""

import numpy as np
import parsl
import pytest

from vinefast import VineFastExecutor

pytest.importorskip("coffea", reason="coffea is not installed: pip install 'vinefast[coffea]'")

import awkward as ak  # noqa: E402
import hist  # noqa: E402
import uproot  # noqa: E402
from coffea import processor  # noqa: E402
from coffea.nanoevents import BaseSchema  # noqa: E402

# Its imports take seconds, in each slot.
pytestmark = pytest.mark.timeout(300)

EVENTS = 4000
CHUNK = 250


class Spectrum(processor.ProcessorABC):
    """Histogram, sums, sets and lists: what accumulators may be."""

    def __init__(self, spoiled=None):
        self.spoiled = spoiled

    def process(self, events):
        if events.metadata["entrystart"] == self.spoiled:
            raise ValueError("there is no such luck")
        histogram = hist.Hist.new.StrCat([], growth=True, name="set").Reg(50, 0, 50, name="x").Int64()
        return {
            "x": histogram.fill(events.metadata["dataset"], ak.flatten(events.x)),
            "events": len(events),
            "sum": processor.defaultdict_accumulator(float, {"x": float(ak.sum(events.x))}),
            "chunks": {(events.metadata["dataset"], events.metadata["entrystart"])},
        }

    def postprocess(self, accumulator):
        pass


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("events")
    found = {}
    for seed, name in enumerate(("signal", "background")):
        rng = np.random.default_rng(seed)
        found[name] = [str(directory / f"{name}.root")]
        with uproot.recreate(found[name][0]) as file:
            counts = rng.integers(0, 4, EVENTS)
            file.mktree("Events", {"x": ak.unflatten(rng.exponential(10, counts.sum()), counts)})
    return found


def read(path):
    with uproot.open(path) as file:
        return np.concatenate(file["Events"]["x"].array(library="np"))


def check(found, fileset, but=0):
    """That all chunks were counted once, but so many, of the signal."""
    values = {name: read(path) for name, (path,) in fileset.items()}
    assert found["events"] == 2 * EVENTS - but * CHUNK
    assert len(found["chunks"]) == 2 * EVENTS // CHUNK - but
    if not but:
        for name, these in values.items():
            assert (found["x"][name, :].values(flow=True)[1:-1] == np.histogram(these, 50, (0, 50))[0]).all()
        assert found["sum"]["x"] == pytest.approx(sum(these.sum() for these in values.values()))


@pytest.fixture
def config(mark, tmp_path):
    """A configuration. coffea's argument of that name expects another error of Parsl's than today's: it is loaded."""
    return parsl.Config(executors=[VineFastExecutor(label="chunks")], run_dir=str(tmp_path), usage_tracking=0)


def run(executor, fileset, **what):
    runner = processor.Runner(executor, chunksize=CHUNK, schema=BaseSchema, metadata_cache={})
    return runner(fileset, Spectrum(**what), treename="Events")


@pytest.mark.parametrize("arguments", [{}, {"compression": None}])
def test_a_configuration_that_is_loaded(config, fileset, arguments):
    with parsl.load(config):
        check(run(processor.ParslExecutor(**arguments), fileset), fileset)


def test_chunks_and_merges_by_label(mark, fileset, tmp_path):
    executors = [VineFastExecutor(label=label) for label in ("jobs", "merges")]
    with parsl.load(parsl.Config(executors=executors, run_dir=str(tmp_path), usage_tracking=0)):
        executor = processor.ParslExecutor(merging=(2, 2, 5), jobs_executors=["jobs"], merges_executors=["merges"])
        check(run(executor, fileset), fileset)
        assert executors[0].stats()["calls_submitted"] == 2 + 2 * EVENTS // CHUNK
        assert executors[1].stats()["calls_submitted"] > 1


def test_a_chunk_that_raises(config, fileset):
    with parsl.load(config):
        with pytest.raises(Exception, match="there is no such luck"):
            run(processor.ParslExecutor(retries=0), fileset, spoiled=CHUNK)
