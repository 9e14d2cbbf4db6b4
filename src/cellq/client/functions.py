"""Sealed functions, remembered where that is safe.

A function is pickled with what it uses, so it is pickled anew at each enqueue: what runs is what things were at that
moment, and nothing tells when a global, a closure or a list in a default has changed. Only a function that uses
nothing but its arguments and built-ins cannot have changed as long as its own few attributes are the same objects.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

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
        if not isinstance(function, FunctionType) or not _stands_alone(function):
            return self._seal.seal_code(function)
        # Compared by identity below: the tuple keeps these objects alive, so no other can take their place.
        parts = (
            function.__code__,
            function.__name__,
            function.__qualname__,
            function.__module__,
            function.__doc__,
            *function.__annotations__,
            *function.__annotations__.values(),
        )
        known = self._known.get(function)
        if known is not None and len(known[0]) == len(parts) and all(map(operator.is_, known[0], parts)):
            return known[1]
        sealed = self._seal.seal_code(function)
        self._known[function] = (parts, sealed)
        return sealed


def _stands_alone(function: FunctionType) -> bool:
    if (
        function.__closure__
        or function.__defaults__
        or function.__kwdefaults__
        or function.__dict__
        or not all(map(_plain, function.__annotations__.values()))
    ):
        return False
    reads = anatomy(function.__code__)
    return not reads.imports and function.__globals__.keys().isdisjoint(reads.uses)


def _plain(annotation: object) -> bool:
    return annotation is None or type(annotation) is str or (type(annotation) is type and annotation in _BUILT_IN)


_BUILT_IN = frozenset({bool, bytes, complex, dict, float, frozenset, int, list, object, set, str, tuple})
