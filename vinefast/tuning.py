"""The tune-parameter surface: numbers by name, handed to TaskVine's ``vine_tune``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

from vinefast.errors import InvalidConfiguration


def checked_tune_parameters(parameters: Mapping[str, float] | None) -> dict[str, float]:
    """Give the parameters as TaskVine takes them; whether it knows the names shows when the engine starts.

    Parameters
    ----------
    parameters : mapping or None
        Value by name, as in ``TaskVineManagerConfig.tune_parameters``.

    Raises
    ------
    InvalidConfiguration
        If a name is not a string or a value is not a finite number.
    """
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise InvalidConfiguration(f"tune_parameters is {parameters!r}; accepted: a dict of numbers by name, or None")
    for name, value in parameters.items():
        if not isinstance(name, str) or not name:
            raise InvalidConfiguration(f"tune_parameters has the key {name!r}; accepted: names of tune parameters")
        if not isinstance(value, Real) or not math.isfinite(value):
            raise InvalidConfiguration(f"tune_parameters[{name!r}] is {value!r}; accepted: a number")
    return {name: float(value) for name, value in parameters.items()}
