"""Analysis and pictures of `molecular_dynamics.py`: nothing here knows of Parsl or vinefast."""

import matplotlib
import numpy as np
from ase import Atoms, units
from ase.visualize.plot import plot_atoms
from matplotlib import pyplot as plt

matplotlib.use("Agg")

BLOCKS_PER_LADDER = 8
# Freezing point of copper, a fixed point of the ITS-90: https://www.its-90.com/table1.html
BULK_MELTING_K = 1357.77


def reweigh(blocks_eV, temperatures_K, grid_K):
    """Join the histograms of all rungs (WHAM) to mean and variance of the energy at any temperature.

    Parameters
    ----------
    blocks_eV : ndarray
        Potential energies as ``[block, rung, sample]``.
    temperatures_K, grid_K : ndarray
        Temperatures of the rungs, and those of the answer.
    """
    counts, edges = np.histogram(blocks_eV, bins=400)
    energies_eV = ((edges[1:] + edges[:-1]) / 2)[counts > 0]
    log_counts = np.log(counts[counts > 0])
    boltzmann = -np.outer(1 / (units.kB * temperatures_K), energies_eV)
    free, change = np.zeros(len(temperatures_K)), np.inf
    while change > 1e-5:
        log_states = log_counts - np.logaddexp.reduce(free[:, None] + boltzmann)
        update = -np.logaddexp.reduce(log_states + boltzmann, axis=1)
        update -= update[0]
        free, change = update, np.abs(update - free).max()
    weights = log_states - np.outer(1 / (units.kB * grid_K), energies_eV)
    weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    mean = weights @ energies_eV
    return mean, weights @ energies_eV**2 - mean**2


def thermodynamics(blocks_eV, temperatures_K, grid_K, atoms):
    """Energy (eV) and heat capacity (k_B) per atom, first of each rung, then on the grid, and the peak (K)."""

    def per_atom(mean, variance, t_K):
        return 1.5 * units.kB * t_K + mean / atoms, 1.5 + variance / (units.kB * t_K) ** 2 / atoms

    rungs = per_atom(blocks_eV.mean(axis=(0, 2)), blocks_eV.var(axis=(0, 2)), temperatures_K)
    energy, capacity = per_atom(*reweigh(blocks_eV, temperatures_K, grid_K), grid_K)
    return np.concatenate([*rungs, energy, capacity, [grid_K[capacity.argmax()]]])


def draw_caloric_curve(path, history, temperatures_K, length_ps, needed_ps):
    """Draw the caloric curve and the heat capacity of a run, and return a sentence about the melting."""
    atoms, ladders, rungs = len(history[0][0][0]["positions"]), len(history[0]), len(temperatures_K)
    kept = history[len(history) // 3 :]
    kept = kept[len(kept) % BLOCKS_PER_LADDER :]
    samples = np.array([[[result["potential_eV"] for result in row] for row in ladders] for ladders in kept])
    # [round, ladder, rung, sample] -> [block, rung, sample]: a block is a stretch of time of one ladder.
    blocks_eV = samples.reshape(BLOCKS_PER_LADDER, -1, *samples.shape[1:]).transpose(0, 2, 3, 1, 4)
    blocks_eV = blocks_eV.reshape(BLOCKS_PER_LADDER * ladders, rungs, -1)

    grid_K = np.linspace(temperatures_K[0], temperatures_K[-1], 300)
    best = thermodynamics(blocks_eV, temperatures_K, grid_K, atoms)
    # Jackknife: the scatter of the answers when each block in turn is left out.
    count = len(blocks_eV)
    without = [np.delete(blocks_eV, i, axis=0) for i in range(count)]
    error = np.sqrt((count - 1) * np.var([thermodynamics(w, temperatures_K, grid_K, atoms) for w in without], axis=0))
    early_K, late_K = (thermodynamics(half, temperatures_K, grid_K, atoms)[-1] for half in np.split(blocks_eV, 2))
    cuts = np.cumsum([rungs, rungs, grid_K.size, grid_K.size])
    energy, capacity, energy_curve, capacity_curve, (peak_K,) = np.split(best, cuts)
    energy_error, capacity_error, _, band, (peak_error_K,) = np.split(error, cuts)

    too_short = f"\nToo short: {needed_ps} ps or more are needed" if length_ps < needed_ps else ""
    figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(8, 8), layout="constrained")
    figure.suptitle(
        f"Melting of Cu$_{{{atoms}}}$ with the EMT potential\n{len(history) * ladders * rungs} calls: parallel "
        f"tempering of {ladders} x {rungs} replicas for {length_ps:.0f} ps, the first third dropped" + too_short,
        fontsize="large",
    )
    top.plot(grid_K, energy_curve, color="tab:red", label="all rungs joined (WHAM)")
    top.errorbar(temperatures_K, energy, energy_error, fmt="ko", capsize=3, label="mean of one rung")
    top.set_ylabel("mean energy per atom (eV)\n0 = bulk crystal at 0 K")
    bottom.fill_between(grid_K, capacity_curve - band, capacity_curve + band, color="tab:red", alpha=0.2, lw=0)
    bottom.plot(grid_K, capacity_curve, color="tab:red", label="all rungs joined (WHAM)")
    bottom.errorbar(
        temperatures_K, capacity, capacity_error, fmt="ko", capsize=3, label="energy fluctuations of one rung"
    )
    middle_K, slope = (
        (temperatures_K[1:] + temperatures_K[:-1]) / 2,
        np.diff(energy) / np.diff(temperatures_K) / units.kB,
    )
    bottom.plot(middle_K, slope, "D", mfc="none", color="tab:blue", label="slope of the energy between two rungs")
    bottom.axhline(3 - 3 / atoms, color="grey", ls=":", label="harmonic solid")
    bottom.set(xlabel="temperature (K)", ylabel="heat capacity per atom ($k_B$)", ylim=(0, None))
    for axes in (top, bottom):
        axes.axvspan(peak_K - peak_error_K, peak_K + peak_error_K, color="grey", alpha=0.25, lw=0)
        axes.legend(loc="upper left" if axes is top else "upper right", fontsize="small")
        axes.grid(alpha=0.3)
    bottom.annotate(f"{peak_K:.0f} ± {peak_error_K:.0f} K", (peak_K, 0.3), ha="center")
    for rung, corner in ((0, (0.3, 0.6)), (-1, (0.78, 0.06))):
        inset = top.inset_axes((*corner, 0.2, 0.34))
        plot_atoms(Atoms(f"Cu{atoms}", history[-1][0][rung]["positions"]), inset, rotation="20x,20y")
        inset.set_axis_off()
        inset.set_title(f"at {temperatures_K[rung]:.0f} K", fontsize="small", pad=1)
    figure.savefig(path, dpi=150)
    return (
        f"Cu{atoms}: the heat capacity peaks at {peak_K:.0f} ± {peak_error_K:.0f} K, with {capacity_curve.max():.1f} "
        f"k_B per atom. (First half of what was kept: {early_K:.0f} K, second half: {late_K:.0f} K; bulk copper melts "
        f"at {BULK_MELTING_K:.0f} K.)" + too_short
    )


def draw_throughput(path, plain, function):
    """Draw the number of finished calls over time: the whole of both runs, and the first seconds."""
    figure, (whole, start) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for run, sample, colour in ((plain, "a sample of ", "tab:orange"), (function, "", "tab:blue")):
        seconds, finished = [0, *run["finished_s"]], range(run["calls"] + 1)
        label = f"{run['name']}: {sample}{run['calls']} calls in {run['seconds']:.1f} s = {run['rate']:.1f} calls/s"
        for axes in (whole, start):
            axes.step(seconds, finished, where="post", color=colour, label=label)
            axes.set(xlabel="seconds since the first submission", ylabel="calls completed")
            axes.grid(alpha=0.3)
    whole.set(xlim=(0, None), ylim=(0, None))
    start.set(xlim=(0, 1.05 * plain["seconds"]), yscale="log", ylim=(0.9, None))
    start.set_title("the first seconds, logarithmic", fontsize="medium")
    figure.suptitle(
        f"The same Parsl program, {function['rate'] / plain['rate']:.0f} times as fast: "
        f"{1000 * function['call_s']:.0f} ms of molecular dynamics in each call"
    )
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=150)
