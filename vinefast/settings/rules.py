"""What values are accepted, and the words that say so in errors."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeGuard

from parsl.data_provider.staging import Staging

from vinefast.errors import InvalidConfiguration

Rule = tuple[Callable[[Any], bool], str]

# The usual limit of file systems.
_NAME_NBYTES = 255


def is_int(value: object) -> bool:
    """Tell whether it is a whole number, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Tell whether it is a finite number, and not a bool."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def is_int_valued(value: Any) -> bool:
    """Tell whether it is a number without a fraction, as 2 and 2.0 are."""
    return is_number(value) and value == int(value)


def is_text(value: object) -> bool:
    """Tell whether it is a string that C can read whole."""
    return isinstance(value, str) and "\0" not in value


def is_name(value: object) -> bool:
    """Tell whether it is a string that is not empty."""
    return is_text(value) and value != ""


def is_names(value: object) -> bool:
    """Tell whether it is a list of strings that are not empty."""
    return isinstance(value, (list, tuple)) and all(map(is_name, value))


def is_staging(value: object) -> bool:
    """Tell whether it is a list of what Parsl stages files with."""
    return isinstance(value, list) and all(isinstance(item, Staging) for item in value)


def is_path(value: object) -> bool:
    """Tell whether it can be a path."""
    return isinstance(value, os.PathLike) or is_name(value)


def is_file_name(value: str) -> bool:
    """Tell whether a file in a directory can have this name."""
    try:
        return value not in ("", ".", "..") and not {"/", "\0"} & set(value) and len(os.fsencode(value)) <= _NAME_NBYTES
    except UnicodeEncodeError:
        return False


def is_directory_name(value: object) -> bool:
    """Tell whether it is a string that a directory can be named by."""
    return isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and "\0" not in value


def is_context(value: Any) -> bool:
    """Tell whether it is a function that can be called without arguments and gives its result at once."""
    if not callable(value) or inspect.isgeneratorfunction(value) or inspect.iscoroutinefunction(value):
        return False
    try:
        inspect.signature(value).bind()
    except TypeError:
        return False
    except ValueError:
        pass  # a builtin that does not tell
    return True


def is_environment(value: object) -> bool:
    """Tell whether it can be given to a process as its environment."""
    return isinstance(value, Mapping) and all(is_name(name) and "=" not in name for name in value)


def is_ssl(value: object) -> bool:
    """Tell whether it says whether there is TLS, or with which key and which certificate."""
    return value is None or isinstance(value, bool) or (_is_pair(value) and all(map(is_path, value)))


def _is_pair(value: object) -> TypeGuard[tuple[object, object]]:
    return isinstance(value, tuple) and len(value) == 2


COUNT: Rule = (lambda value: is_int(value) and value >= 0, "a whole number, 0 or more")
SECONDS: Rule = (lambda value: isinstance(value, Real), "a number of seconds")
POSITIVE: Rule = (lambda value: is_int(value) and value > 0, "a positive whole number")
FLAG: Rule = (lambda value: isinstance(value, bool), "True or False")
TEXT: Rule = (is_text, "a string")
NAME: Rule = (is_name, "a string that is not empty")
PATH: Rule = (is_path, "a path")
SSL: Rule = (is_ssl, "None, True, False, or a pair of paths: a key and its certificate")
CONTEXT: Rule = (is_context, "a plain function that can be called without arguments (functools.partial gives it some)")


def optional(rule: Rule) -> Rule:
    """Make a rule that accepts None as well."""
    accepts, words = rule
    return lambda value: value is None or accepts(value), f"{words}, or None"


def one_of(*choices: str) -> Rule:
    """Make a rule that accepts the choices."""
    return lambda value: value in choices, " or ".join(map(repr, choices))


def instance_of(kind: type) -> Rule:
    """Make a rule that accepts objects of a class."""
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return lambda value: isinstance(value, kind), f"{article} {kind.__name__}"


APP: Rule = (lambda value: isinstance(value, str), "an app, its function, or its name")


def require(name: str, value: object, rule: Rule) -> None:
    """Raise `InvalidConfiguration` unless the rule accepts the value."""
    accepts, words = rule
    if not accepts(value):
        refuse(f"{name} is {value!r}; accepted: {words}")


def did_you_mean(name: object, known: Collection[str]) -> str:
    """Ask for the known names that are most like an unknown one; empty if none is."""
    nearest = get_close_matches(str(name), known, n=2)
    return f"Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""


def refuse_unknown(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError in Python's words, and with the nearest names, if a function has no parameter of some name."""
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"Accepted: {', '.join(known)}"
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}. {hint}")


def refuse(words: str) -> None:
    """Raise `InvalidConfiguration`, unless somebody gathers what is refused."""
    if _gather is None:
        raise InvalidConfiguration(words)
    _gather(words)


_gather: Callable[[str], None] | None = None


@contextmanager
def gathering(gather: Callable[[str], None]) -> Iterator[None]:
    """Have what is refused meanwhile given to `gather`, and go on as if it were accepted: to find all mistakes."""
    global _gather
    before, _gather = _gather, gather
    try:
        yield
    finally:
        _gather = before
