"""A soak: real workers get calls for an hour, or for as long as one likes, and all kinds of faults, at random.

``python -m benches.soak --seconds 3600 --seed 1``. Each call has a number, and an outcome that it is to have: no future
may stay open, end twice or end wrong, and nothing may be left behind or grow. It exits with 1 if something did.

Two executors run: one whose two workers see this machine's files, and one whose workers do not, each of them on a
"host" of its own, a network namespace, where this program may make some. As root it has small disks of its own, too, to
fill, in a mount namespace that ends with it.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import parsl
import psutil
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from rich.console import Console
from rich.table import Table

from benches.soak import fleet as of_workers
from benches.soak.books import Books
from benches.soak.driver import Driver
from benches.soak.faults import Faults
from benches.soak.fleet import Fleet, Place
from benches.soak.picture import draw
from benches.soak.samples import MEMORY_DIR, Samples, files_below
from tests.helpers.processes import MARK, left_of
from tests.helpers.waiting import wait_until
from tests.integration.hosts import Cluster, why_impossible
from vinefast import Tuning, VineFastExecutor

DISK_NBYTES = 64 << 20
WORKERS_EACH = 2
# What may be more in the end than there was in the beginning: what Python and libraries keep for themselves.
SPARE_DESCRIPTORS = 2
SPARE_THREADS = 1


class Soak:
    """All of it, with what is to end in the end."""

    def __init__(
        self, directory: Path, own_disks: bool, seed: int, rate: float, every_s: float, longest_s: float
    ) -> None:
        self._stack = ExitStack()
        self._directory = directory
        self.log = logging.getLogger("soak")
        self.console = Console(stderr=True)
        self.books = Books(self._say)
        self.left: list[str] = []
        self._seed = seed
        self._stopped = False
        self._own_disks = own_disks
        work = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vinefast-soak-")))
        os.chdir(work)
        self._stack.callback(os.chdir, "/")
        run_disk = work / "run"
        run_disk.mkdir()
        (work / "inputs").mkdir()
        if self._own_disks:
            self._mount(run_disk, DISK_NBYTES)
            self._mount(MEMORY_DIR, 4 * DISK_NBYTES)
        (run_disk / "outputs").mkdir()
        self.reason = why_impossible()
        hosts = None
        if self.reason is None:
            hosts = self._stack.enter_context(_closing(Cluster(WORKERS_EACH, work)))
        before = psutil.Process()
        self._before = before.num_fds(), before.num_threads()
        addresses = {"near": "127.0.0.1", "far": hosts.manager_address if hosts else "127.0.0.1"}
        self.executors = {name: _executor(name, address) for name, address in addresses.items()}
        config = parsl.Config(
            executors=list(self.executors.values()),
            run_dir=str(run_disk / "runinfo"),
            initialize_logging=False,
            strategy="none",
            usage_tracking=0,
        )
        self._dfk = parsl.load(config)
        self.fleet = Fleet(self._places(work, hosts), hosts, self._rng("fleet"))
        self.driver = Driver(self.executors, self.books, Path("inputs"), Path("run/outputs"), self._rng("calls"), rate)
        self.faults = Faults(
            self.fleet,
            self.books,
            self.executors,
            run_disk if self._own_disks else None,
            self._rng("faults"),
            every_s,
            longest_s,
        )
        self.samples = Samples(
            directory / "samples.jsonl", self.fleet, self.books, run_disk, self.executors, self._own_disks
        )
        self._began = time.monotonic()

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")

    def _say(self, text: str) -> None:
        self.log.error(text)
        self.console.print(f"{time.monotonic() - self._began:.1f} s: {text}", markup=False, highlight=False)

    def _mount(self, directory: Path, nbytes: int) -> None:
        of_workers.mount(directory, nbytes)
        self._stack.callback(of_workers.unmount, directory)

    def _places(self, work: Path, hosts: Any) -> list[Place]:
        places = []
        for index in range(2 * WORKERS_EACH):
            group, number = ("near", "far")[index // WORKERS_EACH], index % WORKERS_EACH
            in_memory = index == 0 and self._own_disks
            directory = (MEMORY_DIR if in_memory else work) / f"{group}-{number}"
            directory.mkdir()
            if has_disk := self._own_disks and not in_memory:
                self._mount(directory, DISK_NBYTES)
            host = number if group == "far" and hosts is not None else None
            run_dir = os.path.join(self._dfk.run_dir, group)
            places.append(Place(directory.name, group, directory, run_dir, host, has_disk))
        return places

    def stop(self, *_: object) -> None:
        """End it, in order; for a signal."""
        self._stopped = True

    def run(self, seconds: float, sample_s: float, patience_s: float) -> None:
        """Do all of it."""
        self.fleet.start()
        if not wait_until(lambda: all(e.stats()["slots"] >= WORKERS_EACH for e in self.executors.values()), 120):
            raise click.ClickException("no worker has come within two minutes")
        self.driver.each_kind()
        self._began = time.monotonic()
        next_sample = 0.0
        while not self._stopped and (passed := time.monotonic() - self._began) < seconds:
            self.driver.turn()
            self.faults.turn()
            self.books.settle()
            if passed >= next_sample:
                self.samples.take(passed)
                next_sample = passed + sample_s
            time.sleep(0.01)
        self.faults.mend_all()
        calm = time.monotonic()
        while (self.books.live or self.driver.is_owing()) and time.monotonic() - calm < patience_s:
            self.driver.turn(submitting=False)
            self.books.settle()
            time.sleep(0.02)
        self.books.close()
        self.calm_s = time.monotonic() - calm
        self.samples.take(time.monotonic() - self._began)

    def end(self) -> None:
        """End all that runs, and look what is left of it."""
        self.faults.mend_all()
        self.counts = {name: executor.stats() for name, executor in self.executors.items()}
        self.left += [f"worker {name} had to be killed" for name in self.fleet.stop()]
        # Its own: what calls have made, and what filled a disk.
        self._dfk.cleanup()
        parsl.clear()
        this = psutil.Process()
        fds, threads = self._before
        wait_until(lambda: this.num_fds() <= fds + SPARE_DESCRIPTORS and this.num_threads() <= threads, 10)
        if (more := this.num_fds() - fds) > SPARE_DESCRIPTORS:
            self.left.append(f"{more} descriptors")
        if (more := this.num_threads() - threads) > SPARE_THREADS:
            names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
            self.left.append(f"{more} threads: {', '.join(sorted(names))}")
        for place in self.fleet.places:
            if n := files_below([place.directory])[0]:
                self.left.append(f"{n} files of worker {place.name}, such as {next(place.directory.iterdir())}")
        if self._own_disks and (n := files_below([MEMORY_DIR])[0]):
            self.left.append(f"{n} files in {MEMORY_DIR}")
        self.samples.close()
        self._stack.close()
        self.left += [f"process {line}" for line in left_of(os.environ[MARK])]


class _closing:
    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster

    def __enter__(self) -> Any:
        return self._cluster

    def __exit__(self, *_: object) -> None:
        self._cluster.close()


def _executor(name: str, address: str) -> VineFastExecutor:
    return VineFastExecutor(
        label=name,
        worker_launch_method="manual",
        manager_config=TaskVineManagerConfig(
            port=0,
            address=address,
            shared_fs=name == "near",
            # An hour is to see files rotated, and removed, that take months elsewhere.
            tune_parameters=Tuning(
                log_nbytes=1 << 20, output_nbytes=1 << 18, output_total_nbytes=4 << 20, events_nbytes=4 << 20
            ),
        ),
        factory_config=TaskVineFactoryConfig(cores=of_workers.CORES),
    )


def _summary(soak: Soak, seed: int) -> dict[str, Any]:
    books, rows = soak.books, soak.samples.rows
    halves = rows[: len(rows) // 2] or rows, rows[len(rows) // 2 :]
    outcomes: dict[str, dict[str, int]] = {}
    for (kind, outcome), n in sorted(books.outcomes.items()):
        outcomes.setdefault(kind, {})[outcome] = n
    return {
        "seed": seed,
        "seconds": rows[-1]["s"],
        "calls": dict(books.submitted),
        "outcomes": outcomes,
        "faults": dict(collections.Counter(fault.kind for fault in books.faults)),
        "workers_started": sum(place.n_started for place in soak.fleet.places),
        "longest_s": books.longest_s,
        "calm_s": soak.calm_s,
        "lost": books.lost,
        "doubled": books.doubled,
        "wrong": books.wrong,
        "left": soak.left,
        # The second half beside the first: what grows for ever is larger in it.
        "medians": {name: [_median(half, name) for half in halves] for name in rows[0] if name != "s"},
        "counts": soak.counts,
    }


def _median(rows: list[dict[str, float]], name: str) -> float:
    return sorted(row[name] for row in rows)[len(rows) // 2]


def _show(summary: dict[str, Any], console: Console) -> None:
    calls = Table(title=f"{sum(summary['calls'].values())} calls in {summary['seconds']:.0f} s, seed {summary['seed']}")
    for title in ("calls", "number", "ended as"):
        calls.add_column(title, justify="right" if title == "number" else "left")
    for kind, n in summary["calls"].items():
        ends = ", ".join(f"{name} {k}" for name, k in summary["outcomes"].get(kind, {}).items())
        calls.add_row(kind, str(n), ends)
    console.print(calls)
    faults = Table(title=f"{sum(summary['faults'].values())} faults, {summary['workers_started']} workers started")
    faults.add_column("fault")
    faults.add_column("number", justify="right")
    for kind, n in sorted(summary["faults"].items()):
        faults.add_row(kind, str(n))
    console.print(faults)
    taken = Table(title="medians")
    for title in ("", "first half", "second half"):
        taken.add_column(title, justify="left" if not title else "right")
    for name, (first, second) in summary["medians"].items():
        unit = 1e6 if name.endswith(("rss", "heap", "bytes")) else 1
        taken.add_row(f"{name} (MB)" if unit > 1 else name, f"{first / unit:.1f}", f"{second / unit:.1f}")
    console.print(taken)
    longest_s, calm_s = summary["longest_s"], summary["calm_s"]
    verdict = Table(title=f"longest call {longest_s:.0f} s, the last ended after {calm_s:.0f} s of calm")
    verdict.add_column("")
    verdict.add_column("number", justify="right")
    verdict.add_column("such as")
    for name in ("lost", "doubled", "wrong", "left"):
        verdict.add_row(name, str(len(summary[name])), "\n".join(summary[name][:3]))
    console.print(verdict)


@click.command()
@click.option("--seconds", default=3600.0, help="How long.")
@click.option("--seed", type=int, default=None, help="What all that is random comes from; a new one if not given.")
@click.option("--rate", default=100.0, help="Calls a second.")
@click.option("--every", "every_s", default=4.0, help="Seconds from one fault to the next, on average.")
@click.option("--longest", "longest_s", default=30.0, help="Seconds that a fault lasts at the most.")
@click.option("--sample", "sample_s", default=10.0, help="Seconds from one sample to the next.")
@click.option("--patience", "patience_s", default=300.0, help="Seconds until a call is lost, once nothing is wrong.")
@click.option("--directory", default="build/soak", help="Where samples.jsonl, summary.json and soak.log go.")
@click.option("--picture", default="", help="A picture of the samples, such as docs/pictures/soak.svg.")
def main(
    seconds: float,
    seed: int | None,
    rate: float,
    every_s: float,
    longest_s: float,
    sample_s: float,
    patience_s: float,
    directory: str,
    picture: str,
) -> None:
    """Run calls and let faults happen, for some time; exit with 1 if a call was lost, or something else is wrong."""
    own_disks = of_workers.in_own_namespaces("benches.soak")
    os.environ.setdefault(MARK, uuid.uuid4().hex)
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 31)
    place = Path(directory).absolute()
    picture = picture and os.path.abspath(picture)
    place.mkdir(parents=True, exist_ok=True)
    log_format = "%(asctime)s %(name)s %(levelname)s %(message)s"
    logging.basicConfig(filename=place / "soak.log", filemode="w", level=logging.WARNING, format=log_format)
    console = Console()
    console.print(f"seed {seed}, {seconds:.0f} s")
    soak = Soak(place, own_disks, seed, rate, every_s, longest_s)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, soak.stop)
    if soak.reason is not None:
        console.print(f"No network is cut: {soak.reason}")
    if not own_disks:
        console.print("No disk is filled: that needs root, and a mount namespace")
    try:
        soak.run(seconds, sample_s, patience_s)
    finally:
        soak.end()
    summary = _summary(soak, seed)
    (place / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    _show(summary, console)
    if picture:
        try:
            draw(soak.samples.rows, picture)
        except ImportError as error:
            console.print(f"No picture is drawn: {error}; pip install vinefast[bench]")
    if any(summary[name] for name in ("lost", "doubled", "wrong", "left")):
        sys.exit(1)


if __name__ == "__main__":
    main()
