"""Making the notebook's own objects look like the copies that come back.

`graft` pours a copy's content into the object that the notebook holds, so that every alias sees it. `Substitution`
puts the notebook's objects where returned values refer to copies of them:

    came back:  report = {"data": df'}, df'      own: {id(df'): df}
    becomes:    report = {"data": df}            and df takes the content of df', if that was changed
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from itertools import islice
from types import CellType, FunctionType, ModuleType
from typing import Any

from cellq.cell.fingerprint import class_parts

_BUDGET = 200_000  # objects looked at; beyond it a reference to an input may stay a reference to a copy
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a `class` statement
_ATOMS = (str, bytes, int, float, complex, bool, type(None), range, ModuleType)


def graft(own: Any, copy: Any) -> bool:
    """Give `own` the content of `copy`, keeping its identity.

    Returns:
        False when the type does not allow it; nothing was changed then.
    """
    if own is copy:
        return True
    if type(own) is not type(copy):
        return False
    try:
        return _pour(own, copy)
    except Exception:  # read-only arrays, guarded attributes: then the name is bound to the copy
        return False


def _pour(own: Any, copy: Any) -> bool:
    if isinstance(own, _ATOMS):
        return False
    for suits, pour in _WAYS:
        if suits(own):
            return pour(own, copy)
    kind: Any = type(own)
    content = False
    if isinstance(own, list | bytearray):
        own[:] = copy
        content = True
    elif isinstance(own, dict | set | deque):
        held = copy.copy()
        own.clear()
        own.extend(held) if isinstance(own, deque) else own.update(held)
        content = True
    elif not _all_in_attributes(kind):
        return False
    return _pour_attributes(own, copy) or content


def _all_in_attributes(kind: Any) -> bool:
    """Whether an instance is nothing but its attributes: made by Python code alone, and pickled the usual way."""
    usual = kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
    setter = getattr(kind, "__setstate__", None)
    return usual and kind.__flags__ & _HEAP_TYPE and (setter is None or isinstance(setter, FunctionType))


def _pour_attributes(own: Any, copy: Any) -> bool:
    slots = [
        name for kind in type(own).__mro__ for name in _slot_names(kind) if name not in ("__dict__", "__weakref__")
    ]
    for name in slots:
        if hasattr(copy, name):
            object.__setattr__(own, name, getattr(copy, name))
        elif hasattr(own, name):
            object.__delattr__(own, name)
    if hasattr(own, "__dict__"):
        held = dict(copy.__dict__)
        own.__dict__.clear()
        own.__dict__.update(held)
        return True
    return bool(slots)


def _slot_names(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _loaded(module: str, *names: str) -> tuple[type, ...]:
    home = sys.modules.get(module)
    return tuple(getattr(home, name) for name in names if hasattr(home, name))


def _pour_array(own: Any, copy: Any) -> bool:
    if own.shape != copy.shape or own.dtype != copy.dtype:
        return False
    own[...] = copy
    return True


def _pour_frame(own: Any, copy: Any) -> bool:
    own._update_inplace(copy)  # what pandas itself calls for inplace=True
    own.attrs.clear()
    own.attrs.update(copy.attrs)
    return True


def _pour_random(own: Any, copy: Any) -> bool:
    own.setstate(copy.getstate())
    return True


def _pour_generator(own: Any, copy: Any) -> bool:
    own.bit_generator.state = copy.bit_generator.state
    return True


def _pour_random_state(own: Any, copy: Any) -> bool:
    own.set_state(copy.get_state())
    return True


def _pour_function(own: Any, copy: Any) -> bool:
    for mine, theirs in zip(own.__closure__ or (), copy.__closure__ or (), strict=True):
        mine.cell_contents = theirs.cell_contents
    own.__defaults__, own.__kwdefaults__ = copy.__defaults__, copy.__kwdefaults__
    own.__dict__.clear()
    own.__dict__.update(copy.__dict__)
    return True


def _pour_class(own: Any, copy: Any) -> bool:
    for name, value in class_parts(copy).items():
        setattr(own, name, value)
    return True


_WAYS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any], bool]], ...] = (
    (lambda own: type(own) in _loaded("numpy", "ndarray"), _pour_array),
    (lambda own: isinstance(own, _loaded("pandas", "DataFrame", "Series")), _pour_frame),
    (lambda own: isinstance(own, random.Random), _pour_random),
    (lambda own: type(own) in _loaded("numpy.random", "Generator"), _pour_generator),
    (lambda own: type(own) in _loaded("numpy.random", "RandomState"), _pour_random_state),
    (lambda own: isinstance(own, FunctionType), _pour_function),
    (lambda own: isinstance(own, type), _pour_class),
)


def mentions(values: Iterable[object], inputs: Mapping[str, object]) -> set[str]:
    """Names of the inputs that `values` refer to, through containers, attributes and closures."""
    by_id = {id(value): name for name, value in inputs.items()}
    found: set[str] = set()
    seen: set[int] = set()
    stack = list(values)
    while stack and by_id and len(seen) < _BUDGET:
        item = stack.pop()
        if id(item) in seen or isinstance(item, _ATOMS):
            continue
        seen.add(id(item))
        if id(item) in by_id:
            found.add(by_id[id(item)])
        stack.extend(islice(_inside(item), _BUDGET))
    return found


def _inside(item: Any) -> Iterable[object]:
    if isinstance(item, dict):
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset | deque):
        yield from item
    elif isinstance(item, CellType):
        try:
            yield item.cell_contents
        except ValueError:
            return
    elif isinstance(item, FunctionType):
        yield from item.__closure__ or ()
    if not isinstance(item, type) and type(getattr(item, "__dict__", None)) is dict:
        yield from item.__dict__.values()


class Substitution:
    """Values with each reference to a copy replaced by the notebook's own object.

    Args:
        values: what came back, by name; their containers are changed in place.
        own: id of a copy → the object to stand in its place.
        copies: names whose value stays the copy, since it holds the content that is grafted.
    """

    def __init__(self, values: dict[str, object], own: Mapping[int, object], copies: Container[str]) -> None:
        self._own = own
        self._seen: dict[int, object] = {}
        self.result = values
        if own:
            for name, value in values.items():
                values[name] = self._inner(value) if name in copies else self._put(value)

    def _put(self, item: Any) -> Any:
        if id(item) in self._own:
            return self._own[id(item)]
        return self._inner(item)

    def _inner(self, item: Any) -> Any:
        if isinstance(item, _ATOMS) or len(self._seen) >= _BUDGET:
            return item
        if id(item) in self._seen:
            return self._seen[id(item)]
        self._seen[id(item)] = item
        if type(item) is tuple:
            inside = [self._put(part) for part in item]
            if any(new is not old for new, old in zip(inside, item, strict=True)):
                self._seen[id(item)] = tuple(inside)
        elif isinstance(item, list | deque):
            self._replace(list(enumerate(item)), item.__setitem__)
        elif isinstance(item, dict):
            self._replace(list(item.items()), item.__setitem__)
        elif isinstance(item, FunctionType):
            for cell in item.__closure__ or ():
                try:
                    self._replace([("cell_contents", cell.cell_contents)], partial(setattr, cell))
                except ValueError:  # not filled yet
                    continue
        if not isinstance(item, type) and type(getattr(item, "__dict__", None)) is dict:
            self._replace(list(item.__dict__.items()), item.__dict__.__setitem__)
        return self._seen[id(item)]

    def _replace(self, parts: Iterable[tuple[Any, object]], put: Callable[[Any, object], None]) -> None:
        for key, part in parts:
            new = self._put(part)
            if new is not part:
                put(key, new)
