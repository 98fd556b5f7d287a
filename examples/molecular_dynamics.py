"""Melting of a copper nanocluster: thousands of short calls, run twice by vinefast.

The Parsl program is a parallel-tempering run. Copies of the cluster (replicas) stand on a ladder of
temperatures, and one call moves one replica by 0.6 ps of Langevin dynamics. Each call takes the futures of
its own rung and of a neighbouring rung, and continues from the neighbour's state where the Metropolis rule
accepts the exchange. Parsl's data flow is all the synchronisation there is: no barrier, and cold replicas get
across energy barriers by way of the hot rungs.

It runs once as plain tasks (L1: a fresh Python process for each call; only a sample of the calls) and once as
function invocations (L2: warm processes that keep their imports), with the same random numbers, so L2 must
repeat the energies of L1. Two pictures come out: the caloric curve with the heat capacity, and the calls
completed over time.

What is approximate: the potential is effective medium theory (EMT) with ASE's parameters and cut-off, far from
exact for so few atoms; nuclei are classical and the cluster is free in vacuum; the time step of 8 fs is long,
though 5 fs gives the same mean energies within their errors. Every replica starts from the perfect icosahedron, and
the first third of its 128 ps is dropped. Thirteen atoms change their shape within picoseconds, so that is enough: the
error bars agree with the scatter between seeds. 55 atoms melt and freeze too seldom for two minutes; they take more
than a nanosecond for each replica.
"""

import argparse
import os
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, wait
from pathlib import Path

import numpy as np
import parsl
from ase import Atoms
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from molecular_dynamics_pictures import draw_caloric_curve, draw_throughput
from parsl import python_app
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.providers import SlurmProvider
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import vinefast

# Atoms: shells of the icosahedron, coldest and hottest rung (K), steps per call, what a replica needs to forget
# how it started (ps).
CLUSTERS = {13: (2, 400, 1300, 80, 100), 55: (3, 570, 885, 50, 1500)}
RUNGS = 10
STEP_FS = 8
NAMES = {"regular": "L1, plain tasks", "serverless": "L2, function invocations"}


def cores_of(options):
    """Return the cores of the worker, of which each runs a call at a time."""
    return options.cores or len(os.sched_getaffinity(0))


def make_executor(mode, options):
    """Return the executor for one of the two runs, its workers on this machine or in a job of Slurm."""
    where = {}
    if options.slurm is not None:
        provider = SlurmProvider(
            partition=options.slurm, cores_per_node=cores_of(options), exclusive=False, walltime="01:00:00"
        )
        where = {
            "worker_launch_method": "provider",
            "provider": provider,
            "manager_config": TaskVineManagerConfig(port=0, shared_fs=True),
        }
    return vinefast.VineFastExecutor(
        label=f"vinefast_{mode}",
        function_exec_mode=mode,
        factory_config=TaskVineFactoryConfig(cores=options.cores),
        **where,
    )


@python_app
def segment(own, neighbour, temperature_K, neighbour_temperature_K, steps, step_fs, swap_seed, noise_seed):
    """Move one replica by one stretch of molecular dynamics. This is the call.

    Parameters
    ----------
    own, neighbour : dict
        Results of former calls; `neighbour` is None where there is nobody to exchange with.
    temperature_K, neighbour_temperature_K : float
        Temperatures of the two rungs.
    steps, step_fs : int, float
        Number and length of the time steps.
    swap_seed, noise_seed : list of int
        Both partners of an exchange get the same `swap_seed`, and so decide alike.

    Returns
    -------
    dict
        Positions and velocities, samples of the potential energy, and where the call's time went.
    """
    import time

    began = time.perf_counter()
    import numpy as np
    from ase import Atoms, units
    from ase.calculators import emt
    from ase.md.langevin import Langevin

    imported = time.perf_counter()

    class PairwiseEMT:
        """ASE's EMT for copper in vacuum, all pairs at once: some 20 times as fast for a small cluster."""

        def __init__(self):
            self.e0, s0, self.v0, *rest = emt.parameters["Cu"]
            self.s0 = s0 * units.Bohr
            self.eta, self.kappa, self.lamda = (x / units.Bohr for x in rest[:3])
            fcc = np.sqrt([1, 2, 3, 4]) * emt.beta * units.Bohr * max(p[1] for p in emt.parameters.values())
            self.cutoff = (fcc[2] + fcc[3]) / 2
            self.slope = np.log(1e4 - 1) / (fcc[3] - self.cutoff)
            ideal = np.sqrt([1, 2, 3]) * emt.beta * self.s0
            self.gamma1, self.gamma2 = (np.dot([1, 0.5, 2], p) for p in self.pairs(ideal)[1:])
            self.seen = None

        def pairs(self, r):
            weight = np.where(r < self.cutoff + 0.5, 1 / (1 + np.exp(self.slope * (r - self.cutoff))), 0)
            density = weight * np.exp(-self.eta * (r - emt.beta * self.s0))
            return weight, density, weight * np.exp(-self.kappa * (r / emt.beta - self.s0))

        def get_forces(self, atoms):
            # ASE asks two or three times for the same positions in each step.
            if not np.array_equal(atoms.positions, self.seen):
                self.seen = atoms.positions.copy()
                self.energy, self.forces = self.compute(self.seen)
            return self.forces

        def get_potential_energy(self, atoms, force_consistent=False):
            self.get_forces(atoms)
            return self.energy

        def compute(self, positions):
            # Distances and forces by matrix products: no array of all the difference vectors.
            x = positions - positions.mean(axis=0)
            products = x @ x.T
            squares = np.diagonal(products)
            r2 = squares[:, None] + squares - 2 * products
            np.fill_diagonal(r2, 4 * self.cutoff**2)
            r = np.sqrt(r2)
            weight, density, pair = self.pairs(r)
            slope = self.slope * (weight - 1)
            sigma = density.sum(axis=1)
            ds = -np.log(sigma / (12 * self.gamma1)) / (emt.beta * self.eta)
            cohesive = np.exp(-self.lamda * ds)
            shear = 6 * self.v0 * np.exp(-self.kappa * ds)
            pair *= -self.v0 / (2 * self.gamma2)
            atomic = self.e0 * ((1 + self.lamda * ds) * cohesive - 1) + shear + pair.sum(axis=1)
            de_dsigma = self.e0 * self.lamda**2 * ds * cohesive + self.kappa * shear
            de_dsigma /= emt.beta * self.eta * sigma
            de_dr = (de_dsigma[:, None] + de_dsigma) * density * (slope - self.eta)
            de_dr += 2 * pair * (slope - self.kappa / emt.beta)
            de_dr /= r
            return atomic.sum(), de_dr @ x - de_dr.sum(axis=1)[:, None] * x

    positions, velocities = own["positions"], own["velocities"]
    if neighbour is not None:
        beta_gap = (1 / temperature_K - 1 / neighbour_temperature_K) / units.kB
        exponent = beta_gap * (own["potential_eV"][-1] - neighbour["potential_eV"][-1])
        if np.log(np.random.default_rng(swap_seed).random()) < exponent:
            positions = neighbour["positions"]
            velocities = neighbour["velocities"] * np.sqrt(temperature_K / neighbour_temperature_K)

    cluster = Atoms(f"Cu{len(positions)}", positions, velocities=velocities, calculator=PairwiseEMT())
    dynamics = Langevin(
        cluster,
        step_fs * units.fs,
        temperature_K=temperature_K,
        friction=0.005 / units.fs,
        fixcm=False,
        rng=np.random.default_rng(noise_seed),
    )
    potential_eV = []
    for _ in range(steps // 5):
        dynamics.run(5)
        potential_eV.append(cluster.get_potential_energy())
    return {
        "positions": cluster.positions,
        "velocities": cluster.get_velocities(),
        "potential_eV": np.array(potential_eV),
        "import_s": imported - began,
        "call_s": time.perf_counter() - began,
    }


def submit(options, rounds, on_done):
    """Submit the whole run; Parsl starts a call as soon as the calls before it are done.

    Returns
    -------
    list
        Futures as ``[round][ladder][rung]``.
    """
    shells, _, _, steps, _ = CLUSTERS[options.size]
    ideal = Icosahedron("Cu", shells).positions
    start = {"positions": ideal, "velocities": np.zeros_like(ideal), "potential_eV": np.zeros(1)}
    history = [[[start] * RUNGS] * options.ladders]
    for this_round in range(rounds):
        history.append([[] for _ in range(options.ladders)])
        for ladder, replicas in enumerate(history[this_round]):
            for rung, temperature_K in enumerate(options.temperatures_K):
                # Even and odd pairs of rungs take turns.
                partner = rung + 1 if (rung + this_round) % 2 == 0 else rung - 1
                paired = this_round > 0 and 0 <= partner < RUNGS
                future = segment(
                    replicas[rung],
                    replicas[partner] if paired else None,
                    temperature_K,
                    options.temperatures_K[partner] if paired else None,
                    steps,
                    STEP_FS,
                    swap_seed=[options.seed, 1, ladder, this_round, max(rung, partner)],
                    noise_seed=[options.seed, 2, ladder, this_round, rung],
                )
                future.add_done_callback(on_done)
                history[-1][ladder].append(future)
    return history[1:]


def run(mode, rounds, options, console):
    """Run the program in one mode.

    Returns
    -------
    dict
        The calls' results as ``history`` (indices as in `submit`), and what was measured.
    """
    total, finished_s, failures = rounds * options.ladders * RUNGS, [], []
    bar = Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} calls/s"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    line = bar.add_task(NAMES[mode], total=total, rate=0)

    def count(future):
        if future.exception() is None:
            finished_s.append(time.perf_counter() - began)
            bar.update(line, advance=1, rate=len(finished_s) / finished_s[-1])
        else:
            failures.append(future.exception())

    config = parsl.Config(executors=[make_executor(mode, options)], run_dir=str(options.output / "runinfo"))
    with parsl.load(config), bar:
        began = time.perf_counter()
        futures = submit(options, rounds, count)
        pending = {future for ladders in futures for row in ladders for future in row}
        while pending and not failures:
            pending = wait(pending, timeout=5, return_when=FIRST_EXCEPTION).not_done
            if finished_s and not console.is_terminal:
                done, elapsed_s = len(finished_s), time.perf_counter() - began
                print(
                    f"{NAMES[mode]}: {done}/{total} calls, {done / elapsed_s:.1f} calls/s, "
                    f"{elapsed_s:.0f} s, ETA {(total - done) * elapsed_s / done:.0f} s",
                    flush=True,
                )
        if failures:
            raise RuntimeError(f"{NAMES[mode]}: a call failed") from failures[0]
        history = [[[future.result() for future in row] for row in ladders] for ladders in futures]
    calls = [result for ladders in history for row in ladders for result in row]
    return {
        "name": NAMES[mode],
        "history": history,
        "finished_s": sorted(finished_s),
        "calls": total,
        "seconds": max(finished_s),
        "rate": total / max(finished_s),
        "call_s": np.mean([call["call_s"] for call in calls]),
        "import_s": np.mean([call["import_s"] for call in calls]),
    }


def compare(plain, function, options):
    """Return the figures of both runs side by side, and how well their energies agree."""
    slots = cores_of(options)
    table = Table("", plain["name"], function["name"])
    for title, value in {
        "calls": lambda r: f"{r['calls']}",
        "seconds": lambda r: f"{r['seconds']:.2f}",
        "calls/s": lambda r: f"{r['rate']:.2f}",
        "mean seconds in call": lambda r: f"{r['call_s']:.4f}",
        "  of that, imports": lambda r: f"{r['import_s']:.4f}",
        "seconds of overhead per call": lambda r: f"{slots / r['rate'] - r['call_s']:.4f}",
    }.items():
        table.add_row(title, value(plain), value(function))
    table.add_row("speed-up, L2 over L1", "", f"{function['rate'] / plain['rate']:.1f} times")
    table.caption = f"Overhead: the time of {slots} slots that was not spent in calls."

    same_rounds = function["history"][: len(plain["history"])]
    energies = [
        np.array([[[r["potential_eV"] for r in row] for row in ladders] for ladders in history])
        for history in (plain["history"], same_rounds)
    ]
    last = function["history"][-1][0][0]
    reference = Atoms(f"Cu{options.size}", last["positions"], calculator=EMT()).get_potential_energy()
    checks = (
        f"Energies: L1 and L2 differ by {np.abs(energies[0] - energies[1]).max():.0e} eV in the same calls, "
        f"L2 and ASE's EMT by {abs(reference - last['potential_eV'][-1]):.0e} eV."
    )
    return table, checks


def main():
    """Run the program in both modes, compare them and draw the pictures."""
    parser = argparse.ArgumentParser(
        description="Melting of a copper nanocluster, run twice by vinefast.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--size", type=int, choices=CLUSTERS, default=13, help="atoms of the cluster")
    parser.add_argument("--calls", type=int, default=4000, help="calls to run as function invocations")
    parser.add_argument("--sample", type=int, default=20, help="how many of them to run as plain tasks too")
    parser.add_argument("--ladders", type=int, default=2, help="independent sets of replicas")
    parser.add_argument("--cores", type=int, help="of the worker; if not given, as many as there are here")
    parser.add_argument("--slurm", metavar="PARTITION", help="run the worker in a job of Slurm, in this partition")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers")
    parser.add_argument("--output", type=Path, default=Path("molecular_dynamics"), help="directory for the pictures")
    parser.add_argument("--quick", action="store_true", help="600 calls: too few for the physics")
    options = parser.parse_args()
    if options.quick:
        options.calls = 600
    _, coldest_K, hottest_K, steps, needed_ps = CLUSTERS[options.size]
    options.temperatures_K = np.linspace(coldest_K, hottest_K, RUNGS)
    options.output.mkdir(parents=True, exist_ok=True)
    per_round = RUNGS * options.ladders
    # Workers inherit this, as do jobs of Slurm: as many calls as cores run side by side.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

    console = Console()
    try:
        plain = run("regular", max(1, options.sample // per_round), options, console)
        function = run("serverless", max(24, options.calls // per_round), options, console)
    except KeyboardInterrupt:
        console.print("Interrupted; the workers are stopped.")
        return 130
    console.print(*compare(plain, function, options), sep="\n")
    length_ps = len(function["history"]) * steps * STEP_FS / 1000
    caloric, throughput = options.output / "caloric_curve.png", options.output / "throughput.png"
    console.print(draw_caloric_curve(caloric, function["history"], options.temperatures_K, length_ps, needed_ps))
    draw_throughput(throughput, plain, function)
    console.print(f"Pictures: {caloric}, {throughput}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
