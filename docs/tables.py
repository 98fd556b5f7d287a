"""The tables of the site that are made from the code. Each function gives one as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields

from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from vinefast import VineFastExecutor
from vinefast.calls.counters import COUNTERS
from vinefast.settings import checks, resources
from vinefast.settings.parameter import OLDEST
from vinefast.settings.tuning import Tuning


def executor_options() -> str:
    """Arguments of the executor, from its signature and its docstring."""
    defaults = inspect.signature(VineFastExecutor).parameters
    rows = [
        (f"`{name}`<br>`{defaults[name].default!r}`", f"*{kind.removesuffix(', optional')}*: {text}")
        for name, kind, text in _parameters(VineFastExecutor)
    ]
    return _table(("argument, default", "what it does"), rows)


def manager_fields() -> str:
    """Fields of Parsl's `TaskVineManagerConfig`, and the values that are accepted."""
    return _fields(TaskVineManagerConfig, checks.MANAGER_RULES)


def factory_fields() -> str:
    """Fields of Parsl's `TaskVineFactoryConfig`, and the values that are accepted."""
    return _fields(TaskVineFactoryConfig, checks.FACTORY_RULES)


def specification_keys() -> str:
    """Keys of a resource specification, and the values that are accepted."""
    return _table(("key", "accepted"), [(f"`{name}`", rule[1]) for name, (rule, _) in resources.RULES.items()])


def tune_parameters() -> str:
    """All tune parameters: first those that are handed to TaskVine, then vinefast's own."""
    parts = []
    for headline, tuned in (("TaskVine's own", True), ("vinefast's own, and what has no `vine_tune`", False)):
        rows = []
        for parameter in Tuning.parameters.values():
            if parameter.tuned == tuned:
                since = "" if parameter.since == OLDEST else f" From TaskVine {parameter.since}."
                default = f"`{parameter.default}` {parameter.unit}".strip()
                text = f"{parameter.doc}{since} *Accepted: {parameter.kind}, {parameter.range}.*"
                rows.append((f"`{parameter.name}`<br>{default}", text))
        parts += [f"### {headline}", "", _table(("name, default", "what it does"), rows), ""]
    return "\n".join(parts)


def counters() -> str:
    """The keys of `stats()`."""
    parts = []
    for headline, rows in COUNTERS.items():
        cells = [(f"`{counter.name}`", counter.unit, counter.meaning) for counter in rows]
        parts += [f"## {headline}", "", _table(("key", "unit", "what it is"), cells), ""]
    return "\n".join(parts)


def _fields(config: type, rules: dict[str, checks.Rule]) -> str:
    rows = []
    for field in fields(config):
        if not field.name.startswith("_"):
            words = rules[field.name][1] if field.name in rules else "a `vinefast.Tuning`, a dict, or None"
            rows.append((f"`{field.name}`<br>`{field.default!r}`", words))
    return _table(("field, default", "accepted"), rows)


def _parameters(documented: type) -> Iterator[tuple[str, str, str]]:
    """Give name, type and text of each parameter in a NumPy docstring."""
    section = re.search(r"Parameters\n-+\n(.*?)\n\n[A-Z]\w+\n-+\n", inspect.getdoc(documented) or "", re.DOTALL)
    assert section is not None
    for name, kind, text in re.findall(r"^(\w+) : (.+)\n((?:    .*\n?)+)", section[1], re.MULTILINE):
        yield name, kind, " ".join(text.split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
