"""What an object was given that it would not have by itself: the rest is too much to read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.monitoring.radios.filesystem import FilesystemRadio

from vinefast.settings.arguments import Arguments


def chosen(executor: Arguments) -> str:
    """Write the arguments of an executor that it would not have by itself; its label is written elsewhere."""
    usual = {
        "label": executor.label,
        "manager_config": TaskVineManagerConfig(port=0),
        "factory_config": TaskVineFactoryConfig(),
        "remote_monitoring_radio": FilesystemRadio(),
    }
    return given(executor, usual)


def given(made: object, usual: Mapping[str, object]) -> str:
    """Write the arguments of an object that are not its class's defaults.

    Parameters
    ----------
    made : object
        It has each argument as an attribute.
    usual : mapping
        What stands in the place of a default of None; an argument that is not to be named is its own here.
    """
    found = []
    for name, parameter in inspect.signature(type(made).__init__).parameters.items():
        value = getattr(made, name, parameter.default)
        written = _written(value)
        if name != "self" and written not in (_written(parameter.default), _written(usual.get(name))):
            found.append(f"{name}={written}")
    return ", ".join(found)


def _written(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        parts = []
        for field in fields(value):
            each, default = getattr(value, field.name), field.default
            if default is MISSING and field.default_factory is not MISSING:
                default = field.default_factory()
            if field.init and not field.name.startswith("_") and (each is not default and each != default):
                parts.append(f"{field.name}={each!r}")
        return f"{type(value).__name__}({', '.join(parts)})"
    # Those of Parsl's have a line for each argument.
    return " ".join(repr(value).split())
