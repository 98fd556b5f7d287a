"""Import a few modules of a package without running the package's own initialisation, until somebody wants more.

``import parsl.serialize`` runs ``parsl/__init__.py``, which imports every executor and provider: most of a second and
hundreds of files, on every worker at the same time, for nothing that a call needs. So the package is put into
``sys.modules`` uninitialised, and whoever then asks for an attribute or a module of it that is not there yet gets it
initialised first, as if nothing had been saved.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import Any

_DUNDERS_OF_A_PACKAGE = ("__all__", "__version__")


class _LazyPackage(types.ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        name = vars(self)["__name__"]
        module = sys.modules.get(f"{name}.{attribute}")
        if module is not None:
            # Being imported this moment, therefore not yet bound.
            return module
        finder = _armed.get(name)
        if finder is None or (attribute.startswith("__") and attribute not in _DUNDERS_OF_A_PACKAGE):
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        finder.initialise()
        return getattr(self, attribute)


class _Finder:
    """First in ``sys.meta_path``: sees imports of modules of the package that are not there yet."""

    def __init__(self, package: _LazyPackage) -> None:
        self._package = package
        self._prefix = f"{package.__name__}."

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(self._prefix):
            return None
        self.initialise()
        module = sys.modules.get(fullname)
        if module is None:
            return None
        # The import machinery prefers the specification of a module that appeared meanwhile to the one returned.
        module.__spec__ = ModuleSpec(fullname, _Loaded(module))
        return module.__spec__

    def initialise(self) -> None:
        package = self._package
        del _armed[package.__name__]
        sys.meta_path.remove(self)
        package.__class__ = types.ModuleType  # type: ignore[assignment]
        assert package.__spec__ is not None and package.__spec__.loader is not None
        package.__spec__.loader.exec_module(package)


class _Loaded(Loader):
    """Loader of a module that the initialisation has already loaded: it must not be loaded twice."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._spec


_armed: dict[str, _Finder] = {}


def import_from_package(name: str, modules: Sequence[str]) -> None:
    """Import `modules` of package `name`, leaving the package itself for later.

    Should that fail, for whatever reason, everything is as before and an ordinary import may be tried.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        return
    package = _LazyPackage(name)
    before = set(sys.modules)
    try:
        package.__spec__ = spec
        package.__loader__ = spec.loader
        package.__file__ = spec.origin
        package.__package__ = name
        package.__path__ = spec.submodule_search_locations
        sys.modules[name] = package
        for module in modules:
            importlib.import_module(module)
    except BaseException:
        for module in set(sys.modules) - before:
            if module == name or module.startswith(f"{name}."):
                del sys.modules[module]
        return
    finder = _armed[name] = _Finder(package)
    sys.meta_path.insert(0, finder)
