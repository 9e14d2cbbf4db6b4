"""Instances of a notebook's classes are made anew below the methods that would get in the way."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from cellq.wire import neighbours
from cellq.wire.pickling import dumps, loads

BOARD = """
from collections import *
class Board(defaultdict):
    def __init__(self, width, height): self.width, self.height = width, height
    def __missing__(self, key): return self.width
thing = Board(3, 4); thing[1] = 'a'
"""
LAST_USED = """
from collections import *
class LastUsed(OrderedDict):
    def __init__(self, most): self.most = most
    def __setitem__(self, key, value): said.append(key); super().__setitem__(key, value)
said = []
thing = LastUsed(2); thing['b'] = 1; thing['a'] = 2; said.clear()
"""
SHARES = """
from collections import *
class Shares(Counter):
    def __init__(self, of): super().__init__({key: value / sum(of.values()) for key, value in of.items()}); self.of = 1
thing = Shares({'a': 1.0, 'b': 2.0})
"""
LIST = """
class Stack(list):
    def __init__(self, name): self.name = name
    def append(self, item): raise RuntimeError('push')
    extend = append
thing = Stack('s'); list.append(thing, 3)
"""
SET = """
class Bag(set):
    def __init__(self): self.added = 0
    def add(self, item): self.added += 1; super().add(item)
thing = Bag(); thing.add(3)
"""
DEQUE = """
from collections import deque
class Ring(deque):
    def __init__(self, size): super().__init__(maxlen=size)
thing = Ring(2); thing.extend('abc')
"""
FLOAT = """
class Inch(float):
    def __new__(cls, inches): return float.__new__(cls, inches * 0.0254)
thing = Inch(100)
"""
TEXT = """
class Text(str):
    def __new__(cls, text, mark):
        new = super().__new__(cls, text)
        new.mark = mark
        return new
thing = Text('a', 3)
"""
TUPLE = """
from collections import namedtuple
class Point(namedtuple('Point', 'x y')):
    def __new__(cls, x): return super().__new__(cls, x, 2 * x)
thing = Point(3)
"""
PROXY = """
class Proxy:
    def __init__(self, inner): object.__setattr__(self, 'inner', inner)
    def __getattr__(self, name): return getattr(self.inner, name)
    def __setattr__(self, name, value): setattr(self.inner, name, value)
thing = Proxy([1, 2])
"""
SLOTS = """
class Guarded:
    __slots__ = ('a', '__b')
    def __init__(self): object.__setattr__(self, 'a', 1); object.__setattr__(self, '_Guarded__b', 2)
    def __setattr__(self, name, value): raise RuntimeError('no')
    def both(self): return self.a, self.__b
thing = Guarded()
"""
CASES: dict[str, tuple[str, str]] = {
    "a defaultdict with its own arguments": (BOARD, "thing.width, thing.height, dict(thing), thing[9]"),
    "an OrderedDict that watches its items": (LAST_USED, "thing.most, list(thing.items()), said"),
    "a Counter that computes": (SHARES, "dict(thing), thing.of"),
    "a list that does not let append": (LIST, "thing.name, list(thing)"),
    "a set that counts": (SET, "thing.added, set(thing)"),
    "a deque of a fixed length": (DEQUE, "list(thing), thing.maxlen"),
    "a float that converts": (FLOAT, "float(thing)"),
    "a text with an attribute": (TEXT, "str(thing), thing.mark"),
    "a named tuple with fewer arguments": (TUPLE, "tuple(thing), thing.y"),
    "a proxy": (PROXY, "thing.inner, thing.count(1)"),
    "slots that are guarded": (SLOTS, "thing.both()"),
    "an attribute of a Counter": (
        "import typing\nthing = typing.Counter[str]('aab')",
        "dict(thing), thing.__orig_class__.__args__",
    ),
}


def arrived(source: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """A notebook in this process, and what of it came out of a pickle."""
    here: dict[str, Any] = {"__name__": "__main__"}
    exec(source, here)
    there: dict[str, Any] = {"__name__": "__main__"}
    names = {name: here[name] for name in ("thing", "said") if name in here}
    there.update(loads(*dumps(names, anew=True), namespace=there))
    return here, there


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_it_was(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, look = CASES[case]
    here, there = arrived(source, monkeypatch)
    assert eval(look, there) == eval(look, here)
    assert type(there["thing"]).__name__ == type(here["thing"]).__name__


def test_sending_does_not_ask_a_proxy_for_anything() -> None:
    space: dict[str, Any] = {"__name__": "__main__", "asked": []}
    exec(PROXY.replace("return getattr", "asked.append(name); return getattr"), space)
    loads(*dumps(space["thing"], anew=True))
    assert space["asked"] == []


def test_a_class_that_sees_to_it_itself_is_left_alone() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "class Own(dict):\n    def __reduce__(self): return Own, (), {'mark': 1}\n"
        "    def __setstate__(self, state): self.state = state\nthing = Own(a=1)",
        space,
    )
    assert loads(*dumps(space["thing"])).state == {"mark": 1}


def test_a_class_whose_metaclass_wants_more_is_told_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "class Declarative(type):\n    def __init__(cls, name, bases, body):\n"
        "        if 'registry' not in vars(cls): raise RuntimeError('no registry')\n"
    )
    library: Any = type(sys)("declarative")
    monkeypatch.setattr(neighbours, "travels", lambda module: False)  # it is installed
    exec(source, vars(library))
    monkeypatch.setitem(sys.modules, "declarative", library)
    space: dict[str, Any] = {"__name__": "__main__", "Declarative": library.Declarative}
    exec("class Base(metaclass=Declarative):\n    registry = {}", space)
    with pytest.raises(Exception, match="Base"):
        dumps(space["Base"])
