"""The filters of warnings, and which have been shown: each once per place, while a fresh process would show all again.

    notebook   numpy warns ("invalid value", line 3023) ──▶ numpy.…__warningregistry__: shown
    slot       the same again: not a word, as in the notebook

What a module remembers holds until the filters change, and any `warnings.catch_warnings` changes them. So it travels
as far as it still holds here, and is said to hold there.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any, cast

from cellq.cell.provider import GONE, Provider

_REGISTRY = "__warningregistry__"
_VERSION = "version"


class _Question(Warning):
    """Nobody sees it."""


def _list() -> list[Any]:
    """The filters; the annotation of `warnings.filters` promises no more than a sequence."""
    return cast("list[Any]", warnings.filters)


def _version() -> object:
    """The number of changes of the filters so far; the interpreter tells it to whoever warns."""
    answer: dict[Any, Any] = {}
    silent = ("ignore", None, _Question, None, 0)
    filters = _list()
    filters.insert(0, silent)  # which does not count as a change
    try:
        warnings.warn_explicit("", _Question, "", 1, registry=answer)
    finally:
        filters.remove(silent)
    return answer[_VERSION]


def _shown() -> dict[str, object]:
    version = _version()
    found: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType):
            continue
        registry = object.__getattribute__(module, "__dict__").get(_REGISTRY)  # `vars` would load a lazy module
        if registry and registry.get(_VERSION) == version:
            found[name] = frozenset(key for key, was_shown in registry.items() if key != _VERSION and was_shown)
    return found


def _apply_shown(state: Any) -> None:
    version = _version()
    for name, shown in state.items():
        if name in sys.modules:
            registry = {} if shown is GONE else dict.fromkeys(shown, True)
            vars(sys.modules[name])[_REGISTRY] = {**registry, _VERSION: version}


def _category(kind: Any) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _filters() -> list[tuple[Any, ...]]:
    return [
        (action, message, _category(kind), module, line) for action, message, kind, module, line in warnings.filters
    ]


def _apply_filters(state: Any) -> None:
    filters = []
    for action, message, (home, name), module, line in state:
        try:
            kind = getattr(sys.modules.get(home) or import_module(home), name)
        except (ImportError, AttributeError):  # a category only the other side has cannot be warned with here
            continue
        filters.append((action, message, kind, module, line))
    shown = _shown()  # what has not become void on the other side has not here
    _list()[:] = filters
    getattr(warnings, "_filters_mutated", lambda: None)()
    _apply_shown(shown)


PROVIDERS = (
    Provider("warning filters", _filters, _apply_filters),
    Provider("warnings shown", _shown, _apply_shown),
)
