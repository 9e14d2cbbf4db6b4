"""Names that travel as "import this": modules, and objects that a module holds.

A module is imported on the other side, with the submodules that the code mentions (`import xml.etree.ElementTree`
binds only `xml`). An object that an installed module holds under some name, and whose pickle would be a copy, is
taken from that module there: `from random import seed` binds a method of a generator hidden in `random`; a pickled
copy of it would seed a copy of the generator.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType

from cellq.wire import neighbours

_PLAIN = (str, bytes, bytearray, int, float, complex, list, dict, set, frozenset, tuple, type, FunctionType)
_NEVER = frozenset({"__main__", "__mp_main__", "builtins"})


@dataclass(frozen=True, slots=True)
class Import:
    """Where a name comes from: a module, or its attribute when `attribute` is not empty."""

    module: str
    attribute: str = ""

    def bring(self) -> object:
        """The object, imported here.

        Raises:
            ImportError, AttributeError: this side has no such module or attribute.
        """
        module = importlib.import_module(self.module)
        return getattr(module, self.attribute) if self.attribute else module


def import_of(name: str, value: object) -> Import | None:
    """How `value`, bound to `name`, can be imported; None when it must travel as a value."""
    if isinstance(value, ModuleType):
        if neighbours.travels(value):
            return None
        known = value.__name__
        if known not in _NEVER and sys.modules.get(known) is value:
            return Import(known)
        spec = getattr(value, "__spec__", None)  # os.path calls itself posixpath, and the like
        return Import(spec.name) if spec is not None and sys.modules.get(spec.name) is value else None
    if value is None or type(value) in _PLAIN or isinstance(value, bool):
        return None
    if isinstance(value, MethodType | BuiltinMethodType):
        owner = value.__self__
        if owner is None or isinstance(owner, ModuleType | type):
            return None  # pickled by name anyway
        return _held(name, value, (value.__name__,), type(owner).__module__, equal=True)
    home = type(value).__module__
    return None if home in _NEVER else _held(name, value, (), home, equal=False)


def _held(name: str, value: object, others: tuple[str, ...], home: str, *, equal: bool) -> Import | None:
    package = home.partition(".")[0]
    if package == "cellq" or home not in sys.modules or neighbours.travels(sys.modules[home]):
        return None
    for key in (name, *others):
        for path in (package, home, *_loaded(package)):
            held = vars(sys.modules[path]).get(key) if path in sys.modules else None
            # Bound methods are made anew at each access: equal, not identical.
            if held is value or (equal and held is not None and type(held) is type(value) and held == value):
                return Import(path, key)
    if not equal:  # `from os import environ as env`
        for path in {package, home} & sys.modules.keys():
            for key, held in list(vars(sys.modules[path]).items()):
                if held is value:
                    return Import(path, key)
    return None


def _loaded(package: str) -> list[str]:
    prefix = package + "."
    return [path for path in list(sys.modules) if path.startswith(prefix)]


def specs() -> dict[str, object]:
    """The specs of all imported modules; `importlib.reload` makes a new one."""
    return {name: getattr(module, "__spec__", None) for name, module in list(sys.modules.items())}


def reloaded(before: Mapping[str, object]) -> tuple[str, ...]:
    """The modules beside the notebook that were reloaded since `specs` gave `before`."""
    found = [name for name, spec in specs().items() if name in before and spec is not before[name]]
    return tuple(name for name in found if name not in _NEVER and neighbours.travels(sys.modules[name]))


def reload_modules(modules: Iterable[str]) -> list[str]:
    """Reload modules that a cell has reloaded elsewhere; gives what could not be, one line each."""
    problems = []
    for name in modules:
        if name in sys.modules:
            try:
                importlib.reload(sys.modules[name])
            except Exception as error:  # a module's own code may raise anything
                problems.append(f"reload {name}: {type(error).__name__}: {error}")
    return problems


def bring_modules(modules: Iterable[str]) -> list[str]:
    """Import modules for their side effect; gives what could not be imported, one line each."""
    problems = []
    for module in modules:
        if module not in sys.modules:
            try:
                importlib.import_module(module)
            except Exception as error:  # a module's own code may raise anything
                problems.append(f"import {module}: {type(error).__name__}: {error}")
    return problems


def submodules(modules: Iterable[str], attributes: frozenset[str]) -> tuple[str, ...]:
    """Loaded submodules of `modules` whose every step is an attribute that the code mentions."""
    found = []
    for module in set(modules):
        prefix = module + "."
        found += [
            path
            for path in list(sys.modules)
            if path.startswith(prefix) and attributes.issuperset(path[len(prefix) :].split("."))
        ]
    return tuple(sorted(found))
