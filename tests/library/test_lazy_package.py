"""A package that is initialised late looks no different from one that was initialised first."""

from __future__ import annotations

import importlib
import sys

import pytest

from vinefast.library.lazy_package import import_from_package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose modules count how often they are loaded."""
    name = f"lazy_{tmp_path.name}".replace("-", "_")
    directory = tmp_path / name
    (directory / "sub").mkdir(parents=True)
    count = "import sys; sys.loaded.append(__name__)\n"
    (directory / "__init__.py").write_text(
        f"{count}from {name}.sub.deep import THING\nfrom . import light\n__version__ = '3'\n"
    )
    (directory / "light.py").write_text(f"{count}import {name}.lighter as lighter\n")
    (directory / "lighter.py").write_text(count)
    (directory / "other.py").write_text(count)
    (directory / "sub" / "__init__.py").write_text(count)
    (directory / "sub" / "deep.py").write_text(f"{count}THING = []\n")
    (directory / "sub" / "late.py").write_text(f"{count}from {name} import THING\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "loaded", [], raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def loaded(name):
    return sorted(module.removeprefix(name) for module in sys.loaded)


def test_only_what_was_asked_for(package):
    import_from_package(package, (f"{package}.light",))
    assert loaded(package) == [".light", ".lighter"]
    module = importlib.import_module(package)
    assert module.light.lighter is sys.modules[f"{package}.lighter"]
    with pytest.raises(AttributeError):
        _ = module.__wrapped__
    assert loaded(package) == [".light", ".lighter"]


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("import {0}; assert {0}.THING == []", []),
        ("from {0} import THING, __version__", []),
        ("from {0} import *; THING", []),
        ("import {0}.other", [".other"]),
        ("import {0}.sub", []),
        ("import {0}.sub.deep; assert {0}.sub.deep.THING is {0}.THING", []),
        ("from {0}.sub import late; assert late.THING is late.THING", [".sub.late"]),
        ("import {0}.sub.late", [".sub.late"]),
        ("from {0} import other", [".other"]),
    ],
)
def test_each_module_is_loaded_once(package, statement, more):
    import_from_package(package, (f"{package}.light",))
    exec(statement.format(package), {})
    module = importlib.import_module(package)
    assert importlib.import_module(f"{package}.sub.deep").THING is module.THING
    assert loaded(package) == sorted(["", ".light", ".lighter", ".sub", ".sub.deep", *more])
    for name, module in list(sys.modules.items()):
        if name.startswith(package):
            assert module.__spec__.name == name
            assert module.__spec__.origin == module.__file__


def test_missing_things_are_missing(package):
    import_from_package(package, (f"{package}.light",))
    module = importlib.import_module(package)
    with pytest.raises(AttributeError):
        _ = module.nothing_of_the_kind
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{package}.nothing_of_the_kind")


def test_failure_leaves_no_trace(package):
    import_from_package(package, (f"{package}.light", f"{package}.absent"))
    assert package not in sys.modules
    assert importlib.import_module(package).THING == []


def test_absent_package():
    import_from_package("no_such_package_at_all", ("no_such_package_at_all.light",))
    assert "no_such_package_at_all" not in sys.modules
