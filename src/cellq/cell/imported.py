"""Modules that are imported, or will be: what is in them, and doing something as soon as one is there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Watch:
    """A finder that finds nothing itself: it lets the others find the module and runs what waits for it."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Callable[[], object]]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        actions = self.waiting.pop(name, None)
        if actions is None:
            return None
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                for action in actions:
                    try:
                        action()
                    except Exception as error:  # an import must not fail because of a print option
                        print(f"cellq: state of {name} was not applied: {error}", file=sys.stderr)

            loader.exec_module = exec_module
        return spec


_watch = _Watch()


def when(package: str, action: Callable[[], object]) -> None:
    """Run `action` right after the top-level `package` is imported (it must not be imported yet)."""
    _watch.waiting.setdefault(package, []).append(action)
    if _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)


def owner(module: str, path: str) -> Any:
    """An imported module, or the class with this qualified name in it; None if it is not there.

    Args:
        module: its full name.
        path: the class's qualified name; "" for the module itself.
    """
    found: Any = sys.modules.get(module)
    for step in path.split(".") if path else ():
        found = getattr(found, step, None)
    return found
