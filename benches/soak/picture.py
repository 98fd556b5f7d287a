"""The picture of a soak: what it took over time. Needs matplotlib, which is optional."""

from __future__ import annotations

from typing import Any

_MB = 1e6
_PANELS: list[tuple[str, list[tuple[str, str, float]]]] = [
    ("memory of the program (MB)", [("rss", "resident", _MB), ("heap", "of malloc(), in use", _MB)]),
    ("descriptors and threads", [("descriptors", "descriptors", 1), ("threads", "threads", 1)]),
    ("memory of the workers (MB)", [("workers_rss", "", _MB)]),
    ("files", [("run_files", "run directory", 1), ("worker_files", "workers", 1), ("memory_files", "/dev/shm", 1)]),
    ("calls (thousands)", [("calls", "", 1e3)]),
    ("faults", [("faults", "", 1)]),
]


def draw(rows: list[dict[str, float]], path: str) -> None:
    """Draw samples.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    # No pyplot: it may look for a display.
    import matplotlib
    from matplotlib.figure import Figure

    # Names of what is in the file are the same each time, and letters are letters.
    with matplotlib.rc_context({"svg.hashsalt": "soak", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(8, 6), layout="constrained")
        minutes = [row["s"] / 60 for row in rows]
        grid: Any = figure.subplots(len(_PANELS) // 2, 2, sharex=True)
        for axes, (title, lines) in zip(grid.flat, _PANELS, strict=True):
            for name, label, unit in lines:
                axes.plot(minutes, [row[name] / unit for row in rows], linewidth=0.8, label=label or None)
            axes.set_title(title, fontsize=8)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            if len(lines) > 1:
                axes.legend(fontsize=7)
        for axes in grid[-1]:
            axes.set_xlabel("minutes")
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
