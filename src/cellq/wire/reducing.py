"""The sending half of a pickle: takes apart what plain pickle and cloudpickle cannot, or get wrong.

cloudpickle does the groundwork (code objects, properties, typing). What is different here, and why:

* A function says *where its globals live* (see `rebuilding`) instead of bringing a private copy of them.
* Modules beside the notebook travel by value, decided per pickle and not in a process-wide registry.
* Closures that share a cell share it afterwards; slots stay slots; Enum members keep what `__init__` gave them.
* What pickle would find again by name (`lru_cache` wrappers, `NewType`…) brings its content when that name is the
  notebook's.
* An open file is refused. cloudpickle would send its text, which hides the mistake.
"""

from __future__ import annotations

import dis
import enum
import functools
import io
import linecache
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import Any

from cloudpickle import cloudpickle  # type: ignore[import-untyped]

from cellq.wire import caches, classes, instances, neighbours, rebuilding, standins
from cellq.wire.partial import Partial

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented

_RECEIVER = vars(rebuilding)
_SOURCE_LIMIT = 65_536  # characters of a cell's text that travel for tracebacks and inspect.getsource


class Anatomy(typing.NamedTuple):
    """What a code object reads by name."""

    uses: tuple[str, ...]  # globals, in a fixed order
    names: tuple[str, ...]  # attributes too: `a.b` may be the submodule b of a package a
    imports: bool


_anatomies: weakref.WeakKeyDictionary[types.CodeType, Anatomy] = weakref.WeakKeyDictionary()
_GLOBAL = frozenset(
    # LOAD_NAME: the body of a class inside a function reads its globals that way.
    {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
)


def anatomy(code: types.CodeType) -> Anatomy:
    """What a code object, with the functions and classes nested in it, reads by name."""
    known = _anatomies.get(code)
    if known is None:
        uses: dict[str, None] = {}
        names: dict[str, None] = dict.fromkeys(code.co_names)
        imports = False
        for step in dis.get_instructions(code):
            if step.opname in _GLOBAL:
                uses[step.argval] = None
            elif step.opname == "IMPORT_NAME":
                imports = True
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                inner = anatomy(constant)
                uses.update(dict.fromkeys(inner.uses))
                names.update(dict.fromkeys(inner.names))
                imports = imports or inner.imports
        known = _anatomies[code] = Anatomy(tuple(uses), tuple(names), imports)
    return known


def home_of(thing: Any) -> tuple[types.ModuleType, str] | None:
    """The module that a function or class is an attribute of, and its name there; None for the notebook's own."""
    return typing.cast("tuple[types.ModuleType, str] | None", cloudpickle._lookup_module_and_qualname(thing))


def by_value(thing: Any) -> bool:
    """Whether a function, class or module travels with its content, not by name."""
    if isinstance(thing, types.ModuleType):
        return neighbours.travels(thing)
    home = home_of(thing)
    return home is None or neighbours.travels(home[0])


class Stand:
    """Stands in a pickle for something that the receiver makes."""

    __slots__ = ("recipe",)

    def __init__(self, *recipe: Any) -> None:
        self.recipe = recipe

    def __reduce__(self) -> tuple[Any, ...]:
        return self.recipe[0], self.recipe[1:]


class _Mark:
    """Where in a pickle begins (+1), or ends (-1), what a function or a class brings along."""

    __slots__ = ("step",)

    def __init__(self, step: int) -> None:
        self.step = step


# A lock that belongs to a module is made by importing it: each process has its own.
_MADE_BY_IMPORT: dict[type, Stand] = {
    type(threading.Lock()): Stand(threading.Lock),
    type(threading.RLock()): Stand(threading.RLock),
    threading.Condition: Stand(threading.Condition),
    threading.Event: Stand(threading.Event),
    threading.local: Stand(threading.local),
}


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one value. After a failure `last` is the object it stopped at."""

    def __init__(
        self,
        file: Any,
        buffer_callback: Callable[[Any], Any] | None = None,
        at_home: Container[str] = (),
        anew: bool = False,
        shared: Mapping[int, Any] = MappingProxyType({}),
        met: list[Any] | None = None,
        main: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._at_home = at_home
        self._anew = anew
        self._shared = shared
        self._main = main
        self.met = met  # see `inputs`
        self.brought = 0  # how deep in what functions and classes bring along
        self.last: Any = None
        self._spaces: dict[int, Stand] = {}
        self._modules: dict[str, Stand] = {}
        self._sources: set[str] = set()
        self._probed: dict[int, bool] = {}
        self._makes: dict[type, instances.Make | None] = {}

    def reducer_override(self, obj: Any) -> Reduction:
        """Called by pickle for everything but the plainest builtin types."""
        self.last = obj
        kind = type(obj)
        if self._anew:
            whole = self._shared.get(id(standins.base_of(obj))) if self._shared else None
            made = standins.reduce(obj) if whole is None or whole is obj else standins.view(obj, whole)
            if made is not NotImplemented:
                return made
        reducer = REDUCERS.get(kind)
        if reducer is not None:
            return reducer(self, obj)
        if issubclass(kind, type):
            return self._class(obj)
        if issubclass(kind, BaseException):
            return self._exception(obj)
        if obj is sys.stdout:
            return getattr, (sys, "stdout")
        if obj is sys.stderr:
            return getattr, (sys, "stderr")
        if kind not in self._makes:
            self._makes[kind] = instances.how(kind, by_value)
        make = self._makes[kind]
        return NotImplemented if make is None else instances.reduce(obj, make)

    # ---------------------------------------------------------------------------------------- functions

    def _function(self, func: types.FunctionType) -> Reduction:
        if func.__globals__ is _RECEIVER:
            return NotImplemented
        home = home_of(func)
        if home is not None and not neighbours.travels(home[0]):
            return NotImplemented
        code = func.__code__
        reads = anatomy(code)
        space, carried, beside = self._space(func.__globals__)
        uses: dict[str, Any] = {}
        submodules: list[types.ModuleType] = []
        if carried:
            known = func.__globals__
            own = self._is_main(known)
            uses = {name: known[name] for name in reads.uses if name in known and not (own and name in self._at_home)}
            if beside:
                uses = {name: _MADE_BY_IMPORT.get(type(value), value) for name, value in uses.items()}
            for value in (*uses.values(), *_contents(func)):
                if type(value) in (types.ModuleType, Partial):
                    _find_submodules(value.__name__, reads.names, submodules)
            if reads.imports:
                _find_imported(reads.names, known.get("__package__"), submodules)
        names: dict[str, Any] = {
            "__name__": func.__name__,
            "__qualname__": func.__qualname__,
            "__module__": func.__module__,
            "__doc__": func.__doc__,
        }
        for name in ("__defaults__", "__kwdefaults__", "__annotations__", "__type_params__"):
            value = getattr(func, name, None)
            if value:
                names[name] = value
        state = (names, uses, submodules, self._source(code), func.__dict__)
        recipe = (code, space, func.__closure__, self._where(home))
        return rebuilding.function, recipe, self._bring(state), None, None, rebuilding.fill_function

    def _bring(self, state: Any) -> Any:
        """What a function or a class brings along: a job in there is a handle, not an argument."""
        return state if self.met is None else Stand(rebuilding.brought, _Mark(1), state, _Mark(-1))

    def _mark(self, mark: _Mark) -> Reduction:
        self.brought += mark.step
        return bool, ()

    def _is_main(self, space: Mapping[str, Any]) -> bool:
        """Whether these are the notebook's names; code made at run time may call a dict of its own `__main__`."""
        return space.get("__name__") == "__main__" and (self._main is None or space is self._main)

    def _space(self, space: dict[str, Any]) -> tuple[Stand, bool, bool]:
        """Where a function's globals live, whether what it uses of them travels, whether it is beside the notebook."""
        name = space.get("__name__")
        known = self._spaces.get(id(space))
        module = sys.modules.get(name) if isinstance(name, str) and name != "__main__" else None
        real = module is not None and vars(module) is space
        beside = real and neighbours.travels(typing.cast(types.ModuleType, module))
        if known is None:
            if self._is_main(space):
                known = Stand(rebuilding.main_globals, len(self._spaces))
            elif beside:
                known = Stand(rebuilding.module_globals, self._partly(typing.cast(types.ModuleType, module)))
            elif real:
                known = Stand(rebuilding.installed_globals, name)
            else:
                base = {k: space[k] for k in ("__name__", "__package__", "__path__", "__file__") if k in space}
                known = Stand(rebuilding.private_globals, len(self._spaces), base)
            self._spaces[id(space)] = known
        return known, beside or not real, beside

    def _source(self, code: types.CodeType) -> tuple[str, str] | None:
        """The text of the cell that defined a function, once per pickle; None for code that has a file."""
        file = code.co_filename
        entry = linecache.cache.get(file)
        if entry is None or len(entry) != 4 or entry[1] is not None or file in self._sources:
            return None
        self._sources.add(file)
        size, _, lines, _ = entry
        return (file, "".join(lines)) if size <= _SOURCE_LIMIT else None

    def _cached(self, func: Any) -> Reduction:
        home = home_of(func)
        if home is not None and not neighbours.travels(home[0]):
            return NotImplemented
        state = {name: value for name, value in vars(func).items() if name not in ("__wrapped__", "cache_parameters")}
        options = func.cache_parameters()
        recipe = (func.__wrapped__, options["maxsize"], options["typed"], self._where(home))
        memory = caches.memory_of(func) if self._anew else None
        if memory is not None and (memory.is_plain() or self._goes(memory)):
            return rebuilding.cached, recipe, (state, memory), None, None, caches.fill
        return rebuilding.cached, recipe, state or None

    def _method(self, method: Any) -> Reduction:
        """`random.seed` is a method of a hidden generator: it travels as that name, not with a copy of its owner."""
        bound = method.__self__
        if isinstance(bound, types.ModuleType | type | None):
            return NotImplemented
        owner = sys.modules.get(type(bound).__module__)
        name = method.__name__
        if owner is not None and owner.__name__ != "__main__" and vars(owner).get(name) == method:
            return getattr, (owner, name)
        return NotImplemented

    def _cell(self, cell: types.CellType) -> Reduction:
        try:
            contents = cell.cell_contents
        except ValueError:  # empty
            return rebuilding.cell, ()
        return rebuilding.cell, (), self._bring((contents,)), None, None, rebuilding.fill_cell

    # ------------------------------------------------------------------------------------------ modules

    def _partly(self, module: types.ModuleType) -> Stand:
        """A module beside the notebook without its content."""
        known = self._modules.get(module.__name__)
        if known is None:
            known = self._modules[module.__name__] = Stand(rebuilding.module, *_identity(module))
        return known

    def _where(self, home: tuple[types.ModuleType, str] | None) -> tuple[Stand, str] | None:
        return None if home is None else (self._partly(home[0]), home[1])

    def _module(self, module: types.ModuleType) -> Reduction:
        current = sys.modules.get(module.__name__) is module or module in neighbours.adopted
        if not current or not neighbours.travels(module):
            return NotImplemented
        state = {name: _MADE_BY_IMPORT.get(type(value), value) for name, value in vars(module).items()}
        for name in ("__builtins__", "__loader__", "__spec__", "__cached__", "__path__"):
            state.pop(name, None)
        # What the module imports from its own package while it runs must be there too.
        parent = sys.modules.get(module.__name__.rpartition(".")[0])
        if parent is not None:
            state = {**state, "__parent__": parent}
        return rebuilding.module, _identity(module), self._bring(state), None, None, rebuilding.fill_module

    # ------------------------------------------------------------------------------------------ classes

    def _class(self, cls: type) -> Reduction:
        home = home_of(cls)
        if home is not None and not neighbours.travels(home[0]):
            return super().reducer_override(cls)  # NoneType and its like have no name to be found by
        if cls.__module__ == "builtins" and home is None:
            return super().reducer_override(cls)
        where = self._where(home)
        tracker = cloudpickle._get_or_create_tracker_id(cls)
        if issubclass(cls, enum.Enum) and _by_members(cls):
            return self._enum(cls, tracker, where)
        body, shape = classes.body_of(cls)
        registered = classes.registered_with(cls)
        meta: Any = type(cls)
        maker = next(base for base in meta.__mro__ if not by_value(base)) if by_value(meta) else None
        if typing.is_typeddict(cls):
            maker = type  # its metaclass takes only bases that it changes itself
        if "__orig_bases__" in body:  # Generic looks for them when a class is made
            shape["__orig_bases__"] = body.pop("__orig_bases__")
        if maker is None and meta.__module__ not in classes.PLAIN_METACLASSES:
            classes.try_bare(cls, meta, shape)
        recipe = (meta, maker, cls.__name__, cls.__bases__, shape, tracker, where, rebuilding.Process.token)
        state = (body, rebuilding.changed(cls), registered)
        return rebuilding.skeleton, recipe, self._bring(state), None, None, rebuilding.fill_class

    def _enum(self, cls: Any, tracker: str, where: tuple[Stand, str] | None) -> Reduction:
        body, shape = classes.body_of(cls)
        for name in (*_ENUM_OWN, *cls.__members__):
            body.pop(name, None)
        mixed = cls._member_type_
        members, attributes = [], {}
        for name, member in cls.__members__.items():
            if name != member._name_:
                continue
            content = _CONTENT[mixed](member) if mixed in _CONTENT else None
            members.append((name, member._value_, content, name in cls._member_names_))
            own = {key: value for key, value in vars(member).items() if key not in _MEMBER_OWN}
            if own:
                attributes[name] = own
        names = [(name, member._name_) for name, member in cls.__members__.items()]
        home = rebuilding.Process.token
        recipe = (cls.__bases__, shape, cls.__name__, members, names, tracker, where, home)
        return rebuilding.enumeration, recipe, (body, attributes), None, None, rebuilding.fill_enumeration

    # ------------------------------------------------------------------------------------------- others

    def _exception(self, error: BaseException) -> Reduction:
        """An exception whose `__init__` takes other things than its `args` could not be made again by calling it."""
        cls = type(error)
        base = rebuilding.builtin_base(cls)
        args, state = exception_parts(error)
        if cls.__reduce__ is not base.__reduce__ or cls.__reduce_ex__ is not base.__reduce_ex__:
            # Mostly it leaves away what cannot travel, and then its text is another one.
            if cls.__new__ is not base.__new__ or not all(self._goes(arg) for arg in args):
                return NotImplemented
            state = {name: value for name, value in state.items() if self._goes(value)}
        for name in ("__cause__", "__context__", "__suppress_context__"):
            linked = getattr(error, name)
            if linked and self._goes(linked):
                state[name] = linked
        return rebuilding.exception, (cls, args), state or None, None, None, rebuilding.fill_exception

    def _goes(self, linked: Any) -> bool:
        """Whether an exception that another was raised from can travel: if not, the other travels without it."""
        if id(linked) not in self._probed:
            self._probed[id(linked)] = True  # meanwhile: contexts can form circles
            probe = Pickler(io.BytesIO(), lambda buffer: None, anew=self._anew)
            probe._probed = self._probed
            try:
                probe.dump(linked)
            except Exception:
                self._probed[id(linked)] = False
        return self._probed[id(linked)]

    def _new_type(self, obj: Any) -> Reduction:
        home = sys.modules.get(obj.__module__)
        if home is not None and obj.__module__ != "__main__" and not neighbours.travels(home):
            return NotImplemented
        return rebuilding.new_type, (obj.__name__, obj.__supertype__, obj.__module__)

    def _parameter(self, obj: Any) -> Reduction:
        home = sys.modules.get(obj.__module__)
        if home is not None and obj.__module__ != "__main__" and not neighbours.travels(home):
            return NotImplemented
        return rebuilding.parameter, (type(obj).__name__, obj.__name__, cloudpickle._get_or_create_tracker_id(obj))

    def _cached_property(self, obj: Any) -> Reduction:
        return functools.cached_property, (obj.func,), {"attrname": obj.attrname, "__doc__": obj.__doc__}

    def _memoryview(self, obj: memoryview) -> Reduction:
        data = obj.tobytes() if obj.readonly else bytearray(obj.tobytes())
        return rebuilding.view, (data, obj.format, obj.shape)

    def _weak_keys(self, obj: Any) -> Reduction:
        return weakref.WeakKeyDictionary, (dict(obj),)

    def _weak_values(self, obj: Any) -> Reduction:
        return weakref.WeakValueDictionary, (dict(obj),)

    def _open_file(self, obj: io.TextIOWrapper) -> Reduction:
        if obj is sys.stdout or obj is sys.stderr:
            return getattr, (sys, "stdout" if obj is sys.stdout else "stderr")
        raise TypeError(f"cannot pickle the {'closed' if obj.closed else 'open'} file {getattr(obj, 'name', '')!r}")


REDUCERS: dict[type, Callable[[Pickler, Any], Reduction]] = {
    types.FunctionType: Pickler._function,
    types.MethodType: Pickler._method,
    types.BuiltinMethodType: Pickler._method,
    types.CellType: Pickler._cell,
    types.ModuleType: Pickler._module,
    Partial: Pickler._module,
    functools._lru_cache_wrapper: Pickler._cached,
    functools.cached_property: Pickler._cached_property,
    memoryview: Pickler._memoryview,
    typing.NewType: Pickler._new_type,
    typing.TypeVarTuple: Pickler._parameter,
    typing.ParamSpec: Pickler._parameter,
    weakref.WeakKeyDictionary: Pickler._weak_keys,
    weakref.WeakValueDictionary: Pickler._weak_values,
    io.TextIOWrapper: Pickler._open_file,
    _Mark: Pickler._mark,
}

_ENUM_OWN = ("_generate_next_value_", "_member_names_", "_member_map_", "_value2member_map_", "_member_type_")
_MEMBER_OWN = ("_name_", "_value_", "__objclass__", "_sort_order_")
_CONTENT: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    str: str.__str__,
    float: float.__float__,
    bytes: lambda member: bytes(memoryview(member)),
    tuple: lambda member: tuple(member[:]),
}


def _by_members(cls: Any) -> bool:
    """Whether an Enum's members can be made from their plain content."""
    mixed = cls._member_type_
    return mixed in _CONTENT or mixed.__new__ is object.__new__


def exception_parts(error: BaseException) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that make an exception of its builtin base, and its other attributes (notes among them)."""
    reduced = rebuilding.builtin_base(type(error)).__reduce__(error)
    if not isinstance(reduced, tuple):
        return error.args, dict(vars(error))
    state = reduced[2] if len(reduced) > 2 else None
    return reduced[1], dict(state) if isinstance(state, dict) else {}


def _identity(module: types.ModuleType) -> tuple[str, str | None, str | None, list[str] | None, bytes]:
    known = vars(module)
    path = [str(part) for part in known["__path__"]] if "__path__" in known else None
    return module.__name__, known.get("__file__"), known.get("__package__"), path, rebuilding.Process.token


def _contents(func: types.FunctionType) -> list[Any]:
    found = []
    for cell in func.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # empty
            continue
    return found


def _find_submodules(package: str, names: tuple[str, ...], found: list[types.ModuleType]) -> None:
    """Submodules that code reaches as attributes of a package: they must be imported where it runs."""
    for name in names:
        module = sys.modules.get(f"{package}.{name}")
        if isinstance(module, types.ModuleType):
            if module not in found:
                found.append(module)
            _find_submodules(module.__name__, names, found)


def _find_imported(names: tuple[str, ...], package: object, found: list[types.ModuleType]) -> None:
    """Modules beside the notebook that code imports while it runs."""
    for name in names:
        for full in (name, f"{package}.{name}") if package else (name,):
            module = sys.modules.get(full)
            if isinstance(module, types.ModuleType) and module not in found and neighbours.travels(module):
                found.append(module)
