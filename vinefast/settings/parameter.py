"""What a tune parameter is: a value by name, checked when it is set."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, MutableMapping
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from vinefast._build_info import TASKVINE_VERSION
from vinefast.errors import InvalidConfiguration
from vinefast.settings.rules import is_int_valued, is_number

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

# The oldest TaskVine that vinefast can be built with.
OLDEST = "7.14.0"

# What a C int holds: TaskVine turns most numbers into one.
INT_MAX = 2**31 - 1

_FACTORS = {prefix: 1024**power for power, prefix in enumerate(["", "K", "M", "G", "T", "P"])}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) *([KMGTP]?)B?(?:/s)?", re.IGNORECASE)


class Parameter(Generic[T]):
    """A tune parameter: on the class of a parameter set the facts about it, on an object the value.

    Parameters
    ----------
    doc : str
        What the parameter does.
    default : value
        The value as long as none is set.
    unit : str
        Unit of the value.
    since : str
        The first TaskVine that has the parameter.
    aliases : tuple of str
        Other names that TaskVine takes.
    stock : value, optional
        TaskVine's default, if `default` is not the same.
    tuned : bool
        Whether the value is handed to ``vine_tune``.

    Attributes
    ----------
    name : str
        TaskVine's spelling, with hyphens.
    attribute : str
        Python's spelling.
    kind : str
        What kind of values it has.
    range : str
        Which values are accepted.
    """

    kind: ClassVar[str]
    range: str

    def __init__(
        self,
        doc: str,
        default: T,
        unit: str = "",
        *,
        since: str = OLDEST,
        aliases: tuple[str, ...] = (),
        stock: T | None = None,
        tuned: bool = True,
    ) -> None:
        self.doc = doc
        self.default = default
        self.unit = unit
        self.since = since
        self.aliases = aliases
        self.stock = stock
        self.tuned = tuned

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.name: str = name.replace("_", "-")
        self.__doc__ = (
            f"{self.doc}\n\n{self.kind}, {self.range}. Unit: {self.unit or 'none'}. Default: {self.default!r}."
        )

    # The default, in the signature that a dataclass shows.
    def __repr__(self) -> str:
        return repr(self.default)

    @overload
    def __get__(self, values: None, owner: type) -> Self: ...

    @overload
    def __get__(self, values: ParameterSet, owner: type) -> T: ...

    def __get__(self, values: ParameterSet | None, owner: type) -> Self | T:
        return self if values is None else values.get(self.name, self.default)

    def __set__(self, values: ParameterSet, value: T) -> None:
        # A dataclass sets what it is not given to what the class has.
        if value is not self:
            values[self.name] = value

    @property
    def available(self) -> bool:
        """Whether the TaskVine that vinefast is linked with has this parameter."""
        return is_available(self.since)

    def checked(self, value: object) -> T:
        """Check a value, and return what is kept of it, or raise `InvalidConfiguration`."""
        if not self.available:
            raise InvalidConfiguration(
                f"tune parameter {self.name!r} needs TaskVine {self.since} or newer; vinefast is built with "
                f"{TASKVINE_VERSION}: leave it out, or build with a newer one"
            )
        kept = self.read(value)
        if kept is None:
            raise InvalidConfiguration(
                f"tune parameter {self.name!r} is {value!r}; accepted: {self.kind}, {self.range}"
            )
        return kept

    def read(self, value: Any) -> T | None:
        """Convert a value to what is kept; returns None if this parameter cannot have the value."""
        raise NotImplementedError


class Flag(Parameter[bool]):
    """On or off."""

    kind = "a flag"
    range = "True or False"

    def read(self, value: Any) -> bool | None:
        """Accept 0 and 1 too, as TaskVine has them."""
        return bool(value) if isinstance(value, Real) and value in (0, 1) else None


class Choice(Parameter[str]):
    """One of a few words, each with the TaskVine that has it first.

    Parameters
    ----------
    choices : mapping
        Version by word.
    """

    kind = "a word"

    def __init__(self, doc: str, default: str, *, choices: Mapping[str, str], **facts: Any) -> None:
        super().__init__(doc, default, **facts)
        self.choices = choices
        self.range: str = ", ".join(
            word if since == OLDEST else f"{word} (TaskVine {since} or newer)" for word, since in choices.items()
        )

    def read(self, value: Any) -> str | None:
        """Accept the words that this TaskVine has."""
        if not isinstance(value, str) or value not in self.choices:
            return None
        return value if is_available(self.choices[value]) else None


class _Numeric(Parameter[T]):
    def __init__(
        self,
        doc: str,
        default: T,
        unit: str = "",
        *,
        least: float = 0,
        most: float = INT_MAX,
        also: Mapping[float, str] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(doc, default, unit, **facts)
        self.least = least
        self.most = most
        self.also: Mapping[float, str] = also or {}
        span = f"{least:g} or more" if most >= INT_MAX else f"{least:g} to {most:g}"
        extra = [f"{number:g}: {meaning}" for number, meaning in self.also.items()]
        if isinstance(default, Real) and not self._accepts(float(default)):
            extra.append(f"{default:g} if it is not set")
        self.range: str = "; ".join([span, *extra])

    def _accepts(self, number: float) -> bool:
        return self.least <= number <= self.most or number in self.also


class Count(_Numeric[int]):
    """A whole number; also TaskVine's times in whole seconds."""

    kind = "a whole number"

    def read(self, value: Any) -> int | None:
        """Accept 2.0 for 2."""
        return int(value) if is_int_valued(value) and self._accepts(value) else None


class Number(_Numeric[float]):
    """Any number."""

    kind = "a number"

    def read(self, value: Any) -> float | None:
        """Accept numbers within the range."""
        return float(value) if is_number(value) and self._accepts(value) else None


class Proportion(Parameter[float]):
    """A number between 0 and 1, without these two."""

    kind = "a number"
    range = "more than 0 and less than 1"

    def read(self, value: Any) -> float | None:
        """Accept numbers within the range."""
        return float(value) if is_number(value) and 0 < value < 1 else None


class Bytes(Count):
    """A number of bytes, or a string such as ``"100MB"``. As in TaskVine, K, M and G are powers of 1024."""

    kind = 'a number of bytes or a string such as "100MB"'

    def __set__(self, values: ParameterSet, value: int | str) -> None:
        super().__set__(values, value)  # type: ignore[arg-type]

    def read(self, value: Any) -> int | None:
        """Accept text with a unit."""
        if isinstance(value, str):
            amount = _AMOUNT.fullmatch(value.strip())
            value = float(amount[1]) * _FACTORS[amount[2].upper()] if amount else None
            value = int(value) if value is not None and math.isfinite(value) else None
        return super().read(value)


class ParameterSet(dict[str, Any]):
    """Values of parameters by name: as a dict, those that have been set; as attributes, all.

    A subclass is a dataclass of `Parameter` objects.
    """

    parameters: ClassVar[dict[str, Parameter[Any]]]

    def __init_subclass__(cls) -> None:
        cls.parameters = {p.name: p for p in vars(cls).values() if isinstance(p, Parameter)}

    def __new__(cls, **values: Any) -> Self:
        """Refuse an unknown name, and say the nearest ones, which a dataclass's own message does not."""
        for name in values:
            cls.find(name)
        return super().__new__(cls)

    @classmethod
    def find(cls, name: object) -> Parameter[Any]:
        """Find a parameter by its name, with hyphens or underscores, or by another name that TaskVine takes.

        Raises
        ------
        InvalidConfiguration
            If no parameter has that name; the message has the nearest names.
        """
        wanted = name.replace("_", "-") if isinstance(name, str) else ""
        known = {alias: p for p in cls.parameters.values() for alias in (p.name, *p.aliases)}
        if wanted in known:
            return known[wanted]
        nearest = difflib.get_close_matches(wanted, known, cutoff=0.5)
        hint = f"the nearest: {', '.join(map(repr, nearest))}" if nearest else "'vinefast tune' lists all"
        raise InvalidConfiguration(f"there is no tune parameter {name!r}; {hint}")

    def __setitem__(self, name: str, value: Any) -> None:
        parameter = self.find(name)
        super().__setitem__(parameter.name, parameter.checked(value))

    # A type checker would take any name for an attribute then, and knows the others as a dict has them.
    if not TYPE_CHECKING:

        def __setattr__(self, name, value):
            self.find(name).__set__(self, value)

        # A dict's own would go around __setitem__.
        update = MutableMapping.update
        setdefault = MutableMapping.setdefault

        def __ior__(self, values):
            self.update(values)
            return self

    def __repr__(self) -> str:
        values = (f"{name.replace('-', '_')}={value!r}" for name, value in self.items())
        return f"{type(self).__name__}({', '.join(values)})"


def is_available(since: str) -> bool:
    """Tell whether the TaskVine that vinefast is linked with is at least of a version."""
    return _version(TASKVINE_VERSION) >= _version(since)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))
