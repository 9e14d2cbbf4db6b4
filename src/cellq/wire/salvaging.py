"""One value that cannot be put together again costs itself, not those that came with it in the same pickle.

    {"model": …, "connection": …, "rows": …} ──Unpickler──▶ {"model": model, "connection": Lost, "rows": rows}

All names of a cell are one pickle, so that what they share stays shared; and a pickle that fails in one place fails as
a whole. Only then is it read once more, by this unpickler, which is slow and goes on: where an object cannot be made
there is a `Lost` instead, and whatever needs that one is lost as well.
"""

from __future__ import annotations

import gc
import pickle
import types
from collections.abc import Callable
from typing import Any

_MOST = 200_000  # objects that are looked through for lost ones


class Lost:
    """Stands for an object that could not be made.

    Attributes:
        error: what was raised.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


_Python: Any = pickle._Unpickler  # the one in C cannot be told to go on
_Step = Callable[[Any], None]


class Unpickler(_Python):  # type: ignore[misc]
    """Reads a pickle to its end, whatever cannot be made on the way."""

    dispatch = dict(_Python.dispatch)  # noqa: RUF012 - the base class has it so


def _making(step: _Step, takes: int) -> _Step:
    """A step that takes so many things off the stack and puts one there."""

    def careful(self: Any) -> None:
        height = len(self.stack) - takes
        made = next((thing for thing in self.stack[height:] if isinstance(thing, Lost)), None)
        if made is None:
            try:
                step(self)
                return
            except Exception as error:
                made = Lost(error)
        self.stack[height:] = [made]

    return careful


def _filling(step: _Step) -> _Step:
    """A step that fills the thing below what it takes off the stack."""

    def careful(self: Any) -> None:
        try:
            step(self)
        except Exception as error:
            filled = self.stack[-1]
            if not isinstance(filled, Lost):  # it is half done: nobody is to have it
                self.stack[-1] = lost = Lost(error)
                for place, thing in self.memo.items():
                    if thing is filled:
                        self.memo[place] = lost

    return careful


for _opcode, _takes in (
    (pickle.REDUCE, 2),
    (pickle.NEWOBJ, 2),
    (pickle.NEWOBJ_EX, 3),
    (pickle.STACK_GLOBAL, 2),
):
    Unpickler.dispatch[_opcode[0]] = _making(_Python.dispatch[_opcode[0]], _takes)
for _opcode in (pickle.BUILD, pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS):
    Unpickler.dispatch[_opcode[0]] = _filling(_Python.dispatch[_opcode[0]])


def lost_in(value: object) -> Lost | None:
    """Something lost that this value is, holds or leads to; None when all of it is there.

    Modules and the classes they define are not looked into.
    """
    seen: set[int] = set()
    to_see = [value]
    while to_see and len(seen) < _MOST:
        thing = to_see.pop()
        if isinstance(thing, Lost):
            return thing
        if id(thing) in seen or isinstance(thing, types.ModuleType):
            continue
        if isinstance(thing, type) and thing.__module__ != "__main__":
            continue
        seen.add(id(thing))
        if isinstance(thing, types.FunctionType):  # its globals are everybody's
            to_see += (thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__)
        else:
            to_see += gc.get_referents(thing)
    return None
