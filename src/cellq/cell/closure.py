"""What a cell needs, also through the functions and classes it uses.

A function defined in the notebook runs in the worker with the job's namespace as its globals, so each global it loads
must be there, and so on through whatever those are:

    cell reads `fit` ─▶ function fit loads `model`, `helper` ─▶ helper loads `CONFIG` ...
                          └── its closure, defaults, `__wrapped__`, the methods and bases of classes, partials,
                              functions held in lists and dicts
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import CellType, FunctionType, MethodType

from cellq.cell.names import DYNAMIC, PICKLERS, CellNames, code_names, is_output, is_shell_name, unknown

_BUDGET = 20_000  # objects looked at in one walk; beyond it, cloudpickle still carries what a function refers to
_WIDTH = 1_000  # items looked at in one container
_SCALARS = (str, bytes, int, float, complex, bool, type(None), bytearray, range)


@dataclass(frozen=True, slots=True)
class Needs:
    """What of a namespace a cell needs.

    Attributes:
        values: what must travel, by name.
        extras: what travels when it can: touched names, and words in texts of dynamic code.
        small: what dynamic code (or a pickle that is loaded) may look up as well; travels when it can and is small.
        missing: names that are read and that nothing defines.
        writes: names that the cell binds, also through `global` in functions it calls.
        attributes: attribute names mentioned anywhere in the code that travels.
        dynamic: names may be looked up at run time.
    """

    values: dict[str, object]
    extras: dict[str, object]
    small: dict[str, object]
    missing: frozenset[str]
    writes: frozenset[str]
    attributes: frozenset[str]
    dynamic: bool


def needed(names: CellNames, namespace: Mapping[str, object]) -> Needs:
    """What a cell that uses `names` needs of `namespace`, directly and through the code it can call."""
    walk = _Walk(
        namespace,
        writes=set(names.writes),
        attributes=set(names.attributes),
        dynamic=names.dynamic,
        direct=names.reads | names.touched,
    )
    walk.names(names.reads)
    values = walk.found
    walk.found = {}
    walk.taken = set(values)
    walk.names(names.touched | names.deletes)
    if walk.dynamic:
        walk.names(names.words)
    extras = walk.found
    walk.found = {}
    walk.taken |= set(extras)
    if walk.dynamic:
        walk.names(name for name in namespace if not name.startswith("_"))
    elif not PICKLERS.isdisjoint(walk.attributes | names.reads | names.touched):
        walk.names(name for name, value in namespace.items() if _is_defined_here(value))
    return Needs(
        values=values,
        extras=extras,
        small=walk.found,
        missing=unknown(names, namespace),
        writes=frozenset(walk.writes),
        attributes=frozenset(walk.attributes),
        dynamic=walk.dynamic,
    )


@dataclass
class _Walk:
    namespace: Mapping[str, object]
    writes: set[str]
    attributes: set[str]
    dynamic: bool
    direct: frozenset[str]  # what the cell itself names: only it can mean `_` as the last output
    found: dict[str, object] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    seen: dict[int, object] = field(default_factory=dict)  # by id, and held so that no id is used twice

    def names(self, names: Iterable[str]) -> None:
        pending = [name for name in names if name not in self.taken]
        while pending:
            name = pending.pop()
            if name in self.found or name in self.taken or name not in self.namespace:
                continue
            if is_shell_name(name) and not (is_output(name) and name in self.direct):
                continue
            value = self.namespace[name]
            if name == "open" and callable(value) and (value.__module__ or "").startswith("IPython"):
                continue  # the shell of the other side has its own
            self.found[name] = value
            pending.extend(self.reach(value))

    def reach(self, value: object) -> set[str]:
        """The global names that the code in and behind `value` loads."""
        loads: set[str] = set()
        stack: list[object] = [value]
        while stack and len(self.seen) < _BUDGET:
            item = stack.pop()
            if isinstance(item, _SCALARS) or id(item) in self.seen:
                continue
            self.seen[id(item)] = item
            name = getattr(item, "__name__", "") if _is_defined_here(item) else ""
            if name and self.namespace.get(name) is item:
                loads.add(name)  # it travels anyhow, and pickle finds it only by its name
            if isinstance(item, FunctionType) and self.lives_here(item):
                names = code_names(item.__code__)
                loads.update(names.loads, names.touched)
                self.writes |= names.stores
                self.attributes |= names.attributes
                self.dynamic = self.dynamic or not DYNAMIC.isdisjoint(names.attributes.union(names.loads))
            stack.extend(_parts(item))
        return loads

    def lives_here(self, function: FunctionType) -> bool:
        return function.__globals__ is self.namespace or function.__module__ == "__main__"


def _is_defined_here(item: object) -> bool:
    return isinstance(item, type | FunctionType) and item.__module__ == "__main__"


def _parts(item: object) -> Iterable[object]:
    """Where code can hide inside an object, one step down."""
    if isinstance(item, FunctionType):
        yield from (_content(cell) for cell in item.__closure__ or ())
        yield from item.__defaults__ or ()
        yield from (item.__kwdefaults__ or {}).values()
        yield from vars(item).values()
    elif isinstance(item, MethodType):
        yield item.__func__
        yield item.__self__
    elif isinstance(item, functools.partial):
        yield from (item.func, *item.args, *item.keywords.values())
    elif isinstance(item, staticmethod | classmethod):
        yield item.__func__
    elif isinstance(item, property):
        yield from (item.fget, item.fset, item.fdel)
    elif isinstance(item, type):
        if item.__module__ == "__main__":
            yield from item.__bases__
            yield from vars(item).values()
    elif isinstance(item, dict):
        yield from islice(item.values(), _WIDTH)
    elif isinstance(item, list | tuple | set | frozenset):
        yield from islice(item, _WIDTH)
    else:
        yield type(item)
        own = getattr(item, "__dict__", None)
        if type(own) is dict and type(item).__module__ != "builtins":
            yield from islice(own.values(), _WIDTH)


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
