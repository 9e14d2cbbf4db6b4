"""Making the notebook's own objects look like the copies that come back.

`graft` pours a copy's content into the object that the notebook holds, so that every alias sees it. `Substitution`
puts the notebook's objects where returned values refer to copies of them:

    came back:  report = {"data": df'}, df'      own: {id(df'): df}
    becomes:    report = {"data": df}            and df takes the content of df', if that was changed

Which copy belongs to which object is known by `cellq.cell.parts`.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import CellType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

from cellq.cell.fingerprint import class_parts
from cellq.wire import caches, files, instances, mocks
from cellq.wire.standins import DICT_VIEWS, cursor_of, memory_of, offset, same_database, view_of, view_of_dict, viewed

_BUDGET = 200_000  # objects looked at; beyond it a reference to an input may stay a reference to a copy
_ATOMS = (str, bytes, int, float, complex, bool, type(None), range, ModuleType)


def graft(own: Any, copy: Any) -> bool:
    """Give `own` the content of `copy`, keeping its identity.

    Returns:
        False when the type does not allow it; nothing was changed then.
    """
    if own is copy:
        return True
    if not of_one_kind(own, copy):
        return False
    try:
        return _pour(own, copy)
    except Exception:  # read-only arrays, guarded attributes: then the name is bound to the copy
        return False


def of_one_kind(own: object, copy: object) -> bool:
    """Whether two are of one type; each mock has one of its own."""
    return type(own) is type(copy) or (mocks.is_double(own) and mocks.is_double(copy))


def _pour(own: Any, copy: Any) -> bool:
    if isinstance(own, _ATOMS):
        return False
    for suits, pour in _WAYS:
        if suits(own):
            return pour(own, copy)
    kind: Any = type(own)
    content = False
    base = instances.mutable_base(kind)
    if base is not None:
        instances.put_content(own, base, instances.content_of(copy, base))
        content = True
    elif not all_in_attributes(kind):
        return False
    return _pour_attributes(own, copy) or content


def all_in_attributes(kind: Any) -> bool:
    """Whether an instance is nothing but its attributes: made by Python code alone, and pickled the usual way."""
    if kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return False
    setter = getattr(kind, "__setstate__", None)
    if not instances.is_written(kind) or not (setter is None or isinstance(setter, FunctionType)):
        return False
    # A type made in C (`sqlite3.Connection`) has neither a place for attributes nor slots.
    return all(base.__dictoffset__ or "__slots__" in vars(base) for base in kind.__mro__[:-1])


def _pour_attributes(own: Any, copy: Any) -> bool:
    slots = instances.slot_names(type(own))
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


def _loaded(module: str, *names: str) -> tuple[type, ...]:
    home = sys.modules.get(module)
    return tuple(getattr(home, name) for name in names if hasattr(home, name))


def ndarrays() -> tuple[type, ...]:
    """NumPy's array type; nothing while NumPy is not imported."""
    return _loaded("numpy", "ndarray")


def _pour_array(own: Any, copy: Any) -> bool:
    if own.shape != copy.shape or own.dtype != copy.dtype:
        return False
    own[...] = copy
    return True


def _pour_frame(own: Any, copy: Any) -> bool:
    own._update_inplace(copy)  # what pandas itself calls for inplace=True
    own.attrs.clear()
    own.attrs.update(copy.attrs)
    for name in own._metadata:  # attributes of a class derived from DataFrame
        object.__setattr__(own, name, getattr(copy, name, None))
    return True


def _pour_random(own: Any, copy: Any) -> bool:
    own.setstate(copy.getstate())
    return True


def _pour_generator(own: Any, copy: Any) -> bool:
    own.bit_generator.state = copy.bit_generator.state
    mine, theirs = (getattr(each.bit_generator, "seed_seq", None) for each in (own, copy))
    if mine is not None and theirs is not None and theirs.n_children_spawned > mine.n_children_spawned:
        mine.spawn(theirs.n_children_spawned - mine.n_children_spawned)  # the next ones shall be others
    return True


def _pour_random_state(own: Any, copy: Any) -> bool:
    own.set_state(copy.get_state(legacy=False))
    return True


def _pour_function(own: Any, copy: Any) -> bool:
    for mine, theirs in zip(own.__closure__ or (), copy.__closure__ or (), strict=True):
        mine.cell_contents = theirs.cell_contents
    own.__defaults__, own.__kwdefaults__ = copy.__defaults__, copy.__kwdefaults__
    own.__dict__.clear()
    own.__dict__.update(copy.__dict__)
    return True


def _pour_cache(own: Any, copy: Any) -> bool:
    caches.remember(own, caches.memory_of(copy))
    vars(own).update(vars(copy) | {"__wrapped__": own.__wrapped__})
    return True


def _pour_class(own: Any, copy: Any) -> bool:
    for name, value in class_parts(copy).items():
        setattr(own, name, value)
    return True


def _pour_database(own: Any, copy: Any) -> bool:
    if not same_database(own, copy):
        return False
    own.row_factory, own.text_factory, own.isolation_level = copy.row_factory, copy.text_factory, copy.isolation_level
    return True


def _pour_cursor(own: Any, copy: Any) -> bool:
    own.arraysize, own.row_factory = copy.arraysize, copy.row_factory
    return own.connection is copy.connection or _pour_database(own.connection, copy.connection)


def _pour_widget(own: Any, copy: Any) -> bool:
    """The front end shows `own`: it keeps its connection and tells there what is new."""
    apart = ("comm", "_model_id", "_trait_values")
    new = {name: value for name, value in copy._trait_values.items() if name not in apart}
    told = [name for name, value in new.items() if name in own.keys and type(value) in _ATOMS]
    told = [name for name in told if own._trait_values.get(name) != new[name]]
    own._trait_values.update(new)
    vars(own).update({name: value for name, value in vars(copy).items() if name not in apart})
    if told and own.comm is not None:
        own.send_state(told)
    copy.close()
    return True


def _pour_cell(own: Any, copy: Any) -> bool:
    own.cell_contents = copy.cell_contents
    return True


_WAYS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any], bool]], ...] = (
    (lambda own: type(own) in _loaded("numpy", "ndarray"), _pour_array),
    (lambda own: isinstance(own, _loaded("pandas", "DataFrame", "Series")), _pour_frame),
    (mocks.is_double, mocks.pour),
    (lambda own: isinstance(own, SimpleNamespace), _pour_attributes),
    (lambda own: isinstance(own, _loaded("PIL.Image", "Image")), _pour_attributes),
    (lambda own: isinstance(own, _loaded("PIL.ImageDraw", "ImageDraw")), _pour_attributes),
    (lambda own: isinstance(own, random.Random), _pour_random),
    (lambda own: type(own) in _loaded("numpy.random", "Generator"), _pour_generator),
    (lambda own: type(own) in _loaded("numpy.random", "RandomState"), _pour_random_state),
    (lambda own: type(own) in files.KINDS, files.move),
    (files.is_csv_writer, lambda own, copy: True),  # all that changes is its file, which is poured by itself
    (lambda own: type(own) is caches.KIND, _pour_cache),
    (lambda own: type(own) in _loaded("sqlite3", "Connection"), _pour_database),
    (lambda own: type(own) in _loaded("sqlite3", "Cursor"), _pour_cursor),
    (lambda own: isinstance(own, _loaded("ipywidgets", "Widget")), _pour_widget),
    (lambda own: isinstance(own, CellType), _pour_cell),
    (lambda own: isinstance(own, FunctionType), _pour_function),
    (lambda own: isinstance(own, type), _pour_class),
)


def is_known_kind(thing: object) -> bool:
    """Whether it is of a type of a library whose content can be poured."""
    return not isinstance(thing, type) and any(suits(thing) for suits, _ in _WAYS)


class Substitution:
    """Replaces references to copies by the notebook's own objects, through containers, attributes and closures.

    Args:
        own: id of a copy → the object to stand in its place.
        arrays: id of a copied array's memory → the copy and the notebook's own array; views of one become views of
            the other.
    """

    def __init__(self, own: Mapping[int, object], arrays: Mapping[int, tuple[Any, Any]]) -> None:
        self._own = own
        self._arrays = arrays
        self._seen: dict[int, object] = {}

    def put(self, item: Any) -> Any:
        """What stands in the place of an object: the notebook's own, or the object itself, seen to inside."""
        if id(item) in self._own:
            return self._own[id(item)]
        return self.inside(item)

    def inside(self, item: Any) -> Any:
        """The object itself (a new one if it is a tuple or the like) with the references in it replaced."""
        if isinstance(item, _ATOMS) or len(self._seen) >= _BUDGET:
            return item
        if id(item) in self._seen:
            return self._seen[id(item)]
        self._seen[id(item)] = item
        if isinstance(item, tuple | frozenset | MethodType):
            self._seen[id(item)] = self._again(item)
        elif type(item) in ndarrays():
            self._seen[id(item)] = shown = self._view(item)
            if shown is item and item.dtype == object:  # `plt.subplots` gives axes in such
                self._replace(list(enumerate(item.flat)), item.flat.__setitem__)
        elif isinstance(item, DICT_VIEWS):
            self._seen[id(item)] = self._onto(item, viewed(item), lambda own: view_of_dict(own, type(item).__name__))
        elif type(item) is MappingProxyType:
            self._seen[id(item)] = self._onto(item, viewed(item), MappingProxyType)
        elif isinstance(item, list | deque):
            self._replace(list(enumerate(item)), item.__setitem__)
        elif isinstance(item, dict):
            self._keys(item)
            self._replace(list(item.items()), partial(dict.__setitem__, item))
        elif isinstance(item, set):
            self._members(item)
        elif isinstance(item, CellType):
            with suppress(ValueError):  # not filled yet
                self._replace([("cell_contents", item.cell_contents)], partial(setattr, item))
        elif isinstance(item, FunctionType):
            for cell in item.__closure__ or ():
                self.inside(cell)
            for name in ("__defaults__", "__kwdefaults__"):
                self._replace([(name, getattr(item, name))], partial(setattr, item))
        elif files.is_csv_writer(item):
            self._seen[id(item)] = self._onto(item, files.file_of_csv(item), partial(files.csv_writer_to, item))
        elif type(item) in _loaded("sqlite3", "Cursor"):
            anew = partial(cursor_of, size=item.arraysize, rows=item.row_factory)
            self._seen[id(item)] = self._onto(item, item.connection, anew)
        elif type(item) is ref:
            self._seen[id(item)] = self._onto(item, item(), ref)
        elif isinstance(item, WeakValueDictionary):
            self._replace(list(item.items()), item.__setitem__)
        elif isinstance(item, WeakKeyDictionary):
            self._keys(item)
        elif isinstance(item, WeakSet):
            self._members(item)
        elif isinstance(item, partial):
            cast("Any", item).__setstate__(
                (self.put(item.func), self.put(item.args), self.put(item.keywords), vars(item))
            )
        if isinstance(item, type):
            if item.__module__ == "__main__":
                self._replace(list(vars(item).items()), partial(type.__setattr__, item))
        else:
            if type(getattr(item, "__dict__", None)) is dict:
                self._replace(list(item.__dict__.items()), item.__dict__.__setitem__)
            for name in instances.slot_names(type(item)):
                self._replace([(name, getattr(item, name, None))], partial(object.__setattr__, item))
        return self._seen[id(item)]

    def _onto(self, item: Any, target: Any, make: Callable[[Any], Any]) -> Any:
        own = self.put(target)
        return item if own is target else make(own)

    def _view(self, item: Any) -> Any:
        copy, own = self._arrays.get(id(memory_of(item)), (None, None))
        if copy is None or copy is item or own.strides != copy.strides or not own.flags.c_contiguous:
            return item
        return view_of(own, item.dtype, item.shape, item.strides, offset(item, copy))

    def _again(self, item: Any) -> Any:
        if isinstance(item, MethodType):
            owner = self.put(item.__self__)
            return item if owner is item.__self__ else MethodType(item.__func__, owner)
        held = [self.put(part) for part in item]
        if all(new is old for new, old in zip(held, item, strict=True)):
            return item
        make = getattr(type(item), "_make", None)  # of named tuples
        return make(held) if make is not None else type(item)(held)

    def _members(self, item: Any) -> None:
        if not self._own.keys().isdisjoint(map(id, item)):
            held = [self.put(part) for part in item]
            item.clear()
            item.update(held)

    def _keys(self, item: Any) -> None:
        if self._own.keys().isdisjoint(map(id, item)):
            return
        held = [(self.put(key), value) for key, value in item.items()]
        item.clear()
        item.update(held)

    def _replace(self, parts: Iterable[tuple[Any, object]], put: Callable[[Any, Any], None]) -> None:
        for key, part in parts:
            new = self.put(part)
            if new is not part:
                put(key, new)
