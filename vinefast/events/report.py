"""A run as one page of HTML, with its pictures in it."""

from __future__ import annotations

import html
from typing import Any

from vinefast.display.text import moment
from vinefast.events.figures import Figures
from vinefast.events.run import Run
from vinefast.events.state import State, state_of
from vinefast.events.story import FailureGroup, Stories

_STYLE = """
html { overflow-y: scroll; } /* else pictures are as wide as without a scroll bar */
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; font-size: .85rem; }
p.note { color: #666; font-size: .9rem; margin: .2rem 0; } .picture { width: 100%; }
"""
_CONFIG = {"responsive": True, "displaylogo": False}
_GROUPS = 20
_DETAIL_NCHARS = 4000


def report_of(run: Run, directory: str) -> str:
    """Give the page; it loads nothing from elsewhere.

    Parameters
    ----------
    run : Run
        One that has been read.
    directory : str
        The executor's part of the run directory.

    Raises
    ------
    ImportError
        If plotly is not installed (``pip install 'vinefast[report]'``).
    """
    from plotly.offline import get_plotlyjs

    state, figures = state_of(run, directory), Figures(run)
    parts = [
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(state.label)}: a run of vinefast</title><style>{_STYLE}</style>",
        f"<script>{get_plotlyjs()}</script></head><body>",
        _head(run, state),
        *_pictures(figures, state),
        _functions(state),
        _failures(Stories(run).failed()),
        "</body></html>",
    ]
    return "\n".join(parts)


def _head(run: Run, state: State) -> str:
    began = moment(run.wall_s(run.first_ns), "seconds")
    rows = [
        ("program", f"{state.program} (process {state.pid} on {state.host})"),
        ("run directory", state.directory),
        ("began", f"{began}; {state.seconds:.1f} s; {state.state}"),
        (
            "calls",
            f"{state.done:,} done, {state.failed:,} failed, {state.cancelled:,} cancelled, {state.again:,} run again",
        ),
        ("workers", f"{len(run.workers):,} joined"),
        ("versions", ", ".join(f"{name} {run.about.get(name, '?')}" for name in ("vinefast", "taskvine", "python"))),
    ]
    rows += [("event log", lack) for lack in state.lacks]
    body = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
    return f"<h1>{html.escape(state.label)}</h1><table>{body}</table>"


def _picture(title: str, figure: Any, note: str = "") -> str:
    # The legend below, clear of the axis and its title; room above for plotly's buttons, which would cover bars.
    legend = {"orientation": "h", "yanchor": "top", "y": -0.25}
    figure.update_layout(margin={"l": 60, "r": 20, "t": 36, "b": 60}, template="plotly_white", legend=legend)
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG, default_width="100%")
    note = f"<p class='note'>{html.escape(note)}</p>" if note else ""
    return f"<h2>{html.escape(title)}</h2>{note}<div class='picture'>{drawn}</div>"


def _pictures(figures: Figures, state: State) -> list[str]:
    import plotly.graph_objects as go

    middle = (figures.edges_s[:-1] + figures.edges_s[1:]) / 2
    found = []

    over_time = go.Figure()
    edges_s, rates = figures.ended()
    for name, rate in rates.items():
        if rate.any():
            over_time.add_scatter(
                x=(edges_s[:-1] + edges_s[1:]) / 2,
                y=rate,
                name=name,
                mode="lines",
                stackgroup="all",
                line={"shape": "hvh"},
            )
    over_time.update_layout(xaxis_title="seconds", yaxis_title="calls per second", height=320)
    found.append(_picture("Calls over time", over_time))

    waiting = go.Figure()
    for name, label in (("calls_waiting", "calls that wait"), ("bundles_running", "bundles with workers")):
        at_s, values = figures.counter(name)
        waiting.add_scatter(x=at_s, y=values, name=label, mode="lines")
    waiting.update_layout(xaxis_title="seconds", height=280)
    found.append(_picture("What waits, and what is under way", waiting, "Counted each second."))

    timeline = figures.timeline()
    if timeline.rows:
        slots = go.Figure(
            go.Heatmap(x=middle, y=timeline.rows, z=timeline.busy.round(3), zmin=0, zmax=1, colorscale="Blues")
        )
        slots.update_layout(xaxis_title="seconds", height=max(220, min(900, 60 + 24 * len(timeline.rows))))
        slots.update_yaxes(automargin=True)
        note = "The share of each moment in which a slot had a bundle; the time is that of the bundle's return."
        found.append(_picture("Slots", slots, note))

    stages = figures.stages()
    if stages:
        spent = go.Figure()
        unit, us_of_unit = _unit_of(sum(stages.values()))
        for name, us in stages.items():
            spent.add_bar(y=["a call"], x=[us / us_of_unit], name=f"{name}: {us / us_of_unit:,.4g}", orientation="h")
        # No title of the axis: on a narrow page the legend has a line for each stage, and begins there.
        spent.update_layout(barmode="stack", height=280)
        note = f"In {unit}, on average, as executor.overhead() tells it."
        found.append(_picture("Where the time of a call went", spent, note))

    at_s, sizes = figures.bundle_sizes()
    if len(sizes):
        bundles = go.Figure(go.Scattergl(x=at_s, y=sizes, mode="markers", marker={"size": 4, "opacity": 0.5}))
        bundles.update_layout(xaxis_title="seconds", yaxis_title="calls in a bundle", height=300)
        bundles.update_yaxes(type="log")
        found.append(_picture("Bundles", bundles))

    moved = go.Figure()
    for name, label in (
        ("bytes_sent", "calls, to workers"),
        ("bytes_returned", "results, from workers"),
        ("manager_bytes_sent", "files, from here"),
        ("manager_bytes_received", "files, to here"),
        ("file_bytes_moved", "files, to workers from anywhere"),
    ):
        at_s, rate = figures.rate_of(name)
        if rate.any():
            moved.add_scatter(x=at_s, y=rate / 1e6, name=label, mode="lines")
    if moved.data:
        moved.update_layout(xaxis_title="seconds", yaxis_title="MB per second", height=300)
        found.append(_picture("Transfers", moved))

    workers = figures.workers()
    if workers:
        there = go.Figure(
            go.Bar(
                y=[name for name, _, _ in workers],
                base=[begin for _, begin, _ in workers],
                x=[end - begin for _, begin, end in workers],
                orientation="h",
            )
        )
        there.update_layout(xaxis_title="seconds", height=max(180, min(900, 60 + 24 * len(workers))))
        there.update_yaxes(automargin=True)
        found.append(_picture("Workers, from joining to leaving", there))
    return found


def _unit_of(us: float) -> tuple[str, float]:
    """Give the unit in which so many microseconds are a number of few digits, and how many of them it has."""
    return ("seconds", 1e6) if us >= 1e6 else ("milliseconds", 1e3) if us >= 1e3 else ("microseconds", 1.0)


def _functions(state: State) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(one.name)}</td><td class='n'>{one.n:,}</td><td class='n'>{one.failed:,}</td>"
        f"<td class='n'>{one.cancelled:,}</td>"
        f"<td class='n'>{one.total_s:,.3f}</td><td class='n'>{one.mean_s * 1e3:,.3f}</td>"
        f"<td class='n'>{one.longest_s * 1e3:,.3f}</td></tr>"
        for one in state.functions
    )
    titles = ("calls", "failed", "cancelled", "seconds in slots", "mean, ms", "longest, ms")
    head = "<th></th>" + "".join(f"<th class='n'>{title}</th>" for title in titles)
    return f"<h2>Functions</h2><table><tr>{head}</tr>{rows}</table>"


def _failures(groups: list[FailureGroup]) -> str:
    if not groups:
        return "<h2>Failures</h2><p>None.</p>"
    parts = ["<h2>Failures</h2>"]
    for group in groups[:_GROUPS]:
        reason = group.example.reason
        detail = reason.detail.strip() if reason else ""
        if len(detail) > _DETAIL_NCHARS:
            detail = f"...\n{detail[-_DETAIL_NCHARS:]}"
        functions = ", ".join(f"{name} ({n:,})" for name, n in group.functions.items())
        hosts = ", ".join(f"{name} ({n:,})" for name, n in group.hosts.items())
        call = f"call {group.example.number}"
        if group.example.task is not None:
            call = f"task {group.example.task} ({call})"
        parts.append(
            f"<p><b>{len(group.numbers):,} x {html.escape(group.name)}</b><br>functions: {html.escape(functions)}; "
            f"hosts: {html.escape(hosts)}; such as {call}</p>"
        )
        if detail:
            parts.append(f"<pre>{html.escape(detail)}</pre>")
    if len(groups) > _GROUPS:
        parts.append(f"<p>... and {len(groups) - _GROUPS} more kinds: vinefast why shows them all.</p>")
    return "\n".join(parts)
