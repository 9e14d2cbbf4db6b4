"""What of a class that travels by value goes into its pickle, and whether another process could make it of that."""

from __future__ import annotations

import abc
import types
from typing import Any
from weakref import WeakSet

from cellq.wire import rebuilding

PLAIN_METACLASSES = frozenset({"builtins", "abc", "enum", "typing", "__main__"})
"""Modules whose metaclasses are content with a class that is bare at first."""

_tried: WeakSet[type] = WeakSet()


def body_of(cls: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """A class's attributes: those to set afterwards, and those that shape it and must be there when it is made."""
    body = {}
    for name, value in vars(cls).items():
        slot = isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)
        if not (slot and value.__objclass__ is cls):
            body[name] = value
    for name in ("_abc_impl", "__annotate__", "__annotate_func__", "__annotate_cache__"):
        body.pop(name, None)
    shape = {"__module__": body.pop("__module__", None), "__qualname__": cls.__qualname__}
    if "__slots__" in body:
        slots = body.pop("__slots__")
        shape["__slots__"] = slots if isinstance(slots, str | tuple | list | dict) else tuple(slots)
    return body, shape


def registered_with(cls: type) -> list[type]:
    """The classes that an abstract one was told to count as its own."""
    refs = abc._get_dump(cls)[0] if isinstance(cls, abc.ABCMeta) else ()  # type: ignore[attr-defined]
    return [found for ref in refs if (found := ref()) is not None]


def try_bare(cls: type, meta: type, shape: dict[str, Any]) -> None:
    """A library's metaclass may want more than a bare class (SQLAlchemy's does): better known before it is sent."""
    if cls in _tried:
        return
    try:
        rebuilding.bare(meta, None, cls.__name__, cls.__bases__, dict(shape))
    except Exception as error:
        raise TypeError(f"cannot pickle the class {cls.__qualname__}: {meta.__qualname__} says {error}") from error
    _tried.add(cls)
