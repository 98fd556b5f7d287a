"""Steering: each result decides what is submitted next, here to find the most stable cluster of argon atoms.

The atoms attract each other by the Lennard-Jones potential, and a call takes a cluster to the nearest minimum of the
energy. The program keeps the best minima that it has seen, and as soon as a call is done, submits another: one of those
with its atoms moved, or the least bound of them put elsewhere (basin hopping; D. J. Wales and J. P. K. Doye, J. Phys.
Chem. A 101, 5111 (1997)). As many calls from random clusters show what the steering is worth.

Needs SciPy and matplotlib: ``pip install 'vinefast[demo,examples]'``.
"""

import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import vinefast

# Wales and Doye, Table 1.
LOWEST = {13: -44.326801, 19: -72.659782, 26: -108.315616, 31: -133.586422, 38: -173.928427}
KEPT = 8
TEMPERATURE = 0.8


def relax(positions):
    """Take a cluster to the nearest minimum; gives its energy, its atoms and the energy of each. This is the call."""
    import numpy as np
    from scipy.optimize import minimize

    n = len(positions)
    i, j = np.triu_indices(n, 1)

    def energy_and_slope(flat):
        atoms = flat.reshape(n, 3)
        apart = atoms[i] - atoms[j]
        inverse = 1 / np.maximum((apart**2).sum(axis=1), 0.25) ** 3
        force = (24 * (2 * inverse**2 - inverse) / np.maximum((apart**2).sum(axis=1), 0.25))[:, None] * apart
        slope = np.zeros((n, 3))
        np.add.at(slope, i, -force)
        np.add.at(slope, j, force)
        return 4 * (inverse**2 - inverse).sum(), slope.ravel()

    found = minimize(energy_and_slope, positions.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    atoms = found.x.reshape(n, 3)
    inverse = 1 / np.maximum(((atoms[i] - atoms[j]) ** 2).sum(axis=1), 0.25) ** 3
    bonds = 4 * (inverse**2 - inverse)
    return float(found.fun), atoms, np.bincount(i, bonds, n) + np.bincount(j, bonds, n)


def random_cluster(rng, n):
    """Give atoms at random places in a ball of about the right size."""
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * (0.6 * n ** (1 / 3) * rng.random((n, 1)) ** (1 / 3))


class Search:
    """The minima that are known, the best first, and what to try next."""

    def __init__(self, rng, n):
        self._rng = rng
        self._n = n
        self.best = []

    def learn(self, energy, atoms, bonds):
        """Keep a minimum, if it is a new one and among the best."""
        if all(abs(energy - other) > 1e-4 for other, _, _ in self.best):
            self.best = sorted([*self.best, (energy, atoms, bonds)], key=lambda each: each[0])[:KEPT]

    def propose(self):
        """Give the atoms of the next call."""
        if len(self.best) < 2:
            return random_cluster(self._rng, self._n)
        energies = np.array([energy for energy, _, _ in self.best])
        weights = np.exp(-(energies - energies[0]) / TEMPERATURE)
        _, atoms, bonds = self.best[self._rng.choice(len(self.best), p=weights / weights.sum())]
        if self._rng.random() < 0.5:
            return atoms + self._rng.uniform(-0.4, 0.4, atoms.shape)
        moved = atoms - atoms.mean(axis=0)
        direction = self._rng.normal(size=3)
        moved[np.argmax(bonds)] = direction / np.linalg.norm(direction) * np.linalg.norm(moved, axis=1).max()
        return moved


def run(executor, n, calls, is_steered, progress):
    """Make these many calls, some of which are always on their way; gives the energies in the order of their end."""
    rng = np.random.default_rng(1)
    search = Search(rng, n)

    def submit():
        return executor.submit(relax, None, search.propose() if is_steered else random_cluster(rng, n))

    bar = progress.add_task("steered" if is_steered else "at random", total=calls)
    # Twice as many as slots, so that none waits for this program.
    running = {submit() for _ in range(min(calls, 2 * executor.stats()["slots"]))}
    n_submitted, energies = len(running), []
    while running:
        done, running = vinefast.wait(running, return_when="FIRST_COMPLETED")
        for future in done:
            energy, atoms, bonds = future.result()
            energies.append(energy)
            search.learn(energy, atoms, bonds)
            progress.update(bar, completed=len(energies))
            if n_submitted < calls:
                running.add(submit())
                n_submitted += 1
    return np.array(energies)


def draw(path, n, found):
    """Draw the best energy so far over the number of calls."""
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, energies in found.items():
        (line,) = axes.step(np.arange(1, len(energies) + 1), np.minimum.accumulate(energies), where="post", label=name)
        axes.plot(np.arange(1, len(energies) + 1), energies, ".", ms=2, alpha=0.3, color=line.get_color())
    if n in LOWEST:
        axes.axhline(LOWEST[n], color="black", lw=0.8, ls="--", label="lowest that is known")
    best = min(energies.min() for energies in found.values())
    axes.set_ylim(1.01 * best, 0.92 * best)
    axes.set_xlabel("calls that are done")
    axes.set_ylabel("energy (well depths)")
    axes.set_title(f"The most stable cluster of {n} Lennard-Jones atoms")
    axes.legend(loc="upper right")
    axes.grid(True, alpha=0.3)
    figure.savefig(path)


@click.command()
@click.option("--atoms", default=31, show_default=True, type=click.IntRange(3), help="Of the cluster.")
@click.option("--calls", default=1500, show_default=True, type=click.IntRange(1), help="Of each of the two searches.")
@click.option("--picture", default="steering.png", show_default=True, type=click.Path(dir_okay=False))
@click.option("--quick", is_flag=True, help="13 atoms, and 150 calls.")
def main(atoms, calls, picture, quick):
    """Look for the most stable cluster, with and without learning from what came back."""
    if quick:
        atoms, calls = 13, 150
    picture = Path(picture)
    if not picture.resolve().parent.is_dir():
        raise click.BadParameter(f"there is no directory {picture.parent}", param_hint="--picture")
    # The local worker inherits this: each slot has one core.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    console = Console()
    table = Table("next clusters", "calls", "calls/s", "lowest energy", "found after")
    found = {}
    executor = vinefast.VineFastExecutor(label="steering")
    with tempfile.TemporaryDirectory(prefix="vinefast-steering-") as directory:
        executor.run_dir = directory
        with executor, Progress(console=console, transient=True) as progress:
            executor.submit(relax, None, random_cluster(np.random.default_rng(0), 3)).result()  # SciPy is imported
            for name, is_steered in {"from the best so far": True, "at random": False}.items():
                began = time.perf_counter()
                found[name] = energies = run(executor, atoms, calls, is_steered, progress)
                table.add_row(
                    name,
                    f"{len(energies)}",
                    f"{len(energies) / (time.perf_counter() - began):.0f}",
                    f"{energies.min():.6f}",
                    f"{np.argmax(energies < energies.min() + 1e-5) + 1} calls",
                )
    if atoms in LOWEST:
        table.caption = f"The lowest that is known: {LOWEST[atoms]:.6f}"
    console.print(table)
    draw(picture, atoms, found)
    console.print(f"Picture: {picture}", soft_wrap=True)


# No guard is needed: workers do not run this file.
main()
