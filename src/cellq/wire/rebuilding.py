"""The receiving half of a pickle: what `reducing.Pickler` takes apart is put together here.

Pickles name these functions, so their names and arguments are part of the wire format (`sealing.FORMAT`).

Where a function lives is decided while loading, by the `Loading` of the moment:

    the function's globals were        they are now
    the notebook (`__main__`)          the receiver's namespace if it gave one, else a dict private to this pickle
    a module beside the notebook       that module, rebuilt from the pickle (or the receiver's own, see below)
    an installed module                that module, imported
    anything else                      a dict private to this pickle

A name that is in the namespace already is never replaced: what the receiver has is newer.

A value goes *out* to a worker or comes *home* to a notebook. Going out, what the pickle brings is the truth: a module
beside the notebook replaces one of that name, a class that is known here takes the shape it had when it was sent.
Coming home, what lives here is the truth: the receiver's own modules and classes are used, and only attributes of a
class that the worker really changed are taken over.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import secrets
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cloudpickle import cloudpickle  # type: ignore[import-untyped]

from cellq.wire import neighbours
from cellq.wire.partial import Partial


class Process:
    """Tells this process from all others; a forked child is another one."""

    token = secrets.token_bytes(8)

    @classmethod
    def renew(cls) -> None:
        cls.token = secrets.token_bytes(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Process.renew)


class Loading:
    """What the functions below share while one pickle is loaded."""

    __slots__ = ("afterwards", "arrival", "homeward", "known", "modules", "namespace", "private")

    def __init__(
        self, namespace: dict[str, Any] | None, homeward: bool, arrival: Callable[..., object] | None = None
    ) -> None:
        self.namespace = namespace
        self.homeward = homeward
        self.arrival = arrival  # what jobs among arguments become, see `inputs`
        self.afterwards: list[Callable[[], object]] = []  # to be called when all of it is put together
        self.private: dict[int, dict[str, Any]] = {}
        self.modules: dict[str, types.ModuleType] = {}
        self.known: dict[int, object] = {}  # by id: what was here before, and is not to be filled from the pickle


class _Moment(threading.local):
    loading: Loading | None = None


moment = _Moment()


def _loading() -> Loading:
    return moment.loading or Loading(None, False)


def afterwards(call: Callable[[], object]) -> None:
    """Call this when the pickle that is being loaded is put together; now if there is none."""
    call() if moment.loading is None else moment.loading.afterwards.append(call)


# ------------------------------------------------------------------------------------------- namespaces


def main_globals(index: int) -> dict[str, Any]:
    """The globals of notebook functions. `index` tells apart several such namespaces of one sender."""
    loading = _loading()
    space = loading.private.setdefault(index, {}) if loading.namespace is None else loading.namespace
    space.setdefault("__name__", "__main__")
    space.setdefault("__builtins__", builtins)
    return space


def private_globals(index: int, base: dict[str, Any]) -> dict[str, Any]:
    """Globals that belong to no module; shared by the functions of one pickle that shared them."""
    space = _loading().private.setdefault(~index, base)
    space.setdefault("__builtins__", builtins)
    return space


def installed_globals(name: str) -> dict[str, Any]:
    """The globals of an installed module."""
    return vars(importlib.import_module(name))


def module_globals(module: types.ModuleType) -> dict[str, Any]:
    """The globals of a module beside the notebook."""
    return vars(module)


# ---------------------------------------------------------------------------------------------- modules


def module(name: str, file: str | None, package: str | None, path: list[str] | None, home: bytes) -> types.ModuleType:
    """A module beside the notebook; `fill_module` makes it whole, functions may also fill only what they use."""
    loading = _loading()
    found = loading.modules.get(name)
    if found is None:
        found = _own_module(name, home, loading) or _adopt(name, file, package, path)
        loading.modules[name] = found
    return found


def _own_module(name: str, home: bytes, loading: Loading) -> types.ModuleType | None:
    if not loading.homeward and home != Process.token:
        return None
    own = sys.modules.get(name)
    if own is None and loading.homeward:
        try:
            if importlib.util.find_spec(name) is not None:
                own = importlib.import_module(name)
        except Exception:  # whatever the user's module raises: then the one in the pickle serves
            own = None
    if own is None or own in neighbours.adopted:
        return None
    loading.known[id(own)] = own
    return own


def _adopt(name: str, file: str | None, package: str | None, path: list[str] | None) -> types.ModuleType:
    new = Partial(name)
    new.__file__ = file
    new.__package__ = package
    new.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=file, is_package=path is not None)
    if path is not None:
        new.__path__ = path
    neighbours.adopted.add(new)
    # Whoever looks a class up by name (pickle, dataclasses, typing) finds the last one that arrived. A module known
    # only in part never hides a real one; `fill_module` does that.
    here = sys.modules.get(name)
    if here is None or here in neighbours.adopted:
        sys.modules[name] = new
    return new


def fill_module(new: types.ModuleType, state: dict[str, Any]) -> None:
    """Gives a module all its names."""
    if id(new) in _loading().known:
        return
    state.pop("__parent__", None)
    new.__class__ = types.ModuleType
    vars(new).update(state)
    vars(new).setdefault("__builtins__", builtins)
    sys.modules[new.__name__] = new


Where = tuple[types.ModuleType, str] | None
"""The module beside the notebook, and the qualified name in it, that a function or class had where it came from."""


def _own(where: Where, kind: type) -> Any:
    """The receiver's own object of that name, if its module is the receiver's own."""
    if where is None or id(where[0]) not in _loading().known:
        return None
    found: Any = where[0]
    for step in where[1].split("."):
        found = getattr(found, step, None)
    return found if isinstance(found, kind) else None


def _settle(where: Where, new: object) -> None:
    """Makes a new object an attribute of its module, so that it is found there by name."""
    if where is not None and where[0] in neighbours.adopted and "." not in where[1]:
        vars(where[0])[where[1]] = new


# -------------------------------------------------------------------------------------------- functions


def function(
    code: types.CodeType,
    space: dict[str, Any],
    closure: tuple[types.CellType, ...] | None,
    where: Where,
) -> types.FunctionType:
    """A function without its state, so that what refers back to it can be loaded."""
    own = _own(where, types.FunctionType)
    if own is not None:
        _loading().known[id(own)] = own
        return typing.cast(types.FunctionType, own)
    new = types.FunctionType(code, space, None, None, closure)
    _settle(where, new)
    return new


def fill_function(new: types.FunctionType, state: tuple[Any, ...]) -> None:
    """Gives a function its state and puts the names it uses into its globals, where they are missing."""
    if id(new) in _loading().known:
        return
    names, uses, _submodules, source, attributes = state
    for name, value in names.items():
        setattr(new, name, value)
    new.__dict__.update(attributes)
    space = new.__globals__
    for name, value in uses.items():
        if name not in space:
            space[name] = value
    if source is not None:
        file, text = source
        # mtime None: linecache takes the text for granted, as it does for notebook cells.
        linecache.cache.setdefault(file, (len(text), None, text.splitlines(True), file))


def brought(_before: object, state: object, _after: object) -> object:
    """What a function or a class brings along, without the marks around it (see `reducing._Mark`)."""
    return state


def cell() -> types.CellType:
    """An empty closure cell; filled later, since what it holds may refer to the function that holds it."""
    return types.CellType()


def fill_cell(new: types.CellType, contents: tuple[Any]) -> None:
    """Puts a value into a closure cell."""
    new.cell_contents = contents[0]


def cached(inner: Callable[..., Any], maxsize: int | None, typed: bool, where: Where) -> Callable[..., Any]:
    """A function wrapped by `functools.lru_cache`, its cache empty."""
    own = _own(where, functools._lru_cache_wrapper)
    if own is not None:
        return typing.cast(Callable[..., Any], own)
    new = functools.lru_cache(maxsize, typed)(inner)
    _settle(where, new)
    return new


# ---------------------------------------------------------------------------------------------- classes

_marks: weakref.WeakKeyDictionary[type, dict[str, object]] = weakref.WeakKeyDictionary()


def changed(cls: type) -> tuple[str, ...] | None:
    """Which attributes of a class that arrived here were set since; None for a class made here."""
    marks = _marks.get(cls)
    if marks is None:
        return None
    now = vars(cls)
    names = {name for name, value in now.items() if name not in marks or not _is(marks[name], value)}
    return tuple(sorted(names | (marks.keys() - now.keys())))


def _mark(value: object) -> object:
    try:
        return weakref.ref(value)
    except TypeError:
        return id(value)


def _is(mark: object, value: object) -> bool:
    return mark() is value if isinstance(mark, weakref.ref) else mark == id(value)


def _known_class(tracker: str, where: Where, home: bytes) -> type | None:
    loading = _loading()
    with cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
        own = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker)
    if own is None:
        own = _own(where, type)
        if own is None:
            return None
        loading.known[id(own)] = own
        return typing.cast(type, own)
    if home == Process.token or loading.homeward:
        loading.known[id(own)] = own
    return typing.cast(type, own)


_hooks = threading.RLock()


@contextlib.contextmanager
def _quiet(bases: tuple[type, ...]) -> Iterator[None]:
    """Takes `__init_subclass__` off the bases that came by pickle: it ran where the class was made, with its own
    arguments, and what it did there came along."""
    found = dict.fromkeys(cls for base in bases for cls in base.__mro__ if cls in _marks)
    hooks = [(cls, vars(cls)["__init_subclass__"]) for cls in found if "__init_subclass__" in vars(cls)]
    if not hooks:
        yield
        return
    with _hooks:
        for cls, _ in hooks:
            type.__delattr__(cls, "__init_subclass__")
        try:
            yield
        finally:
            for cls, hook in hooks:
                type.__setattr__(cls, "__init_subclass__", hook)


def bare(meta: Any, maker: Any, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    """A class with no more than its slots; see `skeleton`."""
    with _quiet(bases):
        if maker is None:
            return types.new_class(name, bases, {"metaclass": meta}, lambda space: space.update(body))
        new: type = maker.__new__(meta, name, bases, body)
        return new


def skeleton(
    meta: type,
    maker: type | None,
    name: str,
    bases: tuple[type, ...],
    body: dict[str, Any],
    tracker: str,
    where: Where,
    home: bytes,
) -> type:
    """A class with no more than its slots, so that its methods can refer to it.

    Args:
        maker: for a metaclass from the notebook: the nearest metaclass above it that is not. The notebook's own hooks
            ran when the class was made; they are not run again on a skeleton.
    """
    known = _known_class(tracker, where, home)
    if known is not None:
        _settle(where, known)
        return known
    new = bare(meta, maker, name, bases, body)
    new = cloudpickle._lookup_class_or_track(tracker, new)
    _settle(where, new)
    return typing.cast(type, new)


def fill_class(cls: type, state: tuple[dict[str, Any], tuple[str, ...] | None, list[type]]) -> None:
    """Gives a class its attributes: all to a new one, to one that lives here those that the sender changed."""
    body, touched, registered = state
    if id(cls) in _loading().known:
        for name in touched or ():
            if name in body:
                type.__setattr__(cls, name, body[name])
            elif name in vars(cls):
                type.__delattr__(cls, name)
        for other in registered:
            if not issubclass(other, cls):
                cls.register(other)  # type: ignore[attr-defined]
        return
    for name, value in body.items():
        # Straight to `type`: a metaclass may guard its classes against change.
        type.__setattr__(cls, name, value)
    if "__firstlineno__" in body:  # dropped by Python 3.13 whenever another attribute is set
        type.__setattr__(cls, "__firstlineno__", body["__firstlineno__"])
    for other in registered:
        cls.register(other)  # type: ignore[attr-defined]
    _marks[cls] = {name: _mark(value) for name, value in vars(cls).items()}


def enumeration(
    bases: tuple[type, ...],
    body: dict[str, Any],
    name: str,
    members: list[tuple[str, Any, Any, bool]],
    names: list[tuple[str, str]],
    tracker: str,
    where: Where,
    home: bytes,
) -> type:
    """An Enum with its members made but not initialised: their `__init__` ran where they were defined.

    Args:
        members: name, value, the plain content for a type mixed in (None without one), whether iteration shows it.
        names: all names in order, aliases too, each with its member's own name.
    """
    known = _known_class(tracker, where, home)
    if known is not None:
        _settle(where, known)
        return known
    meta: Any = type(bases[-1])
    space = meta.__prepare__(name, bases)
    for key, value in body.items():
        space[key] = value
    new: Any = meta.__new__(meta, name, bases, space)
    mixed = new._member_type_
    made = {}
    for order, (label, value, content, shown) in enumerate(members):
        member = made[label] = object.__new__(new) if content is None else mixed.__new__(new, content)
        member._name_, member._value_, member.__objclass__, member._sort_order_ = label, value, new, order
        if shown:
            new._member_names_.append(label)
        with contextlib.suppress(TypeError):  # an unhashable value is found by search
            new._value2member_map_.setdefault(value, member)
    for label, own in names:
        new._member_map_[label] = made[own]
        type.__setattr__(new, label, made[own])
    new = cloudpickle._lookup_class_or_track(tracker, new)
    _settle(where, new)
    return typing.cast(type, new)


def fill_enumeration(cls: Any, state: tuple[dict[str, Any], Mapping[str, dict[str, Any]]]) -> None:
    """Gives an Enum its methods, and its members what their `__init__` had set."""
    if id(cls) in _loading().known:
        return
    body, attributes = state
    for name, value in body.items():
        type.__setattr__(cls, name, value)
    for name, values in attributes.items():
        cls._member_map_[name].__dict__.update(values)


# -------------------------------------------------------------------------------------- typing's objects


def new_type(name: str, supertype: Any, home: str) -> Any:
    """A `typing.NewType`."""
    new: Any = typing.NewType(name, supertype)  # type: ignore[misc]
    new.__module__ = home
    return new


def parameter(kind: str, name: str, tracker: str) -> Any:
    """A `TypeVarTuple` or a `ParamSpec`; the same one each time within a process."""
    make = typing.TypeVarTuple if kind == "TypeVarTuple" else typing.ParamSpec
    return cloudpickle._lookup_class_or_track(tracker, make(name))


# -------------------------------------------------------------------------------------------- exceptions


def builtin_base(cls: type[BaseException]) -> type[BaseException]:
    """The nearest class of an exception that C made: its `__init__` can be called without surprises."""
    return next(base for base in cls.__mro__ if base.__module__ == "builtins" and issubclass(base, BaseException))


def exception(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception with its arguments, made without the `__init__` of its own class."""
    base = builtin_base(cls)
    new = base.__new__(cls, *args)
    base.__init__(new, *args)
    new.args = args if not isinstance(new, OSError) else new.args
    return new


def fill_exception(new: BaseException, state: dict[str, Any]) -> None:
    """Sets attributes, notes and chain of an exception; what cannot be set is left out."""
    for name, value in state.items():
        try:
            setattr(new, name, value)
        except Exception:  # a property of the user's class may raise anything
            new.__dict__[name] = value


# ------------------------------------------------------------------------------------------------ others


def view(data: bytes | bytearray, form: str, shape: tuple[int, ...]) -> memoryview:
    """A memoryview over its own copy of the bytes."""
    flat = memoryview(data)
    return flat if form == "B" and len(shape) == 1 else flat.cast(form, shape)  # type: ignore[call-overload]
