"""A coffea analysis of ROOT files: the mass of muon pairs, with the Z boson above a falling continuum.

uproot writes events with any number of muons, simulated from a seed, in the layout of NanoAOD. A coffea processor picks
pairs of opposite charge in one chunk of a file after the other, and coffea's Runner adds its histograms and counts up.
What runs the chunks is exchanged: coffea's own executors on this machine, its `ParslExecutor` with a Parsl
configuration that names vinefast, and `VineFastExecutor.map` in an executor of coffea's kind. All must find the same.

Needs coffea, which brings the rest: ``pip install 'vinefast[coffea]'``.
"""

import contextlib
import io
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import parsl
from parsl.executors.taskvine import TaskVineFactoryConfig
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import vinefast

try:
    import awkward as ak
    import hist
    import loky
    import uproot
    import vector
    from coffea import processor
    from coffea.nanoevents import NanoAODSchema
    from coffea.processor.executor import ExecutorBase
    from matplotlib.figure import Figure
except ImportError as error:
    raise SystemExit(f"{error}. This program needs coffea: pip install 'vinefast[coffea]'") from None

MUON_GEV = 0.1057
Z_GEV, Z_WIDTH_GEV = 91.19, 2.50
AXIS = hist.axis.Regular(130, 20, 150, name="mass", label="mass of the pair (GeV)")
# Of the events, how many are of each kind.
PARTS = {"continuum": 0.8, "Z": 0.2}
# Of a file, events that are compressed together.
BASKET = 10_000


def simulate(kind, n, rng):
    """Give the muons of n events, in each the hardest first."""
    if kind == "Z":
        mass = np.clip(Z_GEV + Z_WIDTH_GEV / 2 * np.tan(np.pi * (rng.random(n) - 0.5)), 15, 300)
    else:
        mass = 15 / np.sqrt(1 - rng.random(n))
    angles = {"phi": rng.uniform(-np.pi, np.pi, n), "eta": rng.normal(0, 1.5, n)}
    pair = vector.array({"pt": rng.exponential(15, n), **angles, "mass": mass})
    momentum = np.sqrt(mass**2 / 4 - MUON_GEV**2)
    cosine, phi = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
    at_rest = {
        "px": momentum * np.sqrt(1 - cosine**2) * np.cos(phi),
        "py": momentum * np.sqrt(1 - cosine**2) * np.sin(phi),
        "pz": momentum * cosine,
    }
    charge = rng.choice([-1, 1], n)
    first = vector.array({**at_rest, "E": mass / 2}).boost_p4(pair)
    second = vector.array({**{name: -value for name, value in at_rest.items()}, "E": mass / 2}).boost_p4(pair)
    # A third one, from elsewhere, in a tenth of the events.
    other = vector.array({"pt": 3 + rng.exponential(8, n), "eta": rng.uniform(-2.4, 2.4, n), "phi": phi[::-1]})
    all_three = (first, second, other)
    columns = {name: np.stack([getattr(muon, name) for muon in all_three], 1) for name in ("pt", "eta", "phi")}
    columns["pt"] *= rng.normal(1, 0.015, (n, 3))  # the detector
    columns["mass"] = np.full((n, 3), MUON_GEV)
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    columns["charge"] = np.stack([charge, -charge, rng.choice([-1, 1], n)], 1).astype(np.int32)
    seen = (columns["pt"] > 3) & (abs(columns["eta"]) < 2.4)
    seen[:, 2] &= rng.random(n) < 0.1
    muons = ak.zip({name: ak.from_regular(values) for name, values in columns.items()})[ak.from_regular(seen)]
    return muons[ak.argsort(muons.pt, ascending=False)]


def write(path, kind, n, seed):
    """Write a file of events, as `NanoAODSchema` reads them."""
    rng = np.random.default_rng(seed)
    with uproot.recreate(path) as file:
        for first in range(0, n, BASKET):
            numbers = np.arange(first, min(n, first + BASKET), dtype=np.uint64)
            branches = {
                "run": np.full(len(numbers), seed, np.uint32),
                "luminosityBlock": (numbers // 1000).astype(np.uint32),
                "event": numbers,
                "Muon": simulate(kind, len(numbers), rng),
            }
            if first == 0:
                tree = file.mktree("Events", branches)
            else:
                tree.extend(branches)


class OnlyMuons(NanoAODSchema):
    """NanoAOD of which nobody misses the jets that muons may belong to."""

    warn_missing_crossrefs = False


class DimuonMass(processor.ProcessorABC):
    """Fill the mass of pairs of muons, and count what is left after each cut."""

    def process(self, events):
        """Analyse one chunk; what it returns is added to that of the others."""
        kind = events.metadata["dataset"]
        muons = events.Muon[(events.Muon.pt > 10) & (abs(events.Muon.eta) < 2.4)]
        two = muons[ak.num(muons) >= 2]
        hard = two[two[:, 0].pt > 20]
        opposite = hard[hard[:, 0].charge != hard[:, 1].charge]
        pairs = opposite[:, 0] + opposite[:, 1]
        counts = {"events": events, "two muons": two, "one above 20 GeV": hard, "opposite charges": opposite}
        return {
            "mass": hist.Hist(hist.axis.StrCategory([], growth=True, name="kind"), AXIS).fill(kind, pairs.mass),
            "counts": {kind: {name: len(left) for name, left in counts.items()}},
            "chunks": 1,
        }

    def postprocess(self, accumulator):
        """Leave the sum as it is."""


@dataclass
class MapExecutor(ExecutorBase):
    """Run coffea's chunks by `VineFastExecutor.map`: results are added up in order, as they come."""

    pool: vinefast.VineFastExecutor | None = None
    retries: int = 3

    def __call__(self, items, function, accumulator):
        """Do what coffea's executors do."""
        return processor.accumulate(self.pool.map(function, items), accumulator), 0


def import_coffea():
    """Import what takes seconds. This is the context: once per worker, and all slots are forked from it."""
    import coffea.nanoevents
    import coffea.processor  # noqa: F401


def vinefast_executor(label, cores):
    """Make an executor whose slots have coffea from the start."""
    return vinefast.VineFastExecutor(
        label=label,
        factory_config=TaskVineFactoryConfig(cores=cores),
        context=import_coffea,
        context_scope="worker",
    )


def ways(cores, directory, stack):
    """Give coffea's executors by name, each as a function that starts what it needs."""

    def by_processes():
        return processor.FuturesExecutor(pool=stack.enter_context(loky.ProcessPoolExecutor(cores)), workers=cores)

    def by_parsl():
        executor = vinefast_executor("dimuon", cores)
        stack.enter_context(parsl.load(parsl.Config(executors=[executor], run_dir=directory, usage_tracking=0)))
        return processor.ParslExecutor()

    def by_map():
        pool = vinefast_executor("dimuon_map", cores)
        pool.run_dir = directory
        return MapExecutor(pool=stack.enter_context(pool))

    return {
        "IterativeExecutor": processor.IterativeExecutor,
        "FuturesExecutor": by_processes,
        "ParslExecutor on vinefast": by_parsl,
        "vinefast's map": by_map,
    }


def analyse(fileset, chunk, cores, repeats, directory, console):
    """Analyse the files in all ways; gives what each has found, and the seconds of its runs."""
    found, seconds, runners = {}, {}, {}
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(console=console, transient=True))
        starts = ways(cores, directory, stack)
        bar = progress.add_task("runs", total=(1 + repeats) * len(starts))
        for _ in range(1 + repeats):
            for way, start in starts.items():
                began = time.perf_counter()
                with contextlib.redirect_stdout(io.StringIO()):  # coffea has bars of its own
                    if way not in runners:
                        # Each looks into the files itself.
                        about = {"chunksize": chunk, "schema": OnlyMuons, "metadata_cache": {}}
                        runners[way] = processor.Runner(start(), **about)
                    found[way] = runners[way](fileset, DimuonMass(), treename="Events")
                seconds.setdefault(way, []).append(time.perf_counter() - began)
                progress.advance(bar)
    return found, seconds


def draw(path, mass):
    """Draw the spectrum, with the kinds on top of each other."""
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    below = np.zeros(AXIS.size)
    for kind in PARTS:
        counts = mass[kind, :].values()
        axes.stairs(below + counts, AXIS.edges, baseline=below, fill=True, label=kind)
        below = below + counts
    axes.set_yscale("log")
    axes.set_xlim(AXIS.edges[0], AXIS.edges[-1])
    axes.set_ylim(max(1, below.min() / 2))
    axes.set_xlabel(AXIS.label)
    axes.set_ylabel("pairs of muons per GeV")
    axes.set_title(f"{int(below.sum()):,} pairs of muons of opposite charge")
    axes.legend()
    figure.savefig(path)


@click.command()
@click.option("--events", default=1_000_000, show_default=True, type=click.IntRange(10), help="Of all files.")
@click.option("--files", default=4, show_default=True, type=click.IntRange(1), help="Of each kind of events.")
@click.option("--chunk", default=10_000, show_default=True, type=click.IntRange(1), help="Events that a call is given.")
@click.option("--cores", default=len(os.sched_getaffinity(0)), type=click.IntRange(1), help="All, if not given.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1), help="Runs of each, after a first.")
@click.option("--keep", type=click.Path(file_okay=False), help="Directory for the events and the histograms.")
@click.option("--picture", default="dimuon_mass.png", show_default=True, type=click.Path(dir_okay=False))
@click.option("--quick", is_flag=True, help="40,000 events in chunks of 5,000, and one run after the first.")
def main(events, files, chunk, cores, repeats, keep, picture, quick):
    """Find the Z boson in the mass of muon pairs, by a call for each chunk of events."""
    if quick:
        events, chunk, repeats = 40_000, 5_000, 1
    picture = Path(picture)
    if not picture.resolve().parent.is_dir():
        raise click.BadParameter(f"there is no directory {picture.parent}", param_hint="--picture")
    console = Console()
    with tempfile.TemporaryDirectory(prefix="vinefast-dimuon-") as scratch:
        directory = Path(keep or scratch)
        directory.mkdir(parents=True, exist_ok=True)
        fileset = {kind: [str(directory / f"{kind}-{i}.root") for i in range(files)] for kind in PARTS}
        for kind, paths in fileset.items():
            for i, path in enumerate(paths):
                write(path, kind, max(1, int(events * PARTS[kind] / files)), seed=1 + len(PARTS) * i + (kind == "Z"))
        nbytes = sum(Path(path).stat().st_size for paths in fileset.values() for path in paths)
        console.print(f"{events:,} events in {len(PARTS) * files} ROOT files, {nbytes / 1e6:.0f} MB.")
        found, seconds = analyse(fileset, chunk, cores, repeats, scratch, console)
        first, *others = found.values()
        if any(other != first for other in others):
            raise click.ClickException(f"the ways have found different things: {found}")
        if keep:
            with uproot.recreate(directory / "histograms.root") as file:
                for kind in PARTS:
                    file[kind] = first["mass"][kind, :]
    cuts = Table("", *PARTS)
    for cut in first["counts"]["Z"]:
        cuts.add_row(cut, *(f"{first['counts'][kind][cut]:,}" for kind in PARTS))
    console.print(cuts)
    table = Table("chunks are run by", "first run, s", "later runs, s", "chunks/s")
    for way, (started, *later) in seconds.items():
        median = statistics.median(later)
        table.add_row(way, f"{started:.2f}", f"{median:.2f}", f"{first['chunks'] / median:.0f}")
    table.caption = (
        f"{first['chunks']} chunks on {cores} cores, but the first way on one. Later runs: median of {repeats}. The "
        "first run has the start of processes, and a look into each file."
    )
    console.print(table)
    draw(picture, first["mass"])
    console.print(f"Picture: {picture}", soft_wrap=True)


# No guard is needed: workers do not run this file.
main()
