"""Bytes that move, and the time, of a map-reduce on eight workers: calls sent to where their files are, calls sent to
whoever is free, and everything as arguments and results through the manager; so with Parsl's own TaskVineExecutor, too,
where its Python module ``ndcctools`` is installed.

Under pytest-benchmark as its neighbours. As a script it runs in rounds that take the ways in turn, and draws:
``python benches/bench_locality.py --picture locality.png``.
"""

import functools
import statistics
import tempfile
import time
from pathlib import Path

import click
import parsl
import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from vinefast import Tuning, VineFastExecutor
from vinefast.bench import map_reduce
from vinefast.bench.peers import PEERS
from vinefast.bench.peers.parsl import put_programs_on_path, stock_executor

SIZE = map_reduce.Size()
TINY = map_reduce.Size(files=2, records=20_000, readers=2, parts=3)


def vinefast(n_workers, **tuning):
    """Make our executor with so many workers of a slot each."""
    return VineFastExecutor(
        worker_launch_method="factory",
        manager_config=TaskVineManagerConfig(port=0, tune_parameters=Tuning(wait_for_workers=n_workers, **tuning)),
        factory_config=TaskVineFactoryConfig(
            min_workers=n_workers, max_workers=n_workers, cores=1, memory=500, disk=2000
        ),
    )


def stock(n_workers):
    """Make Parsl's own, alike."""
    put_programs_on_path()
    return stock_executor(n_workers, 1, **{"wait-for-workers": n_workers})


# What a way is called, how it runs, and on what.
WAYS = {
    "to its files": (map_reduce.by_files, vinefast),
    "to who is free": (map_reduce.by_files, functools.partial(vinefast, locality=False)),
    "through the manager": (map_reduce.by_values, vinefast),
}
if not PEERS["taskvine"].why_missing():
    WAYS["stock executor"] = (map_reduce.by_values, stock)
# Not `manager_bytes_sent`: it has the larger frames, which travel as files, a second time, and nothing else here.
THROUGH_MANAGER = ("manager_bytes_received", "bytes_sent", "bytes_returned")


def counts(executor):
    """What an executor has counted so far; the stock one by TaskVine's log of its performance."""
    if isinstance(executor, VineFastExecutor):
        return executor.stats()
    names, *rows = (
        Path(executor.manager_config.vine_log_dir, "most-recent/vine-logs/performance").read_text().splitlines()
    )
    return {name: int(float(value)) for name, value in zip(names.split()[1:], rows[-1].split(), strict=True)}


def measure(way, size, n_workers, directory):
    """Run it once in one way, on new workers; gives what it found and its figures."""
    run, make = WAYS[way]
    executor = make(n_workers)
    with parsl.load(parsl.Config(executors=[executor], run_dir=directory, usage_tracking=0)):
        for future in [executor.submit(map_reduce.warm_up, {}) for _ in range(8 * n_workers)]:
            future.result(60)
        before = counts(executor)
        began = time.perf_counter()
        found, flow = run(size)
        seconds = time.perf_counter() - began
        counted = {name: value - before[name] for name, value in counts(executor).items() if name in before}
    parsl.clear()
    through_manager = THROUGH_MANAGER if make is not stock else ("bytes_sent", "bytes_received")
    figures = {
        "seconds": seconds,
        "moved_MB": 0.0 if make is stock else counted["file_bytes_moved"] / 1e6,
        "manager_MB": sum(counted[name] for name in through_manager) / 1e6,
    }
    if flow:
        figures["placed_MB"] = flow.placed_nbytes() / 1e6
        figures["least_MB"] = flow.least_nbytes() / 1e6
        figures["moved_to_least"] = figures["moved_MB"] / figures["least_MB"]
    return found, figures, counted


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.benchmark(group="map-reduce with files on eight workers")
def test_map_reduce(benchmark, way, tmp_path):
    size, n_workers, rounds = (TINY, 2, 1) if benchmark.disabled else (SIZE, 8, 3)
    runs = []
    benchmark.pedantic(lambda: runs.append(measure(way, size, n_workers, str(tmp_path))), rounds=rounds)
    for found, figures, counted in runs:
        assert found == map_reduce.expected(size)
        n_maps = size.files * size.readers
        if way == "through the manager":
            assert counted["temps_made"] == counted["files_moved"] == 0
        if WAYS[way][0] is map_reduce.by_values:
            assert figures["manager_MB"] > 4e-6 * size.files * size.records
            continue
        assert counted["temps_made"] == size.files + n_maps * size.parts + 2 * size.parts - 1
        assert counted["manager_bytes_received"] == counted["temps_lost"] == 0
        assert figures["least_MB"] <= figures["placed_MB"] <= figures["moved_MB"]
    for name in runs[0][1]:
        benchmark.extra_info[name] = round(statistics.median(figures[name] for _, figures, _ in runs), 3)


def draw(results, path):
    """Draw medians and extremes of time, bytes between workers and bytes through the manager."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), dpi=150, layout="constrained")
    titles = {"seconds": "time (s)", "moved_MB": "between workers (MB)", "manager_MB": "through the manager (MB)"}
    colours = ["tab:blue", "tab:cyan", "tab:orange", "tab:gray"]
    least = [run["least_MB"] for runs in results.values() for run in runs if "least_MB" in run]
    for axes, (name, title) in zip(figure.subplots(1, 3, sharey=True), titles.items(), strict=True):
        values = [[run[name] for run in runs] for runs in results.values()]
        medians = [statistics.median(each) for each in values]
        spread = [
            [median - min(each) for median, each in zip(medians, values, strict=True)],
            [max(each) - median for median, each in zip(medians, values, strict=True)],
        ]
        axes.barh(list(results), medians, xerr=spread, color=colours, capsize=3, height=0.65)
        top = max(max(each) for each in values)
        for i, (median, each) in enumerate(zip(medians, values, strict=True)):
            axes.text(max(each) + 0.03 * top, i, f"{median:.3g}", va="center", fontsize=9)
        if name == "moved_MB":
            axes.axvspan(min(least), max(least), color="k", alpha=0.35, linewidth=0)
            words = f"least possible: {min(least):.0f} to {max(least):.0f}"
            axes.text(max(least) + 0.02 * top, -0.62, words, fontsize=8, va="center")
        axes.set_xlim(0, 1.22 * top)
        axes.set_ylim(len(results) - 0.5, -0.85)
        axes.set_xlabel(title)
        axes.grid(True, axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    rounds = len(next(iter(results.values())))
    figure.suptitle(f"A map-reduce on eight workers of one machine: medians, extremes of {rounds} rounds", fontsize=11)
    figure.savefig(path)


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each way runs.")
@click.option("--picture", type=click.Path(dir_okay=False), help="PNG to write.")
def main(rounds, picture):
    """Measure all ways in turn, and print medians with extremes."""
    wanted = map_reduce.expected(SIZE)
    results = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="vinefast-locality-") as directory:
        for _ in range(rounds):
            for way, runs in results.items():
                found, figures, _ = measure(way, SIZE, 8, directory)
                if found != wanted:
                    raise click.ClickException(f"{way}: found {found}, not {wanted}")
                runs.append(figures)
    for way, runs in results.items():
        click.echo(way)
        for name in runs[0]:
            values = [run[name] for run in runs]
            click.echo(f"  {name:15} {statistics.median(values):8.2f} ({min(values):.2f}-{max(values):.2f})")
    if picture:
        draw(results, picture)


if __name__ == "__main__":
    main()
