"""Which modules are the user's own: those beside the notebook, which another process cannot import.

They travel by value, in the form they have in memory now, so that an edited and reloaded helper needs no restart of
the worker. Installed packages, the standard library and cellq itself travel by name.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import weakref
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import cloudpickle  # type: ignore[import-untyped]

adopted: weakref.WeakSet[ModuleType] = weakref.WeakSet()
"""Modules that came from another process: they have no file here, so they travel on by value too."""

_SOURCES = (".py", ".pyc", ".pyw")
_SPECIAL = frozenset({"__main__", "__mp_main__", "builtins"})
_INSTALLED = ("site-packages", "dist-packages")


def travels(module: ModuleType) -> bool:
    """Whether a module, and all that is defined in it, travels by value.

    Args:
        module: a module that is in `sys.modules`.
    """
    name = module.__name__
    if name == "cellq" or name.startswith("cellq."):
        return False
    if module in adopted:
        return True
    place = _place(module)
    if not place and _by_hand(module):
        return True
    if place and not _installed(place) and _beside(place, _roots()):
        return True
    by_hand = cloudpickle.list_registry_pickle_by_value()
    return bool(by_hand) and any(name == known or name.startswith(known + ".") for known in by_hand)


def _by_hand(module: ModuleType) -> bool:
    """Whether it came from no file: somebody has made it and put it into `sys.modules`."""
    known = vars(module)
    if known.get("__spec__") is not None or known.get("__loader__") is not None or "__path__" in known:
        return False
    name = module.__name__
    return "." not in name and name not in _SPECIAL and name not in sys.builtin_module_names and "__file__" not in known


def _place(module: ModuleType) -> str:
    """The file of a module written in Python, or the directory of a namespace package; "" for any other."""
    spec = vars(module)
    file = spec.get("__file__")
    if isinstance(file, str):
        return file if file.endswith(_SOURCES) else ""
    if file is None and "__path__" in spec:
        return next(iter(map(str, spec["__path__"])), "")
    return ""


def _roots() -> tuple[str, ...]:
    """The working directory, and the directory of the script or notebook that runs."""
    try:
        roots = [os.getcwd()]  # noqa: PTH109 - text is what is compared, and this is on the way of every function
    except FileNotFoundError:  # the working directory was deleted
        roots = []
    main = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    for name in ("__vsc_ipynb_file__", "__session__", "__file__"):
        file = main.get(name)
        if isinstance(file, str) and (parent := _folder(file)):
            roots.append(parent)
    return tuple(roots)


@lru_cache(maxsize=16)
def _folder(file: str) -> str:
    path = Path(file)
    return str(path.parent) if path.is_absolute() else ""


@lru_cache(maxsize=4096)
def _installed(place: str) -> bool:
    path = os.path.realpath(place)
    if any(part in _INSTALLED for part in Path(path).parts):
        return True
    return any(_within(path, root) for root in _standard_library())


@lru_cache(maxsize=4096)
def _beside(place: str, roots: tuple[str, ...]) -> bool:
    path = os.path.realpath(place)
    return any(_within(path, os.path.realpath(root)) for root in roots)


def _within(path: str, root: str) -> bool:
    return path.startswith(root.rstrip(os.sep) + os.sep)


@lru_cache(maxsize=1)
def _standard_library() -> tuple[str, ...]:
    paths = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    return tuple({os.path.realpath(path) for path in paths if path})
