"""Fields of log records, as Parsl names those of its own: its ``JSONLogging`` writes what begins with ``parsl.``."""

from __future__ import annotations


def fields(executor: str | None = None, **others: object) -> dict[str, object]:
    """Make the `extra` of a log record.

    Parameters
    ----------
    executor : str, optional
        Label of the executor that the record is about.
    **others
        What else is known, by Parsl's names: ``executor_task`` is the executor's own number of a call, ``task`` and
        ``try`` are Parsl's, ``hostname`` and ``block_id`` are those of its monitoring. None is left out.
    """
    known = {"executor": executor, **others}
    return {f"parsl.{name}": value for name, value in known.items() if value is not None}
