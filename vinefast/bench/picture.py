"""The picture of a record: how many calls a second, by how long they take. Needs matplotlib, which is optional."""

from __future__ import annotations

from typing import Any

_MARKERS = "osD^vP*X"


def draw(record: dict[str, Any], path: str) -> bool:
    """Draw the measure ``duration``.

    Parameters
    ----------
    record : dict
        As `vinefast.bench.record.make_record` gives it.
    path : str
        Of the PNG.

    Returns
    -------
    bool
        Whether the record has anything to draw.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    lines: dict[str, list[tuple[float, dict[str, float]]]] = {}
    for row in record["summary"]:
        duration_ms = _duration_ms(row["case"])
        if row["measure"] == "duration" and duration_ms is not None:
            lines.setdefault(row["executor"], []).append((duration_ms, row["metrics"]["calls_per_s"]))
    if not lines:
        return False
    # No pyplot: it may look for a display.
    from matplotlib.figure import Figure

    slots = record["plan"]["slots"]
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    positive = sorted({duration_ms for points in lines.values() for duration_ms, _ in points if duration_ms})
    # A logarithm has no zero: calls that do nothing get a place a decade to the left.
    zero = positive[0] / 10 if positive else 1.0
    for (executor, points), marker in zip(lines.items(), _MARKERS * len(lines), strict=False):
        x = [duration_ms or zero for duration_ms, _ in points]
        medians = [rates["median"] for _, rates in points]
        spread = [
            [rates["median"] - rates["min"] for _, rates in points],
            [rates["max"] - rates["median"] for _, rates in points],
        ]
        axes.errorbar(x, medians, yerr=spread, marker=marker, label=executor, capsize=2, markersize=6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    if positive:
        low, high = axes.get_ylim()
        ideal = [positive[0], positive[-1]]
        axes.plot(
            ideal, [slots * 1e3 / x for x in ideal], "k--", linewidth=1, label=f"ideal: {slots} slots\n/ duration"
        )
        axes.set_ylim(low, max(high, 1.5 * slots * 1e3 / positive[0]))
    ticks = [zero, *positive]
    axes.set_xticks(ticks, ["no-op" if x == zero else f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.set_xlabel("duration of a call (ms)")
    axes.set_ylabel("calls per second (1/s)")
    axes.set_title(f"Calls per second on {slots} slots")
    axes.grid(True, which="major", alpha=0.3)
    rounds = record["plan"]["rounds"]
    spread_words = f"median, least and\ngreatest of {rounds} rounds" if rounds > 1 else "one round"
    figure.legend(loc="outside right upper", title=spread_words, frameon=False)
    figure.savefig(path)
    return True


def _duration_ms(case: str) -> float | None:
    number, _, unit = case.partition(" ")
    try:
        return float(number) if unit == "ms" else None
    except ValueError:
        return None
