"""Modules beside the notebook that are known only in part: what functions and classes of them use.

notebook   f of helper.py uses STEP ──▶ slot: a module "helper" with f and STEP
slot       other.py is imported, and it says `from helper import g` ──▶ helper.py is run; f and STEP stay as they came
"""

from __future__ import annotations

import contextlib
import io
import sys
from importlib.abc import InspectLoader
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

_SEARCHERS = ("cellq.", "pickle", "cloudpickle", "multiprocessing", "inspect", "doctest")
"""They look through all modules for some name, and want none of them run for that."""


class Partial(ModuleType):
    """A module of which a part has come from another process; whoever asks for the rest gets it from its file."""

    def __getattr__(self, name: str) -> Any:
        asks = str(sys._getframe(1).f_globals.get("__name__"))
        if asks.startswith(_SEARCHERS) or (name.startswith("__") and name != "__all__"):
            raise AttributeError(name)
        self.complete()
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None

    def complete(self) -> None:
        """Run the module's file, as an import would have done; without one nothing is added."""
        self.__class__ = ModuleType  # type: ignore[assignment]  # it has to ask no more
        package = self.__name__.rpartition(".")[0]
        # Without its package a file somewhere on `sys.path` that has its last name would be taken for it.
        path = getattr(sys.modules.get(package), "__path__", []) if package else None
        spec = PathFinder.find_spec(self.__name__, path)
        loader = None if spec is None else spec.loader
        code = loader.get_code(self.__name__) if isinstance(loader, InspectLoader) else None
        if code is None:
            return
        came = dict(vars(self))
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where it comes from it was imported before
                exec(code, vars(self))
        finally:
            vars(self).update(came)
