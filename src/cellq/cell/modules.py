"""What the modules of libraries keep for themselves: counters, defaults, settings.

    system_3 = control.tf(…)      # its class counts: `_idCounter = 3`
    control.config.set_defaults(…)   # a dict in a module

A cell in a fresh process would count from the start again. So the plain values in the modules and classes of those
libraries that the notebook's names come from travel along, and come back when the cell has changed them. Also of the
modules beside the notebook.

A flag is worthless without what it stands for: `_connected = True`, but the connection is another process's. So what
cannot travel is described by its type and size, and a module or class where these differ is left as it is.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict, UserDict
from collections.abc import Iterator, MutableMapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from cellq.cell import imported
from cellq.cell.provider import GONE, Provider

Place = tuple[str, str]
"""Module, and qualified name of a class in it; "" for the module itself."""

_TOLD_OTHERWISE = frozenset(
    {"numpy", "scipy", "pandas", "matplotlib", "mpl_toolkits", "matplotlib_inline", "sklearn", "seaborn", "statsmodels"}
    | {"sympy", "PIL", "plotly", "IPython", "ipykernel", "ipywidgets", "traitlets", "cellq", "ipytest", "tqdm"}
    | {"requests", "urllib3", "httpx", "attr", "attrs", "pydantic", "bs4", "yaml"}
    | {"torch", "tensorflow", "keras", "jax", "bokeh", "polars", "pyarrow", "sqlalchemy", "builtins"}
)
"""Packages that are large, keep nothing of the kind, or of whose state providers of their own tell."""

_KNOWN: tuple[Place, ...] = (("sympy.core.symbol", "Dummy"), ("xarray.core.options", ""))
"""Where packages that are too large keep something all the same."""

_MOST_MODULES = 100
"""Modules of one package; a larger one is left alone: looking through it would take longer than most cells."""

_MOST_ITEMS = 200
_DEEPEST = 3
_ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None)})
_CONSTANTS = frozenset({int, float, str, bytes, tuple, frozenset})
_SEQUENCES = (list, tuple, set, frozenset)
_CODE = (FunctionType, BuiltinFunctionType, ModuleType, type, property, classmethod, staticmethod)


class Shape(tuple[Any, ...]):
    """What is told of a value that is not plain: its type, and how many things it holds."""

    __slots__ = ()


def _capture() -> dict[Place, object]:
    packages = _packages()
    counts = dict.fromkeys(packages, 0)
    modules = []
    for name, module in list(sys.modules.items()):
        package = name.partition(".")[0]
        if package in counts and isinstance(module, ModuleType):
            counts[package] += 1
            modules.append((package, name, module))
    found: dict[Place, object] = {}
    for package, name, module in modules:
        if counts[package] <= _MOST_MODULES:
            found.update(_of_module(name, module))
    for place in _KNOWN:
        owner = imported.owner(*place)
        if owner is not None:
            found[place] = _kept(owner)
    return found


def _packages() -> set[str]:
    """The top names of what the notebook has imported, or made with what it has imported."""
    found = set()
    for value in list(vars(sys.modules["__main__"]).values()):
        known = value if isinstance(value, FunctionType | type) else type(value)
        home = value.__name__ if isinstance(value, ModuleType) else known.__module__
        if isinstance(home, str):
            found.add(home.partition(".")[0])
    return found - _TOLD_OTHERWISE - sys.stdlib_module_names - {"__main__"}


def _of_module(name: str, module: ModuleType) -> Iterator[tuple[Place, object]]:
    if kept := _kept(module):
        yield (name, ""), kept
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == name and (kept := _kept(value)):
            yield (name, value.__qualname__), kept


def _kept(owner: Any) -> dict[str, object]:
    """By name: plain values, copied, and the shapes of others."""
    found = {}
    for name, value in list(vars(owner).items()):
        kind = type(value)
        if name.startswith("__") or isinstance(value, _CODE) or (kind is int and value == os.getpid()):
            continue
        if not (kind in _CONSTANTS and name.isupper()):
            found[name] = _plain(value)
    return found


def _plain(value: Any, depth: int = 0) -> object:
    kind = type(value)
    if kind in _ATOMS:
        return value
    is_dict = kind is dict or isinstance(value, OrderedDict | UserDict)
    if is_dict and len(value) <= _MOST_ITEMS and depth < _DEEPEST:
        keys, values = _plain(list(value), depth), _plain(list(value.values()), depth)
        if isinstance(keys, list) and isinstance(values, list):
            return dict(zip(keys, values, strict=True))
    elif kind in _SEQUENCES and len(value) <= _MOST_ITEMS and depth < _DEEPEST:
        items = [_plain(item, depth + 1) for item in value]
        if not any(isinstance(item, Shape) for item in items):
            return kind(items)
    return Shape((kind.__module__, kind.__qualname__, len(value) if isinstance(value, list | dict | set) else 0))


def _apply(state: Any) -> None:
    later: dict[str, dict[Place, object]] = {}
    for place, told in state.items():
        package = place[0].partition(".")[0]
        owner = imported.owner(*place)
        if package not in sys.modules:
            later.setdefault(package, {})[place] = told
        if owner is None or told is GONE:
            continue
        here = _kept(owner)
        if _shapes(told) == _shapes(here):
            for name, value in told.items():
                if not isinstance(value, Shape) and here.get(name, Shape) != value:
                    _put(owner, name, value)
    for package, units in later.items():
        imported.when(package, partial(_apply, units))


def _shapes(kept: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in kept.items() if isinstance(value, Shape)}


def _put(owner: Any, name: str, value: Any) -> None:
    """Others may hold the very container: it is filled, not replaced."""
    known = vars(owner).get(name)
    if isinstance(known, list) and isinstance(value, list):
        known[:] = value
    elif (isinstance(known, MutableMapping) and isinstance(value, dict)) or (
        isinstance(known, set) and isinstance(value, set)
    ):
        known.clear()
        known.update(value)
    else:
        setattr(owner, name, value)


PROVIDERS = (Provider("modules", _capture, _apply),)
