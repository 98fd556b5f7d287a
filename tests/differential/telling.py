"""Tell what a value is, in words that are equal if values are: types, contents, and which parts are one object."""

import hashlib
import re
from types import FunctionType

import numpy
from parsl.data_provider.files import File

_MAX_DEPTH = 60
_MAX_LENGTH = 1000
# What built-in exceptions keep beside `args`.
_ATTRIBUTES = ("value", "code", "name", "path", "errno", "filename", "lineno", "start", "reason")
# Each process has its own.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def tell(value, objects=False):
    """Tell a value; with `objects` also where an object is in it again.

    Threads have one object wherever a result has gone to, so that this is for values alone that have been made at once.
    """
    return _Teller(objects).tell(value, 0)


class _Teller:
    """Has seen some objects already."""

    def __init__(self, objects):
        self.objects = objects
        self.seen = {}

    def tell(self, value, depth):
        kind = type(value)
        name = kind.__qualname__
        if depth > _MAX_DEPTH:
            return "deeper"
        is_own = kind.__module__.startswith("tests.")
        if self.objects and (is_own or isinstance(value, list | dict | set | bytearray | numpy.ndarray)):
            if id(value) in self.seen:
                return name, "again", self.seen[id(value)][0]
            self.seen[id(value)] = len(self.seen), value
        parts = tuple(self.parts(value, depth + 1))
        has_attributes = is_own and hasattr(value, "__dict__")
        return (name, *parts, self.tell(vars(value), depth + 1)) if has_attributes else (name, *parts)

    def parts(self, value, depth):
        """Give what a value consists of, but for attributes."""
        if isinstance(value, str | bytes | bytearray):
            return [_short(value)]
        if isinstance(value, list | tuple):
            return [self.tell(part, depth) for part in value]
        if isinstance(value, dict):
            return [(self.tell(key, depth), self.tell(part, depth)) for key, part in value.items()]
        if isinstance(value, set | frozenset):
            return sorted(repr(self.tell(part, depth)) for part in value)
        if isinstance(value, numpy.ndarray):
            is_short = value.size <= _MAX_LENGTH or value.dtype.hasobject
            content = self.tell(value.tolist() if is_short else value.tobytes(), depth)
            mask = value.mask.tolist() if isinstance(value, numpy.ma.MaskedArray) else None
            return [value.dtype.descr, value.shape, value.flags.writeable, content, mask]
        if isinstance(value, BaseException):
            fields = {name: getattr(value, name) for name in _ATTRIBUTES if hasattr(value, name)}
            return [self.tell(value.args, depth), self.tell(fields, depth)]
        if isinstance(value, File):
            return [value.url]
        if isinstance(value, FunctionType) and not value.__code__.co_argcount:
            return [value.__qualname__, self.tell(value(), depth)]
        try:
            return [_ADDRESS.sub("", repr(value))]
        except Exception as error:
            return [f"repr() raises {type(error).__name__}"]


def _short(text):
    if len(text) <= _MAX_LENGTH:
        return text
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return len(text), hashlib.sha256(data).hexdigest()
