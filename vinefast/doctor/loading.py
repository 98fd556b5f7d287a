"""A user's program as far as its configuration: nothing of that is started."""

from __future__ import annotations

import logging
import os
import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from parsl import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor

from vinefast import VineFastExecutor
from vinefast.doctor.check import Check, error, refusal
from vinefast.errors import InvalidConfiguration
from vinefast.settings.rules import gathering

_NAME = "configuration"
# Those of Parsl's own programs.
_USUAL = ("config", "fresh_config")
_GUARDED = (
    "the file runs for that, but for what is under if __name__ == '__main__': give FILE.py:NAME, the name of a Config, "
    "an executor, or a function that makes one"
)


@dataclass
class Loaded:
    """What a program configures.

    Attributes
    ----------
    executors : list of ParslExecutor
        None has been started.
    config : Config or None
        That has them.
    warnings : list of str
        What vinefast and Parsl have said meanwhile.
    problems : list of Check
        Why there is nothing, or what is wrong with it.
    """

    executors: list[ParslExecutor] = field(default_factory=list)
    config: Config | None = None
    warnings: list[str] = field(default_factory=list)
    problems: list[Check] = field(default_factory=list)


class _Met(BaseException):
    """The program is about to start something, which it is not to do now; no ``except Exception`` keeps it."""

    def __init__(self, configured: Any) -> None:
        self.configured = configured


def load(where: str) -> Loaded:
    """Run FILE.py of ``FILE.py[:NAME]``, up to where it starts anything, and find what it configures."""
    path, _, name = where.partition(":")
    loaded = Loaded()
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    sys.argv = [path]

    def note(words: str, line: str | None = None) -> None:
        line = _line_of(path, traceback.extract_stack()) if line is None else line
        problem = refusal(_NAME, f"{line}{words}", "the message says what is accepted")
        if problem not in loaded.problems:
            loaded.problems.append(problem)

    try:
        with _nothing_starts(), _warnings_of(loaded.warnings), gathering(note):
            found = _found(path, name)
    except _Met as met:
        found = [met.configured]
    except InvalidConfiguration as refused:
        note(str(refused), _line_of_failure(path))
        return loaded
    except BaseException as failure:
        advice = "correct it" if isinstance(failure, Exception) else _GUARDED
        if not loaded.problems:  # of which it may come
            seen = f"{_line_of_failure(path)}{type(failure).__name__}: {failure}"
            loaded.problems.append(error(_NAME, seen, advice))
        return loaded
    for each in found:
        if isinstance(each, Config):
            loaded.config = each
        loaded.executors += each.executors if isinstance(each, Config) else [each]
    if not loaded.executors and not loaded.problems:
        lack = f"there is no {name!r} in {path}" if name else f"{path} has no Config and no executor"
        loaded.problems.append(error(_NAME, lack, _GUARDED))
    return loaded


def _found(path: str, name: str) -> list[Any]:
    there = runpy.run_path(path, run_name="vinefast_doctor_program")
    names = [name] if name else [usual for usual in _USUAL if usual in there]
    for each in names:
        made = there.get(each)
        if callable(made) and not isinstance(made, type):
            made = made()
        if isinstance(made, (Config, ParslExecutor)):
            return [made]
    if name:
        return []
    values = {id(value): value for value in there.values()}.values()
    return [value for value in values if isinstance(value, Config)] or [
        value for value in values if isinstance(value, ParslExecutor)
    ]


@contextmanager
def _nothing_starts() -> Iterator[None]:
    def begin_kernel(self: DataFlowKernel, config: Config, *_: Any, **__: Any) -> None:
        raise _Met(config)

    def begin_executor(self: VineFastExecutor) -> None:
        raise _Met(self)

    before = DataFlowKernel.__init__, VineFastExecutor.start
    DataFlowKernel.__init__, VineFastExecutor.start = begin_kernel, begin_executor  # type: ignore[method-assign]
    try:
        yield
    finally:
        DataFlowKernel.__init__, VineFastExecutor.start = before  # type: ignore[method-assign]


@contextmanager
def _warnings_of(warnings: list[str]) -> Iterator[None]:
    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warnings.append(record.getMessage())

    keeper = Keeper(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("vinefast", "parsl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
        logger.addHandler(keeper)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(keeper)
            logger.setLevel(level)


def _line_of_failure(path: str) -> str:
    """Say in which line of the file the exception that is being handled has come up, if in any."""
    failure = sys.exc_info()[1]
    if isinstance(failure, SyntaxError) and failure.lineno:
        return f"line {failure.lineno}: "
    return _line_of(path, traceback.extract_tb(failure.__traceback__ if failure is not None else None))


def _line_of(path: str, frames: traceback.StackSummary) -> str:
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f"line {lines[-1]}: " if lines else ""
