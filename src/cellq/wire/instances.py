"""Instances of the notebook's classes whose own methods would get in the way when they are made anew.

pickle makes and fills an object through the object's methods. A library's class is ready for that; a notebook's class
prints in `__setitem__`, checks in `append`, wants other arguments in `__new__`, has a `__getattr__` that leans on an
attribute which is not there yet:

    class Board(defaultdict):                    pickle: Board(None), items one by one, attributes dropped
        def __init__(self, width, height): ...   here:   defaultdict.__new__(Board), filled as the dict it is

So content goes in below such methods, by those of the builtin base, and attributes go straight to where they live.

A library's instance without any content is a mark (`dataclasses.MISSING`): it must be the very one of the other side.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented

_FIXED = (str, bytes, int, float, complex, tuple, frozenset)
_BASES: tuple[type, ...] = (OrderedDict, defaultdict, Counter, dict, list, set, deque, bytearray, *_FIXED, object)
_FACTORY: Any = vars(defaultdict)["default_factory"]
_LENGTH: Any = vars(deque)["maxlen"]
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_SEEN_TO = frozenset(
    {"__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__"}
)
_TRANSPARENT = frozenset({"abc", "typing", "collections.abc", "contextlib"})  # their bases hold no content


class Make(NamedTuple):
    """How to make instances of a class anew: its builtin base, and which of its attributes are in slots.

    Attributes:
        marks: they hold nothing, as a rule, and the library that made one knows it by its identity.
    """

    base: type
    slots: tuple[str, ...]
    marks: bool = False


def how(kind: type, by_value: Callable[[type], bool]) -> Make | None:
    """How to make instances of a class below its own methods; None where pickle's way will do.

    Args:
        by_value: tells the notebook's classes.
    """
    if kind is Counter:  # `typing.Counter("abc")` has an attribute, which Counter's own pickle drops
        return Make(Counter, ())
    if not is_written(kind):
        return None
    base = next(found for found in kind.__mro__ if found in _BASES)
    own = [cls for cls in kind.__mro__ if cls not in base.__mro__ and cls.__module__ not in _TRANSPARENT]
    travel = [by_value(cls) for cls in own]
    if not any(travel) and base is object:  # a library's class
        seen_to = any(name in vars(cls) for cls in own for name in ("__reduce__", "__reduce_ex__"))
        return None if seen_to or slot_names(kind) else Make(object, (), marks=True)
    if not all(travel) or not own:
        return None
    fields = hasattr(kind, "_make")  # a named tuple brings `__getnewargs__`, and it is no notebook that wrote it
    methods = {name for cls in own for name in vars(cls)} - ({"__getnewargs__"} if fields else set())
    slots = tuple(slot_names(kind))
    if not methods.isdisjoint(_SEEN_TO):
        return None
    if base is object:
        guarded = methods & {"__getattr__", "__getattribute__"} or (slots and "__setattr__" in methods)
        return Make(object, slots) if guarded else None
    if base in _FIXED and "__new__" not in methods:
        return None
    return Make(base, slots)


def slot_names(kind: type) -> list[str]:
    """The attributes that instances of a class have in slots, those of its bases as well."""
    return [name for cls in kind.__mro__ for name in _own_slots(cls)]


def _own_slots(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else slots
    hidden = cls.__name__.lstrip("_")
    mangled = [f"_{hidden}{name}" if name.startswith("__") and not name.endswith("__") else name for name in names]
    return [name for name in mangled if name in vars(cls) and name not in ("__dict__", "__weakref__")]


def is_written(kind: type) -> bool:
    """Whether a `class` statement made it, and not C."""
    return bool(kind.__flags__ & _HEAP_TYPE)


def reduce(thing: Any, make: Make) -> Reduction:
    """How to make this instance anew."""
    held = _held(thing)
    if make.marks:
        return NotImplemented if held else _name_of(thing) or NotImplemented
    if type(thing) is make.base and not held:
        return NotImplemented
    filled = {}
    for name in make.slots:
        try:
            filled[name] = object.__getattribute__(thing, name)
        except AttributeError:
            continue
    content = content_of(thing, make.base)
    if make.base in _FIXED:
        return made, (make.base, type(thing), content), (None, None, held, filled), None, None, fill
    return made, (make.base, type(thing)), (make.base, content, held, filled), None, None, fill


def _name_of(mark: Any) -> str | None:
    """The name under which its library knows a thing without content: `dataclasses.MISSING`."""
    home = sys.modules.get(type(mark).__module__)
    return None if home is None else next((name for name, value in vars(home).items() if value is mark), None)


def _held(thing: Any) -> dict[str, Any] | None:
    try:
        held: dict[str, Any] = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return None
    return held


def content_of(thing: Any, base: type) -> Any:
    """What an instance holds as its builtin base: a plain value of the nearest plain type."""
    anew: Any = base
    if issubclass(base, dict):
        factory = (_FACTORY.__get__(thing),) if base is defaultdict else ()
        return (dict(anew.items(thing)), *factory)
    if base is deque:
        return list(deque.__iter__(thing)), _LENGTH.__get__(thing)
    if base in (list, set, tuple, frozenset, bytearray):
        return anew(anew.__iter__(thing))
    return None if base is object else _plain(thing, base)


def _plain(thing: Any, base: Any) -> Any:
    if base is bytes:
        return bytes(memoryview(thing))
    return complex(thing.real, thing.imag) if base is complex else getattr(base, f"__{base.__name__}__")(thing)


def made(base: Any, kind: type, *content: Any) -> Any:
    """An instance without attributes, and empty if it can be filled."""
    return base.__new__(kind, *content)


def fill(new: Any, state: tuple[Any, Any, dict[str, Any] | None, dict[str, Any]]) -> None:
    """Give an instance what it holds."""
    base, content, held, slots = state
    if held:
        object.__getattribute__(new, "__dict__").update(held)
    for name, value in slots.items():
        object.__setattr__(new, name, value)
    if base is not None:
        put_content(new, base, content)


def put_content(thing: Any, base: Any, content: Any) -> None:
    """Let an instance hold this as its builtin base, and nothing else; see `content_of`."""
    if issubclass(base, dict):
        base.clear(thing)
        for key, value in content[0].items():
            base.__setitem__(thing, key, value)
        if base is defaultdict:
            _FACTORY.__set__(thing, content[1])
    elif base is deque:
        deque.__init__(thing, *content)
    elif base in (list, bytearray):
        base.__setitem__(thing, slice(None), content)
    elif base is set:
        set.clear(thing)
        set.update(thing, content)


def mutable_base(kind: type) -> type | None:
    """The builtin container that instances of a class are, if they can be filled anew."""
    base = next(found for found in kind.__mro__ if found in _BASES)
    return None if base is object or base in _FIXED else base
