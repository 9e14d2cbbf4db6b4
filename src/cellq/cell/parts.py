"""The objects inside of a cell's values, told apart by their place in the pickle, so that each is found again at home.

A notebook refers to one object in many ways (`combine = [train, test]`), and a cell may change it through a way that is
not its name. Pickle numbers the objects it meets, and unpickling meets them in the same order:

    kernel                      slot                                  kernel
    pickle: list ─ 3  ───────▶  unpickle: 3 ─ list'                   unpickle: 7 ─ list"
            └ Originals: 3 ─ list     └ Arrivals: list' ─ 3            own: list" ─ (7 → 3) ─ list
                                pickle again: list' ─ 7 ──▶ (7, 3) ──┘

So what comes home is recognised as the notebook's own, however deep it lies: it takes the place of its copy, and when
the cell has changed it, the copy's content is poured into it (`cellq.cell.grafting`).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import CellType, FunctionType, SimpleNamespace
from typing import Any, NamedTuple
from weakref import ref

from cellq.cell.fingerprint import fingerprint
from cellq.cell.grafting import all_in_attributes, is_known_kind, of_one_kind
from cellq.wire import instances
from cellq.wire.standins import memory_of

_WIDTH = 1_000  # items looked at in one container

MOST = 200_000
"""Objects that are told apart; in values with more of them, those beyond are copies when they come home."""

Pair = tuple[int, int, bool]
"""Place in the pickle that comes home, place in the one that went out, and whether the cell has changed the object."""

_CONTAINERS = (list, dict, set, bytearray, deque, SimpleNamespace, CellType, FunctionType)
_FIXED = (tuple, frozenset)
_PARTS = _CONTAINERS + _FIXED
_NO_PARTS = (str, bytes, int, float, type)


def _is_part(thing: Any) -> bool:
    if isinstance(thing, _NO_PARTS):  # most objects of most pickles
        return False
    return isinstance(thing, _PARTS) or is_known_kind(thing) or all_in_attributes(type(thing))


def _parts_among(things: Iterable[tuple[int, object]]) -> Iterator[tuple[int, object]]:
    """Those that are parts, with their places. It is a matter of the type, of which there are few."""
    kinds: dict[type, bool] = {}
    for place, thing in things:
        kind = type(thing)
        if kind not in kinds:
            kinds[kind] = _is_part(thing)
        if kinds[kind]:
            yield place, thing


def _one_step_down(namespace: Mapping[str, object]) -> Iterator[object]:
    for value in namespace.values():
        yield value
        attributes = getattr(value, "__dict__", None)
        held = value if isinstance(value, dict) else attributes if type(attributes) is dict else {}
        inside = value if isinstance(value, list | tuple) else held.values()
        yield from islice(inside, _WIDTH)


def shared_memory(namespace: Mapping[str, object]) -> dict[int, Any]:
    """The NumPy arrays that several names, or what these hold, show parts of, by the id of who owns the memory."""
    numpy: Any = sys.modules.get("numpy")
    found: dict[int, list[Any]] = {}
    for value in {id(value): value for value in _one_step_down(namespace)}.values() if numpy is not None else ():
        if type(value) is numpy.ndarray:
            found.setdefault(id(memory_of(value)), []).append(value)
    shared = {}
    for ident, arrays in found.items():
        if len(arrays) > 1:
            owner = memory_of(arrays[0])
            wholes = (array for array in arrays if array.nbytes == owner.nbytes and array.flags.c_contiguous)
            named = any(array is owner for array in arrays)
            shared[ident] = owner if named else next(wholes, owner)
    return shared


class Originals:
    """The notebook's own objects by their place in the pickle that went out.

    They are held weakly where their type allows it, so that waiting for a job keeps no array alive.
    """

    def __init__(self) -> None:
        self._held: dict[int, object] = {}

    def take(self, memo: Mapping[int, tuple[int, object]]) -> None:
        """Learn the places; `memo` is the pickler's."""
        if len(memo) > MOST:
            return
        for place, thing in _parts_among(memo.values()):
            try:
                self._held[place] = ref(thing)
            except TypeError:
                self._held[place] = thing

    def at(self, place: int) -> object:
        """The object; None when it is gone."""
        kept = self._held.get(place)
        return kept() if isinstance(kept, ref) else kept

    def own(self, pairs: tuple[Pair, ...], memo: Mapping[int, object]) -> Iterator[tuple[object, object, bool]]:
        """For what has come home: the notebook's own object, its copy, and whether it was changed."""
        for home, out, changed in pairs:
            original, copy = self.at(out), memo.get(home)
            if original is not None and original is not copy and of_one_kind(original, copy):
                yield original, copy, changed


class Arrivals:
    """The objects that came into a slot, with what they held then."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, object, object]] = {}  # objects are held: an id must not be used again
        self._kinds: dict[type, _Kind] = {}

    def take(self, memo: Mapping[int, object]) -> None:
        """Learn the places; `memo` is the unpickler's."""
        if len(memo) > MOST:
            return
        for place, thing in _parts_among(memo.items()):
            self._known[id(thing)] = (place, thing, self._mark(thing))

    def hold(self, thing: object) -> bool:
        """Whether this object came."""
        known = self._known.get(id(thing))
        return known is not None and known[1] is thing

    def pairs(self, memo: Mapping[int, tuple[int, object]]) -> tuple[Pair, ...]:
        """What goes home, as far as it came from there; `memo` is the pickler's."""
        found = []
        for ident, (home, thing) in memo.items():
            known = self._known.get(ident)
            if known is not None and known[1] is thing:
                found.append((home, known[0], not _same(known[2], self._mark(thing))))
        return tuple(found)

    def _mark(self, thing: Any) -> object:
        kind = type(thing)
        if kind not in self._kinds:
            poured = is_known_kind(thing) and not isinstance(thing, SimpleNamespace)
            self._kinds[kind] = _Kind(poured, instances.slot_names(kind))
        return _marked(thing, self._kinds[kind])


class _Kind(NamedTuple):
    """What is asked of the type of each of many objects.

    Attributes:
        poured: of a library, and its content can be poured.
        slots: see `instances.slot_names`.
    """

    poured: bool
    slots: list[str]


def _marked(thing: Any, kind: _Kind) -> object:
    """What an object holds, one step deep; compared by `_same`, which looks at identities."""
    if isinstance(thing, _FIXED):
        return None
    parts: list[object] = []
    if isinstance(thing, list | deque):
        parts += thing
    elif isinstance(thing, dict):
        parts += [*thing.keys(), *thing.values()]
    elif isinstance(thing, set):
        return [frozenset(thing)]
    elif isinstance(thing, bytearray):
        return bytes(thing)
    elif isinstance(thing, CellType):
        try:
            return [thing.cell_contents]
        except ValueError:  # not filled yet
            return []
    elif isinstance(thing, FunctionType):
        parts += [thing.__code__, thing.__defaults__, thing.__kwdefaults__]
    elif kind.poured:
        return fingerprint(thing)
    own = getattr(thing, "__dict__", None)
    if type(own) is dict:
        parts += [*own.keys(), *own.values()]
        traits = own.get("_trait_values")  # of traitlets, which puts a copy of it into the pickle
        if type(traits) is dict:
            parts += [*traits.keys(), *traits.values()]
    for name in kind.slots:
        parts.append(getattr(thing, name, None))
    return parts


def _same(one: object, other: object) -> bool:
    if not (isinstance(one, list) and isinstance(other, list)):
        return one == other
    return len(one) == len(other) and all(
        a is b or (type(a) is frozenset and a == b) for a, b in zip(one, other, strict=True)
    )
