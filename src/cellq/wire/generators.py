"""Generators that nobody has started, or that have ended: both are made of plain parts.

One that waits at a `yield` is refused: what it has on its stack is known to Python alone.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented


def reduce(generator: types.GeneratorType[Any, Any, Any]) -> Reduction:
    """How to make a generator anew; None if it has been started."""
    frame: Any = generator.gi_frame
    if frame is not None and inspect.getgeneratorstate(generator) != inspect.GEN_CREATED:
        return None
    if frame is None:
        return ended_generator, (generator.__name__, generator.__qualname__)
    code, held = generator.gi_code, frame.f_locals
    cells = tuple(types.CellType(held[name]) if name in held else types.CellType() for name in code.co_freevars)
    function = types.FunctionType(code, frame.f_globals, generator.__name__, None, cells or None)
    function.__module__ = frame.f_globals.get("__name__", "__main__")
    names = code.co_varnames[: code.co_argcount]
    rest = code.co_varnames[code.co_argcount :]
    options = {name: held[name] for name in rest[: code.co_kwonlyargcount]}
    rest = rest[code.co_kwonlyargcount :]
    args = [held[name] for name in names]
    if code.co_flags & inspect.CO_VARARGS:
        args += held[rest[0]]
        rest = rest[1:]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        options |= held[rest[0]]
    return begun, (function, args, options, generator.__qualname__)


def ended_generator(name: str, qualified: str) -> Any:
    """A generator that has given all it had."""
    new: Any = (_ for _ in ())
    new.close()
    new.__name__, new.__qualname__ = name, qualified
    return new


def begun(function: Any, args: list[Any], options: dict[str, Any], name: str) -> Any:
    """A generator that nobody has asked for a value yet."""
    new = function(*args, **options)
    new.__qualname__ = name
    return new
