"""Functions of the program's ``__main__``: which globals they use, and when those have changed."""

import enum
import functools
import gc
import os
import pickle
import shutil
import sys
import threading
import types
import weakref

import cloudpickle
import parsl
import pytest
from benches._stages import Stages
from parsl.serialize import deserialize
from parsl.serialize.concretes import PickleSerializer
from parsl.serialize.facade import methods_for_code

from vinefast._core import FunctionRegistry, unchanged
from vinefast.calls.main_module import serialize_function
from vinefast.library import by_value
from vinefast.library.by_value import ByValue

SOURCE = """
import math

FACTOR = 3
TABLE = {"root": lambda x: math.sqrt(x)}

def helper(x):
    return FACTOR * TABLE["root"](x)

def direct(x):
    return helper(x)

def within(x):
    return [helper(y) for y in (lambda: [x])()][0]

class Tool:
    def use(self, x):
        return helper(x)

def by_class(x):
    return Tool().use(x)

def alone(x, FACTOR=0):
    return x.FACTOR

def deep(n):
    return deep(n - 1) + FACTOR if n else 0
"""

WRAPPERS = """
import functools
import typing

FACTOR = 3

@functools.lru_cache(maxsize=7, typed=True)
def cached(n):
    return cached(n - 1) + FACTOR if n else 0

def by_cache(x):
    return cached(x)

@functools.singledispatch
def chosen(x):
    return FACTOR * x

@chosen.register
def chosen_for_lists(x: list):
    return sum(map(chosen, x))

def by_type(x):
    return chosen([x, [x]])

class Lazy:
    @functools.cached_property
    def number(self):
        return cached(2), Lazy

    @functools.singledispatchmethod
    def one_of(self, x):
        return "other"

    @one_of.register
    def _(self, x: int):
        return FACTOR

def by_property(x):
    lazy = Lazy()
    return lazy.number, lazy.number is lazy.number, lazy.one_of(1)

Id = typing.NewType("Id", int)

def by_new_type(x):
    return Id(x), Id.__name__, Id.__module__
"""


@pytest.fixture
def elsewhere(monkeypatch):
    """What is rebuilt has not come from this process."""
    return lambda: monkeypatch.setattr(by_value, "_own", weakref.WeakSet())


@pytest.fixture
def main():
    """A namespace like that of a script."""
    namespace = {"__name__": "__main__"}
    exec(SOURCE, namespace)
    return types.SimpleNamespace(**namespace), namespace


@pytest.fixture
def wrappers():
    """Another one."""
    namespace = {"__name__": "__main__"}
    exec(WRAPPERS, namespace)
    return types.SimpleNamespace(**namespace), namespace


def test_what_a_function_names_comes_along(main, elsewhere):
    module, namespace = main
    direct = module.direct
    wrapped = (
        module.direct,
        module.within,
        module.by_class,
        functools.partial(module.direct),
        parsl.app.errors.wrap_error(module.direct),
        lambda x: direct(x),
        module.Tool().use,
    )
    bodies = [serialize_function(function) for function in wrapped]
    namespace.clear()
    elsewhere()
    for body, uses in bodies:
        assert body.startswith(ByValue.identifier) and uses is not None
        assert deserialize(body)(16) == 12


def test_wrappers_of_functions_come_along(wrappers, elsewhere):
    module, namespace = wrappers
    values = {
        module.by_cache: 9,
        module.cached: 9,
        module.by_type: 18,
        module.chosen: 9,
        module.by_new_type: (3, "Id", "__main__"),
        module.Id: 3,
    }
    bodies = {function: serialize_function(function) for function in (*values, module.by_property)}
    namespace.clear()
    elsewhere()
    for function, (body, uses) in bodies.items():
        assert body.startswith(ByValue.identifier) and uses is not None
        if function is not module.by_property:
            assert deserialize(body)(3) == values[function]
    cached = deserialize(bodies[module.cached][0])
    assert cached.cache_parameters() == {"maxsize": 7, "typed": True}
    # It calls itself through its own cache.
    cached(5)
    assert cached.cache_info().misses == 6 and cached.__wrapped__.__globals__["cached"] is cached
    (number, lazy), is_cached, chosen = deserialize(bodies[module.by_property][0])(3)
    assert (number, is_cached, chosen) == (6, True, 3) and lazy.__name__ == "Lazy"


CLASSES = """
import threading
from dataclasses import dataclass, field

FACTOR = 3
own = threading.Lock()  # of this name in the class, no call needs that

def with_class(x):
    @dataclass
    class Point:
        own = FACTOR
        twice = 2 * own
        values: list = field(default_factory=lambda: [FACTOR])

        class Inner:
            factor = FACTOR

        def give(self, x=FACTOR):
            return [*self.values, x, self.twice, self.Inner.factor]

    return Point().give(), Point([x]).give(x)
"""


def test_what_classes_in_a_function_name_comes_along(elsewhere):
    namespace = {"__name__": "__main__"}
    exec(CLASSES, namespace)
    body, uses = serialize_function(namespace["with_class"])
    assert uses is not None and "own" not in {use.name for use in uses}
    namespace.clear()
    elsewhere()
    assert deserialize(body)(1) == ([3, 3, 6, 3], [1, 1, 6, 3])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_what_type_parameters_in_a_class_name_comes_along(elsewhere):
    namespace = {"__name__": "__main__", "SEVEN": 7, "Number": int}
    lines = "def f():", "  class A:", "    def m[T: Number](self, x: T = SEVEN) -> Number: return x", "  return A().m()"
    exec("\n".join(lines), namespace)
    body, _ = serialize_function(namespace["f"])
    namespace.clear()
    elsewhere()
    assert deserialize(body)() == 7


def test_a_cached_function_that_has_changed_is_noticed(wrappers):
    module, namespace = wrappers
    _, uses = serialize_function(module.by_cache)
    assert unchanged(uses)
    namespace["cached"] = functools.cache(module.cached.__wrapped__)
    assert not unchanged(uses)


def test_a_class_that_comes_back_is_as_it_was(main, monkeypatch):
    module, namespace = main
    tool, method = module.Tool(), module.Tool.use
    module.Tool.n = 1
    there = ByValue().serialize(tool)
    module.Tool.n = 2
    assert type(ByValue().deserialize(there)) is module.Tool
    assert module.Tool.n == 2 and module.Tool.use is method
    namespace["FACTOR"] = 5
    assert tool.use(4) == 10

    # Where it has come to, what comes later is news, also after it has gone back.
    for name in ("_own", "_foreign"):
        monkeypatch.setattr(by_value, name, weakref.WeakSet())
    assert ByValue().deserialize(there).n == 1
    ByValue().serialize(tool)
    module.Tool.n = 3
    assert ByValue().deserialize(there).n == 1


def test_a_class_keeps_its_qualified_name(monkeypatch):
    class Inner(Exception):
        pass

    class Kind(enum.Enum):
        ONE = 1

    values = [Inner(1), Kind.ONE]
    there = [ByValue().serialize(value) for value in values]
    # As a process that has seen neither.
    monkeypatch.setattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", weakref.WeakValueDictionary())
    for payload, value in zip(there, values, strict=True):
        found = type(ByValue().deserialize(payload))
        assert found is not type(value)
        assert (found.__name__, found.__qualname__) == (type(value).__name__, type(value).__qualname__)


def test_tracebacks_name_the_program():
    namespace = {"__name__": "__main__"}
    exec(compile(SOURCE, "/home/user/program.py", "exec"), namespace)
    direct = deserialize(serialize_function(namespace["direct"])[0])
    for function in (direct, direct.__globals__["helper"]):
        assert function.__code__.co_filename == "/home/user/program.py"
    with pytest.raises(TypeError) as caught:
        direct("x")
    assert [str(entry.path) for entry in caught.traceback[1:3]] == ["/home/user/program.py"] * 2


def test_functions_of_modules_go_as_before():
    for function in (len, pickle.dumps, functools.partial(pow, 2), lambda: None, pytest.raises):
        body, uses = serialize_function(function)
        assert uses is None and not body.startswith(ByValue.identifier)


def test_a_registered_method_of_the_users_wins(main):
    module, _ = main
    methods_for_code[PickleSerializer.identifier] = PickleSerializer()
    try:
        body, uses = serialize_function(module.direct)
    finally:
        del methods_for_code[PickleSerializer.identifier]
    assert uses is None and not body.startswith(ByValue.identifier)


def test_a_global_that_cannot_travel_is_named(main, caplog):
    module, namespace = main
    namespace["FACTOR"] = threading.Lock()
    serialize_function(module.direct)
    (record,) = caplog.records
    assert "Function direct goes" in record.getMessage()
    assert "since FACTOR cannot be serialized (cannot pickle '_thread.lock' object)" in record.getMessage()


def test_a_global_that_cannot_travel_does_not_stop_a_function(main):
    module, namespace = main
    namespace["FACTOR"] = threading.Lock()
    body, uses = serialize_function(module.direct)
    assert uses is None and not body.startswith(ByValue.identifier)


@pytest.mark.parametrize("name", ["FACTOR", "helper", "TABLE", "math"])
def test_another_object_under_a_name_is_noticed(main, name):
    module, namespace = main
    for function in (module.direct, module.by_class, module.within):
        _, uses = serialize_function(function)
        before = namespace[name]
        assert unchanged(uses)
        namespace[name] = object()
        assert not unchanged(uses)
        del namespace[name]
        assert not unchanged(uses)
        namespace[name] = before
        assert unchanged(uses)


def test_a_name_that_is_no_global_does_not_count(main):
    module, namespace = main
    _, uses = serialize_function(module.alone)
    namespace["FACTOR"] = namespace["x"] = 5
    assert unchanged(uses)


def test_a_registry_serializes_again_what_has_changed(main):
    module, namespace = main
    registry = FunctionRegistry()
    record = Stages.find_function(registry, module.direct)
    assert Stages.find_function(registry, module.direct) is record
    namespace["FACTOR"] = 4
    changed = Stages.find_function(registry, module.direct)
    assert changed is not record and Stages.find_function(registry, module.direct) is changed


def test_a_function_that_names_itself_can_go(main):
    module, namespace = main
    registry = FunctionRegistry()
    Stages.find_function(registry, module.deep)
    alive = weakref.ref(module.deep)
    body, uses = serialize_function(module.deep)
    assert deserialize(body)(2) == 6
    del module.deep, namespace["deep"]
    gc.collect()
    assert alive() is None and not unchanged(uses)
    del registry


def test_a_registry_tells_functions_apart_that_come_in_turn(main):
    module, _ = main
    registry = FunctionRegistry()
    functions = [module.direct, module.within, len, module.alone]
    records = [Stages.find_function(registry, function) for function in functions]
    assert len(set(map(id, records))) == len(functions)
    for _ in range(3):
        assert [Stages.find_function(registry, function) for function in functions] == records


def test_a_function_at_the_address_of_one_that_has_gone_is_another():
    registry = FunctionRegistry()
    bodies = {}
    for number in range(200):
        # With globals of its own: eval() keeps its caller's locals, and Parsl's serializer the last functions.
        function = eval(f"lambda: {number}", {"__name__": "__main__"})
        record = Stages.find_function(registry, function)
        assert Stages.find_function(registry, function) is record
        bodies.setdefault(id(function), []).append(Stages.pack([(record, b"", 0)], 0, False, 1))
        del function, record
    again = max(bodies.values(), key=len)
    assert len(again) > 1 and len(set(map(bytes, again))) == len(again)


def test_a_worker_takes_the_cloudpickle_that_it_was_sent(tmp_path, monkeypatch):
    """Its own may be of another release, which does not understand the program's pickles, or may not be there."""
    monkeypatch.setattr(by_value, "_DIRECTORY", os.fspath(tmp_path))
    brought, other = tmp_path / "cloudpickle", tmp_path / "site-packages" / "cloudpickle"
    shutil.copytree(os.path.dirname(cloudpickle.__file__), brought)
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise RuntimeError('another release')")
    monkeypatch.syspath_prepend(os.fspath(other.parent))
    for name in [name for name in sys.modules if name.partition(".")[0] == "cloudpickle"]:
        monkeypatch.delitem(sys.modules, name)
    # The path of modules is as it was, and what was brought comes first.
    before = list(sys.path)
    assert by_value._cloudpickle().__file__ == os.fspath(brought / "__init__.py")
    assert sys.path == before
