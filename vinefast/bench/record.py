"""The record of a run: what was measured, on what, and with which versions."""

from __future__ import annotations

import os
import platform
import statistics
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from vinefast.bench.measures import MEASURES
from vinefast.bench.peers import PEERS
from vinefast.bench.rounds import Findings, Plan

SCHEMA_VERSION = 1


def machine() -> dict[str, Any]:
    """Describe this machine."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Give the versions of everything that takes part and is installed."""
    from vinefast._build_info import TASKVINE_VERSION

    found = {"python": platform.python_version(), "TaskVine": TASKVINE_VERSION}
    for package in sorted({"vinefast", "parsl", "numpy"} | {peer.package for peer in PEERS.values() if peer.package}):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def make_record(
    plan: Plan, findings: Findings, load_before: tuple[float, float, float], started: datetime
) -> dict[str, Any]:
    """Put all that is known about a run into one object for JSON.

    Parameters
    ----------
    plan : Plan
        What was to be measured.
    findings : Findings
        What came out.
    load_before : tuple of float
        Load averages when the run began.
    started : datetime
        When that was.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "date": started.isoformat(timespec="seconds"),
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "interrupted": findings.interrupted,
        "machine": {**machine(), "load_before": list(load_before), "load_after": list(psutil.getloadavg())},
        "versions": versions(),
        "plan": {
            "executors": list(plan.executors),
            "measures": list(plan.measures),
            "effort": plan.effort,
            "rounds": plan.rounds,
            "slots": plan.slots,
        },
        "summary": summarize(findings.samples),
        "samples": findings.samples,
        "failures": findings.failures,
        "skipped": findings.skipped,
    }


def summarize(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give median and extremes of each metric over the rounds, and how executors compare.

    Parameters
    ----------
    samples : list of dict
        As in `Findings`.

    Returns
    -------
    list of dict
        One for each measure, case and executor, in the order of measures and of first samples. ``to_best`` tells how
        many times better the executor does in the measure's first metric than the best of the others; more is always
        better, and executors that run calls in the submitting process take no part. ``to_threads`` is the same beside
        threads.
    """
    groups: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for sample in samples:
        metrics = groups.setdefault((sample["measure"], sample["case"], sample["executor"]), {})
        for name, value in sample["metrics"].items():
            metrics.setdefault(name, []).append(value)
    rows: list[dict[str, Any]] = []
    for (measure, case, executor), metrics in groups.items():
        numbers = {
            name: {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}
            for name, values in metrics.items()
        }
        rows.append({"measure": measure, "case": case, "executor": executor, "metrics": numbers})
    order = list(MEASURES)
    rows.sort(key=lambda row: order.index(row["measure"]))
    for row in rows:
        others = {
            other["executor"]: _goodness(other)
            for other in rows
            if (other["measure"], other["case"]) == (row["measure"], row["case"]) and other is not row
        }
        row["to_threads"] = _goodness(row) / others["threads"] if others.get("threads") else None
        best = max((good for other, good in others.items() if not PEERS[other].in_this_process), default=0.0)
        row["to_best"] = _goodness(row) / best if best and not PEERS[row["executor"]].in_this_process else None
    return rows


def _goodness(row: dict[str, Any]) -> float:
    """Turn the first metric into a number of which more is better."""
    name, metric = next(iter(MEASURES[row["measure"]].metrics.items()))
    median: float = row["metrics"][name]["median"]
    if metric.more_is_better:
        return median
    return 1 / median if median else 0.0


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
