"""Resource specifications of calls, checked once and turned into what the core takes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from parsl.executors.errors import InvalidResourceSpecification

from vinefast._log_fields import fields
from vinefast.settings.rules import FLAG, Rule, did_you_mean, is_int_valued, is_name, is_number

logger: logging.Logger = logging.getLogger(__name__)


class ResourceSpecification(TypedDict, total=False):
    """What a call can ask for: a dict with any of these keys, for type checkers. None is the same as no key.

    Attributes
    ----------
    cores : float
        Cores.
    memory, disk : int
        In MB.
    gpus : int
        GPUs.
    priority : float
        See ``priority_order`` of the executor.
    category : str
        TaskVine's category.
    running_time_min : int
        Seconds that the worker must have left to live.
    running_time_max : float
        Seconds that the call may run; then it is ended, and fails with `CallTimedOut`.
    enforce_memory : bool
        Whether the call fails when it takes more than ``memory``; if not given, as the executor has it.
    capture_output : bool
        Whether what the call prints comes back with its result; if not given, as the executor has it.
    exec_mode : "serverless" or "regular"
        As ``function_exec_mode`` of the executor, and nothing else.

    Examples
    --------
    >>> large: vinefast.ResourceSpecification = {"cores": 4, "memory": 8000}
    >>> future = executor.submit(relax, large, structure)
    """

    cores: float | None
    memory: int | None
    disk: int | None
    gpus: int | None
    priority: float | None
    category: str | None
    running_time_min: int | None
    running_time_max: float | None
    enforce_memory: bool | None
    capture_output: bool | None
    exec_mode: Literal["serverless", "regular"] | None


@dataclass(frozen=True)
class CallSpec:
    """A resource specification, checked. Equal specifications are the same object.

    Attributes
    ----------
    cores : float or None
        Cores; None here and below: what the engine gives.
    memory, disk : int or None
        In MB.
    gpus : int or None
        GPUs.
    priority : float
        Higher goes first, as in TaskVine.
    category : str or None
        TaskVine's category.
    running_time_min : int or None
        Seconds that the worker must have left to live.
    running_time_max : float or None
        Seconds that the call may run.
    enforce_memory : bool
        Whether the call ends when it takes more than `memory`.
    capture_output : bool
        Whether what the call prints comes back with its result.
    """

    cores: float | None = None
    memory: int | None = None
    disk: int | None = None
    gpus: int | None = None
    priority: float = 0.0
    category: str | None = None
    running_time_min: int | None = None
    running_time_max: float | None = None
    enforce_memory: bool = False
    capture_output: bool = False


_NOTHING = CallSpec()

_AMOUNT: Rule = (lambda value: is_number(value) and value >= 0, "a number, 0 or more")
_WHOLE: Rule = (lambda value: is_int_valued(value) and value >= 0, "a whole number, 0 or more")
# TaskVine sends it in a line, which has an end.
_CATEGORY: Rule = (
    lambda value: is_name(value) and value.isprintable() and len(value) <= 200,
    "a name of at most 200 printable characters",
)
_LIMIT: Rule = (lambda value: is_number(value) and value > 0, "a number above 0")
RULES: dict[str, tuple[Rule, type]] = {
    "cores": (_AMOUNT, float),
    "memory": (_WHOLE, int),
    "disk": (_WHOLE, int),
    "gpus": (_WHOLE, int),
    "priority": ((is_number, "a number"), float),
    "category": (_CATEGORY, str),
    "running_time_min": (_WHOLE, int),
    "running_time_max": (_LIMIT, float),
    "enforce_memory": (FLAG, bool),
    "capture_output": (FLAG, bool),
}

# By the executor's label.
_warned_keys: set[tuple[str | None, str]] = set()


@dataclass(frozen=True)
class SpecReader:
    """Reads the resource specifications of one executor's calls.

    Parameters
    ----------
    exec_mode : str
        The executor's function_exec_mode, which a specification may repeat.
    strict : bool
        Refuse unknown keys; otherwise each is ignored, with one warning.
    lowest_first : bool
        Whether lower priorities go first.
    enforce_memory : bool
        Whether calls end that take more memory than they ask for, if their specifications do not say.
    capture_output : bool
        Whether what calls print comes back with their results, if their specifications do not say.
    label : str, optional
        Of the executor, for warnings.
    """

    exec_mode: str = "serverless"
    strict: bool = True
    lowest_first: bool = False
    enforce_memory: bool = False
    capture_output: bool = False
    label: str | None = None

    @property
    def usual(self) -> CallSpec | None:
        """What holds for a call without a specification."""
        return _one_of_equals(CallSpec(capture_output=True)) if self.capture_output else None

    def read(self, specification: Mapping[str, Any] | None) -> CallSpec | None:
        """Check a specification as users write it; None if it asks for nothing.

        Raises
        ------
        parsl.executors.errors.InvalidResourceSpecification
            The message names key, value and what is accepted.
        """
        if specification is None or specification == {}:
            return self.usual
        try:
            # 1, 1.0 and True are equal, but True is no number of cores.
            return _interned(self, *((key, type(value), value) for key, value in specification.items()))
        except (TypeError, AttributeError):
            if not isinstance(specification, Mapping):
                raise InvalidResourceSpecification(
                    {repr(specification)},
                    f"The resource specification is {specification!r}; accepted: a dict or None. submit takes it "
                    "before the arguments of the call: submit(function, None, argument)",
                ) from None
            unhashable = {key: value for key, value in specification.items() if value.__hash__ is None}
            if not unhashable:
                raise
            raise InvalidResourceSpecification(set(unhashable), f"Got {unhashable!r}; accepted: plain values") from None


@functools.lru_cache(maxsize=4096)
def _interned(reader: SpecReader, *items: tuple[str, type, Any]) -> CallSpec | None:
    wanted = {}
    for key, _, value in items:
        if value is None:
            continue
        if key == "exec_mode":
            if value != reader.exec_mode:
                raise InvalidResourceSpecification(
                    {key}, f"{key} is {value!r}; accepted: the executor's function_exec_mode, {reader.exec_mode!r}"
                )
        elif key in RULES:
            (accepts, words), convert = RULES[key]
            if not accepts(value):
                raise InvalidResourceSpecification({key}, f"{key} is {value!r}; accepted: {words}")
            wanted[key] = convert(value)
        else:
            _refuse_or_warn(key, reader)
    if reader.lowest_first and "priority" in wanted:
        wanted["priority"] = -wanted["priority"]
    _settle_memory(wanted, reader.enforce_memory)
    wanted.setdefault("capture_output", reader.capture_output)
    spec = CallSpec(**wanted)
    return None if spec == _NOTHING else _one_of_equals(spec)


def _settle_memory(wanted: dict[str, Any], usually: bool) -> None:
    """Leave `enforce_memory` where there is something to enforce."""
    asked = wanted.pop("enforce_memory", None)
    if wanted.get("memory"):
        if usually if asked is None else asked:
            wanted["enforce_memory"] = True
    elif asked:
        raise InvalidResourceSpecification(
            {"enforce_memory"}, "enforce_memory is True; accepted: with memory, the MB that the call may take"
        )


@functools.lru_cache(maxsize=4096)
def with_limit(spec: CallSpec | None, seconds: float) -> CallSpec:
    """Give a specification that lets calls run for no longer than some seconds."""
    spec = spec or _NOTHING
    most = seconds if spec.running_time_max is None else min(seconds, spec.running_time_max)
    return _one_of_equals(replace(spec, running_time_max=most))


@functools.lru_cache(maxsize=4096)
def without_output(spec: CallSpec | None) -> CallSpec | None:
    """Give a specification of calls whose output nobody can ask for."""
    if spec is None or not spec.capture_output:
        return spec
    spec = replace(spec, capture_output=False)
    return None if spec == _NOTHING else _one_of_equals(spec)


@functools.lru_cache(maxsize=4096)
def _one_of_equals(spec: CallSpec) -> CallSpec:
    return spec


def _refuse_or_warn(key: str, reader: SpecReader) -> None:
    hint = did_you_mean(key, RULES)
    known = f"{hint} Known: {', '.join(RULES)}".lstrip()
    if reader.strict:
        raise InvalidResourceSpecification(
            {key}, f"{known}. VineFastExecutor(strict_resources=False) ignores what it does not know"
        )
    if (reader.label, key) not in _warned_keys:
        _warned_keys.add((reader.label, key))
        whose = "" if reader.label is None else f" of executor {reader.label}"
        logger.warning("Ignoring %r in a resource specification%s. %s", key, whose, known, extra=fields(reader.label))
