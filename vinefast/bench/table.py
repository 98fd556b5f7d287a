"""Tables of a record, one for each measure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from vinefast.bench.measures import MEASURES


def tables(record: dict[str, Any]) -> Iterator[tuple[str, Table]]:
    """Make the tables of a record, each with its title.

    Parameters
    ----------
    record : dict
        As `vinefast.bench.record.make_record` gives it.
    """
    for name, measure in MEASURES.items():
        rows = [row for row in record["summary"] if row["measure"] == name]
        if not rows:
            continue
        with_case = any(row["case"] for row in rows)
        with_threads = name == "apps" and any(row["to_threads"] for row in rows)
        with_best = any(row["to_best"] for row in rows)
        table = Table()
        if with_case:
            table.add_column("case")
        table.add_column("executor")
        for metric in measure.metrics.values():
            table.add_column(metric.label, justify="right")
        if with_threads:
            table.add_column("to threads", justify="right")
        if with_best:
            table.add_column("to the best other", justify="right")
        # Cases in the order they were measured in, and within each the executors.
        cases = list(dict.fromkeys(row["case"] for row in rows))
        last = None
        for row in sorted(rows, key=lambda row: cases.index(row["case"])):
            if last is not None and row["case"] != last:
                table.add_section()
            cells = [row["case"] if row["case"] != last else ""] if with_case else []
            cells.append(row["executor"])
            cells += [cell(row["metrics"][metric]) for metric in measure.metrics]
            cells += [times(row["to_threads"])] if with_threads else []
            cells += [times(row["to_best"])] if with_best else []
            table.add_row(*cells)
            last = row["case"]
        yield f"{name}: {measure.title}", table
    if record["failures"]:
        yield "failed", _failures(record["failures"])


def _failures(failures: list[dict[str, Any]]) -> Table:
    table = Table("round", "executor", "at")
    table.add_column("reason", overflow="fold")
    for failure in failures:
        table.add_row(str(failure["round"]), failure["executor"], failure["measure"], escape(failure["reason"]))
    return table


def cell(numbers: dict[str, float]) -> str:
    """Show a median, and behind it the least and the greatest, if there are several."""
    if numbers["rounds"] == 1:
        return number(numbers["median"])
    return f"{number(numbers['median'])} ({number(numbers['min'])}-{number(numbers['max'])})"


def caption(record: dict[str, Any]) -> str:
    """Say how the tables are to be read."""
    rounds = record["plan"]["rounds"]
    medians = f"Medians of {rounds} rounds (least-greatest). " if rounds > 1 else "One round, so no spread is known. "
    return (
        f"{medians}To the best other: how many times better than the best of the other executors; floor and threads, "
        "which run calls in the submitting process, are left out of that."
    )


def number(value: float) -> str:
    """Show three digits that count, and separators of thousands."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def times(ratio: float | None) -> str:
    """Show a ratio."""
    return "" if ratio is None else f"{number(ratio)} x"
