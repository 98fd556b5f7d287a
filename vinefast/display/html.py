"""Tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(title: str, rows: Iterable[Sequence[str]], header: Sequence[str] = (), n_numbers: int = 0) -> str:
    """Make a table; all that it is given is text, and shown as it is.

    Parameters
    ----------
    title : str
    rows : iterable of sequences of str
        The first cell of each row is its name.
    header : sequence of str, optional
        Above the columns.
    n_numbers : int
        So many columns after the first one are numbers, and aligned at the right.
    """

    def cell(place: int, text: str, kind: str) -> str:
        side = "right" if 0 < place <= n_numbers else "left"
        return f'<{kind} style="text-align: {side}">{escape(text)}</{kind}>'

    lines = [f"<table><caption>{escape(title)}</caption>"]
    if header:
        cells = (cell(place, text, "th") for place, text in enumerate(header))
        lines.append(f"<thead><tr>{''.join(cells)}</tr></thead>")
    lines.append("<tbody>")
    for row in rows:
        cells = (cell(place, text, "td" if place else "th") for place, text in enumerate(row))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    lines.append("</tbody></table>")
    return "\n".join(lines)
