"""A sweep over millions of parameters, from generators: the Lyapunov exponents of a forced logistic map.

Each call takes one pair of growth rates, which the map x -> r x (1 - x) uses by turns in a given order, and gives the
exponent: negative where the map settles into a cycle, positive where it is chaotic (M. Markus and B. Hess, Computers &
Graphics 13, 553 (1989)). `map` takes the pairs as slots want them, and gives the exponents in order, so that neither
the arguments nor the results that wait are ever all in memory.

Needs matplotlib: ``pip install 'vinefast[demo]'``.
"""

import itertools
import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import vinefast

ORDER = "AABAB"
LOW, HIGH = 2.0, 4.0


def exponent(a, b, order, steps):
    """Give the mean logarithm of how much farther two neighbours are apart after a step. This is the call."""
    import math

    rates = [a if letter == "A" else b for letter in order]
    x, total = 0.5, 0.0
    for step in range(steps):
        rate = rates[step % len(rates)]
        x = rate * x * (1 - x)
        if step >= steps // 2:  # those before only find the way to where the map stays
            total += math.log(max(abs(rate * (1 - 2 * x)), 1e-12))
    return total / (steps - steps // 2)


def pairs(side):
    """Give the points of a square grid, row by row."""
    values = [LOW + (HIGH - LOW) * (i + 0.5) / side for i in range(side)]
    return itertools.product(values, values)


def sweep(side, steps, directory, console):
    """Find all exponents; gives them in rows, and what is to be told of the run."""
    found = np.empty(side * side, np.float32)
    memory = psutil.Process().memory_info
    executor = vinefast.VineFastExecutor(label="sweep")
    executor.run_dir = directory
    with executor, Progress(console=console, transient=True) as progress:
        executor.submit(exponent, None, LOW, HIGH, ORDER, steps).result()  # the worker has come
        bar = progress.add_task("pairs", total=len(found))
        before = most = memory().rss
        began = time.perf_counter()
        firsts, seconds = (a for a, _ in pairs(side)), (b for _, b in pairs(side))
        exponents = executor.map(exponent, firsts, seconds, itertools.repeat(ORDER), itertools.repeat(steps))
        for i, value in enumerate(exponents):
            found[i] = value
            if i % 10_000 == 0:
                progress.update(bar, completed=i)
                most = max(most, memory().rss)
        took_s = time.perf_counter() - began
        slots = executor.stats()["slots"]
    return found.reshape(side, side), {
        "pairs": f"{len(found):,}",
        "seconds": f"{took_s:.1f}",
        "pairs per second": f"{len(found) / took_s:,.0f}",
        "slots": f"{slots}",
        "MB that the program grew by": f"{(most - before) / 1e6:.0f}",
        "part that is chaotic": f"{np.mean(found > 0):.1%}",
    }


def draw(path, found):
    """Draw the exponents: cycles in blue, chaos in red."""
    figure = Figure(figsize=(6.4, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(found, origin="lower", extent=(LOW, HIGH, LOW, HIGH), cmap="RdBu_r", vmin=-1.2, vmax=1.2)
    axes.set_xlabel("second rate, B")
    axes.set_ylabel("first rate, A")
    axes.set_title(f"Logistic map with rates in the order {ORDER}: {found.size:,} calls")
    figure.colorbar(image, label="Lyapunov exponent per step")
    figure.savefig(path)


@click.command()
@click.option("--pairs", "n_pairs", default=1_000_000, show_default=True, type=click.IntRange(4), help="About so many.")
@click.option("--steps", default=100, show_default=True, type=click.IntRange(2), help="Of the map, for each pair.")
@click.option("--picture", default="parameter_sweep.png", show_default=True, type=click.Path(dir_okay=False))
@click.option("--quick", is_flag=True, help="10,000 pairs.")
def main(n_pairs, steps, picture, quick):
    """Find where a forced logistic map is chaotic, by a call for each pair of rates."""
    side = int((10_000 if quick else n_pairs) ** 0.5)
    picture = Path(picture)
    if not os.path.isdir(picture.resolve().parent):
        raise click.BadParameter(f"there is no directory {picture.parent}", param_hint="--picture")
    console = Console()
    with tempfile.TemporaryDirectory(prefix="vinefast-sweep-") as directory:
        found, figures = sweep(side, steps, directory, console)
    table = Table("", "", show_header=False)
    for name, value in figures.items():
        table.add_row(name, value)
    console.print(table)
    draw(picture, found)
    console.print(f"Picture: {picture}", soft_wrap=True)


# No guard is needed: workers do not run this file.
main()
