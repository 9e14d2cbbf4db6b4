"""Sealed functions, remembered where that is safe.

A function is pickled with what it uses, so it is pickled anew at each enqueue: what runs is what things were at that
moment, and nothing tells when a list in a default, or an object in a global or a closure, has changed. Only a function
that uses nothing but its arguments, built-ins, immutable defaults and installed modules cannot have changed as long as
all of these are the same objects.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from cellq.wire.neighbours import travels
from cellq.wire.reducing import anatomy
from cellq.wire.sealing import Seal

Sealed = tuple[bytes, bytes]  # digest, sealed bytes


class Functions:
    """Seals functions with one seal."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._built_in: dict[BuiltinFunctionType, Sealed] = {}
        self._known: weakref.WeakKeyDictionary[FunctionType, tuple[tuple[Any, ...], Sealed]] = (
            weakref.WeakKeyDictionary()
        )

    def seal(self, function: Callable[..., Any]) -> Sealed:
        """The function as `Seal.seal_code` gives it.

        Raises:
            NotPicklable: it, or something it uses, cannot travel.
        """
        if isinstance(function, BuiltinFunctionType) and isinstance(function.__self__, ModuleType):
            if function not in self._built_in:  # `math.sqrt` travels by name, and is what it is
                self._built_in[function] = self._seal.seal_code(function)
            return self._built_in[function]
        parts = _parts(function) if isinstance(function, FunctionType) else None
        if parts is None or not isinstance(function, FunctionType):
            return self._seal.seal_code(function)
        known = self._known.get(function)
        if known is not None and len(known[0]) == len(parts) and all(map(operator.is_, known[0], parts)):
            return known[1]
        sealed = self._seal.seal_code(function)
        self._known[function] = (parts, sealed)
        return sealed


def _parts(function: FunctionType) -> tuple[Any, ...] | None:
    """All that this function is made of, to be compared by identity; None when some of it may change unnoticed.

    (Whoever keeps the tuple keeps the objects alive, so no other can take their place in memory.)
    """
    defaults = function.__defaults__ or ()
    annotations = function.__annotations__
    if function.__closure__ or function.__kwdefaults__ or function.__dict__:
        return None
    if not all(map(_immutable, defaults)) or not all(map(_fixed, annotations.values())):
        return None
    reads = anatomy(function.__code__)
    if reads.imports:
        return None
    space = function.__globals__
    modules = [space[name] for name in reads.uses if name in space]
    if not all(isinstance(module, ModuleType) and not travels(module) for module in modules):
        return None
    return (
        function.__code__,
        function.__name__,
        function.__qualname__,
        function.__module__,
        function.__doc__,
        *defaults,
        *annotations,
        *annotations.values(),
        *modules,
    )


def _immutable(value: object) -> bool:
    return value is None or type(value) in _SCALARS


def _fixed(annotation: object) -> bool:
    if type(annotation) is type:
        return annotation in _BUILT_IN
    return annotation is None or type(annotation) is str or annotation is Any


_SCALARS = frozenset({bool, bytes, float, int, str})
_BUILT_IN = frozenset({bool, bytes, complex, dict, float, frozenset, int, list, object, set, str, tuple})
