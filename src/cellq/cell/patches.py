"""Attributes of modules and library classes that a notebook has set: `pd.DataFrame.shout = shout`, `json.fast = True`.

They are in no variable, and no library tells of them. But the code does: each assignment to a dotted name is looked at,
and where its owner is a module or a class that can be imported, that attribute is watched from then on.

    pack      the cells so far and this one: watch ─▶ the values that are not the library's own travel (a provider)
    slot      sets them; the cell runs; what it set is watched as well; what differs comes back
    notebook  sets it here; a value that is the library's own again is put back
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from cellq.cell import imported
from cellq.cell.provider import GONE, Provider

Place = tuple[str, str, str]
"""Module, qualified name of a class in it ("" for the module itself), attribute."""

_NOTHING = object()
_UNKNOWN = object()
_OWN = frozenset(
    {"stdin", "stdout", "stderr", "displayhook", "excepthook", "path", "modules", "meta_path", "path_hooks"}
)

_first: dict[Place, object] = {}
"""What is watched, with the library's own value; `_UNKNOWN` if it was set before that was seen."""


def watch(
    stores: Iterable[str], namespace: Mapping[str, object], *, done: bool = False, importing: bool = False
) -> None:
    """Watch what these dotted names are, as far as they are attributes of modules and library classes.

    Args:
        stores: as the code says them ("pd.DataFrame.shout"), or with the module ("pandas:DataFrame.shout").
        namespace: where their first part is found.
        done: the code has run: what these names are is not the library's own any more.
        importing: the code is about to import such modules: do it before it changes them.
    """
    for store in stores:
        module, _, path = store.rpartition(":")
        *steps, attribute = path.split(".")
        owner = _module(module, importing) if module else namespace.get(steps.pop(0))
        for step in steps:
            owner = getattr(owner, step, None) if isinstance(owner, ModuleType | type) else None
        place = _place(owner, attribute)
        if place is not None:
            _first.setdefault(place, _UNKNOWN if done else vars(owner).get(attribute, _NOTHING))


def _module(name: str, importing: bool) -> object:
    if not importing:
        return sys.modules.get(name)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # what it prints is not for a cell that has not begun
            return importlib.import_module(name)
    except Exception:  # whatever it raises: the cell will be told
        return None


def _place(owner: object, attribute: str) -> Place | None:
    if isinstance(owner, ModuleType):
        place = owner.__name__, "", attribute
    elif isinstance(owner, type):
        place = owner.__module__, owner.__qualname__, attribute
    else:
        return None
    if place[0] == "__main__" or (place[0] == "sys" and attribute in _OWN):
        return None
    return place if imported.owner(*place[:2]) is owner else None


def _capture() -> dict[Place, object]:
    found = {}
    for place, first in _first.items():
        value = vars(imported.owner(*place[:2]) or sys).get(place[2], _NOTHING)
        if value is not _NOTHING and not _like(value, first):
            found[place] = value
    return found


def _like(value: object, first: object) -> bool:
    """Whether a value is the library's own again; a function may have come back as a copy."""
    code = getattr(value, "__code__", None)
    return value is first or (code is not None and code == getattr(first, "__code__", None))


def _apply(state: Any) -> None:
    for place, value in state.items():
        if place[0] not in sys.modules:
            importlib.import_module(place[0])
        owner = imported.owner(*place[:2])
        first = _first.setdefault(place, vars(owner).get(place[2], _NOTHING))
        if value is not GONE:
            setattr(owner, place[2], value)
        elif first is _NOTHING and place[2] in vars(owner):
            delattr(owner, place[2])
        elif first is not _NOTHING and first is not _UNKNOWN:
            setattr(owner, place[2], first)


PROVIDERS = (Provider("attributes of modules", _capture, _apply),)
