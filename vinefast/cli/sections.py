"""The help of ``vinefast``: commands under headlines, in the order in which they are needed."""

from __future__ import annotations

import click

_SECTIONS = {
    "Before a run": ("info", "doctor", "tune"),
    "During a run": ("worker", "status"),
    "After a run": ("why", "report", "trace", "audit"),
    "Measure": ("bench",),
    "This command": ("completion",),
}

_EXAMPLES = (
    ("vinefast doctor", "check this machine"),
    ("vinefast doctor --config program.py", "check what a program configures"),
    ("vinefast worker runinfo/000", "start a worker for a run"),
    ("vinefast status", "see what your executors do"),
    ("vinefast why runinfo/000", "learn why calls of a run failed"),
)


class Sections(click.Group):
    """A group whose commands stand under headlines."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands and their first sentences."""
        known = [name for names in _SECTIONS.values() for name in names]
        others = tuple(name for name in self.list_commands(ctx) if name not in known)
        for headline, names in {**_SECTIONS, "Others": others}.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None and not command.hidden:
                    rows.append((name.ljust(max(map(len, known))), command.get_short_help_str(limit=100)))
            if rows:
                with formatter.section(headline):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples."""
        with formatter.section("Examples"):
            formatter.write_dl(list(_EXAMPLES), col_max=40)
        formatter.write_paragraph()
        formatter.write_text(
            "'vinefast COMMAND --help' tells more; 'vinefast completion --help' how your shell completes."
        )
