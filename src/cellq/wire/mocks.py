"""The doubles of `unittest.mock`, which say yes to whatever is asked of them, a pickler's questions included.

Each mock has a class of its own, made for it alone, that holds its magic methods; and it knows its parent and children,
who know it. So a mock is made anew without its `__init__`, with a class of its own again, and then filled.
"""

from __future__ import annotations

import sys
from typing import Any

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented


def reduce(thing: Any) -> Reduction:
    """How to make a mock, or what it noted of a call, anew."""
    mock: Any = sys.modules["unittest.mock"]
    kind = type(thing)
    if kind is mock._Call:
        return noted_call, (tuple(thing), object.__getattribute__(thing, "__dict__"))
    if not is_double(thing):
        return NotImplemented
    held = object.__getattribute__(thing, "__dict__")
    return double, (kind.__name__, kind.__bases__), (held, _magic(kind)), None, None, fill


def is_double(thing: Any) -> bool:
    """Whether it is a mock. (It may lie about its class.)"""
    mock: Any = sys.modules.get("unittest.mock")
    return mock is not None and issubclass(type(thing), mock.NonCallableMock)


def pour(own: Any, copy: Any) -> bool:
    """Give a mock the content of another."""
    object.__getattribute__(own, "__dict__").clear()
    fill(own, (object.__getattribute__(copy, "__dict__"), _magic(type(copy))))
    return True


def _magic(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if name not in ("__module__", "__dict__", "__weakref__")}


def noted_call(content: tuple[Any, ...], held: dict[str, Any]) -> Any:
    """What a mock notes of a call."""
    kind: Any = sys.modules["unittest.mock"]._Call
    new = tuple.__new__(kind, content)
    object.__getattribute__(new, "__dict__").update(held)
    return new


def double(name: str, bases: tuple[type, ...]) -> Any:
    """A mock with a class of its own, empty."""
    return object.__new__(type(name, bases, {"__module__": "unittest.mock"}))


def fill(new: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a mock what it holds, and its class the magic methods."""
    held, magic = state
    object.__getattribute__(new, "__dict__").update(held)
    for name, value in magic.items():
        type.__setattr__(type(new), name, value)
