"""Radial distribution of a copper cluster: trajectories stay on the workers that made them, only the curve comes here.

Each of some tens of independent runs is a call of molecular dynamics (ASE, EMT) that writes its trajectory to a
`vinefast.TempFile`. A second app takes the histogram of all distances between atoms in one trajectory and leaves it on
its worker too (``keep=True``), and a tree of sums makes one histogram of all. vinefast sends calls to where their files
and values are.

Needs ASE and matplotlib: ``pip install 'vinefast[demo]'``.
"""

import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import parsl
from matplotlib.figure import Figure
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from rich.console import Console
from rich.table import Table

import vinefast

ATOMS = 55
LONGEST_A = 12.0
BINS = 240


@parsl.python_app
def simulate(seed, steps, temperature_K, outputs=()):
    """Run molecular dynamics from the perfect icosahedron, and write every tenth step; gives the trajectory's bytes."""
    import os

    import numpy as np
    from ase import units
    from ase.calculators.emt import EMT
    from ase.cluster import Icosahedron
    from ase.io import Trajectory
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

    random = np.random.default_rng(seed)
    cluster = Icosahedron("Cu", 3)
    cluster.calc = EMT()
    MaxwellBoltzmannDistribution(cluster, temperature_K=temperature_K, rng=random)
    dynamics = Langevin(
        cluster, 5 * units.fs, temperature_K=temperature_K, friction=0.01 / units.fs, fixcm=False, rng=random
    )
    with Trajectory(os.fspath(outputs[0]), "w", cluster) as trajectory:
        dynamics.attach(trajectory.write, interval=10)
        dynamics.run(steps)
    return os.path.getsize(outputs[0])


@vinefast.python_app(keep=True)
def distances(trajectory, bins, longest_A):
    """Count the pairs of atoms by their distance, frame by frame; gives the counts and the number of frames."""
    import os

    import numpy as np
    from ase.io import Trajectory

    counts, frames = np.zeros(bins, dtype=np.int64), 0
    with Trajectory(os.fspath(trajectory)) as frames_there:
        # All runs start from the same positions: the first quarter says little.
        for atoms in frames_there[len(frames_there) // 4 :]:
            upper = np.triu_indices(len(atoms), 1)
            counts += np.histogram(atoms.get_all_distances()[upper], bins, (0, longest_A))[0]
            frames += 1
    return counts, frames


@vinefast.python_app(keep=True)
def add(one, other):
    """Add the counts of two, and their frames."""
    return one[0] + other[0], one[1] + other[1]


def reduce_by_twos(values):
    """Submit a tree of sums; gives the future of its root."""
    while len(values) > 1:
        odd = values[len(values) // 2 * 2 :]
        values = [add(*two) for two in zip(values[::2], values[1::2], strict=False)] + odd
    return values[0]


def draw(path, counts, frames, temperature_K):
    """Draw the mean number of neighbours at each distance, per atom and angstrom."""
    edges = np.linspace(0, LONGEST_A, len(counts) + 1)
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot((edges[1:] + edges[:-1]) / 2, 2 * counts / (ATOMS * frames * np.diff(edges)))
    axes.set_xlim(1.5, LONGEST_A)
    axes.set_ylim(0)
    axes.set_xlabel("distance (Å)")
    axes.set_ylabel("neighbours per atom (1/Å)")
    axes.set_title(f"Cu{ATOMS} at {temperature_K:.0f} K: radial distribution over {frames:,} frames")
    axes.grid(True, alpha=0.3)
    figure.savefig(path)


def run(runs, steps, temperature_K, workers, directory):
    """Run everything; gives counts and frames, and what is to be told of the run."""
    executor = vinefast.VineFastExecutor(
        label="data_reduction",
        worker_launch_method="factory",
        manager_config=TaskVineManagerConfig(port=0),
        factory_config=TaskVineFactoryConfig(min_workers=workers, max_workers=workers, cores=1),
    )
    with parsl.load(parsl.Config(executors=[executor], run_dir=directory, usage_tracking=0)):
        began = time.perf_counter()
        made = [
            simulate(seed, steps, temperature_K, outputs=[vinefast.TempFile(f"run-{seed}.traj")])
            for seed in range(runs)
        ]
        root = reduce_by_twos([distances(call.outputs[0], BINS, LONGEST_A) for call in made])
        counts, frames = root.result().result()  # the root's reference, then its value
        seconds = time.perf_counter() - began
        stats = executor.stats()
        nbytes = sum(call.result() for call in made)
    crossed = stats["manager_bytes_received"] + stats["bytes_returned"]
    return (counts, frames), {
        "trajectories": f"{runs}",
        "bytes of trajectories, on workers": f"{nbytes:,}",
        "bytes that came to the manager": f"{crossed:,}",
        "ratio": f"{nbytes / crossed:,.0f}",
        "bytes that moved between workers": f"{stats['file_bytes_moved']:,}",
        "calls": f"{stats['calls_submitted']}",
        "seconds": f"{seconds:.1f}",
    }


@click.command()
@click.option("--runs", default=40, show_default=True, type=click.IntRange(2), help="Runs of molecular dynamics.")
@click.option("--steps", default=500, show_default=True, type=click.IntRange(10), help="Steps of 5 fs in each.")
@click.option("--temperature", default=700.0, show_default=True, type=click.FloatRange(1), help="In kelvin.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Workers with a core each.")
@click.option("--picture", default="radial_distribution.png", show_default=True, type=click.Path(dir_okay=False))
@click.option("--quick", is_flag=True, help="8 runs of 300 steps.")
def main(runs, steps, temperature, workers, picture, quick):
    """Reduce trajectories on the workers that made them to one curve."""
    if quick:
        runs, steps = 8, 300
    picture = Path(picture)
    if not picture.resolve().parent.is_dir():
        raise click.BadParameter(f"there is no directory {picture.parent}", param_hint="--picture")
    # The local workers inherit this: each has one core.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    console = Console()
    with tempfile.TemporaryDirectory(prefix="vinefast-reduction-") as directory:
        try:
            (counts, frames), figures = run(runs, steps, temperature, workers, directory)
        except Exception as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from error
    table = Table("", "", show_header=False)
    for name, value in figures.items():
        table.add_row(name, value)
    console.print(table)
    draw(picture, counts, frames, temperature)
    console.print(f"Picture: {picture}", soft_wrap=True)


# No guard is needed: workers do not run this file.
main()
