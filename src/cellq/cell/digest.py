"""What a value is, as a few bytes that are equal in every process.

A pickle will not do: of equal values it may differ from process to process (the order of a set, which equal texts are
one object, the class tracker and the file names of what a notebook defines). So the value is walked the way pickle
walks it, and each part is digested by what it means:

    1, "a", b"", None            type and content
    list, tuple, dict            items in order; of a set in the order of their digests
    array                        element type, shape, memory
    function or class of the     code without file name and line numbers, defaults, closure; attributes and bases
      notebook
    module beside the notebook   its file, and the files of such modules that it uses
    anything importable          its name
    any other object             what it reduces to (`__reduce_ex__`)

Two values of one digest are equal, as good as surely. Equal values may have different digests (a dict filled in another
order, an object that carries a cache): whoever compares them takes them for different, and loses some time.
"""

from __future__ import annotations

import copyreg
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from cellq.wire import neighbours

_SCALARS = (bool, int, float, complex, type(None), type(Ellipsis), type(NotImplemented))
_NOT_CONTENT = frozenset(
    {"__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__", "_abc_impl", "__slotnames__"}
)


class Undigestible(Exception):
    """What a value is cannot be told."""


def digest(value: object) -> bytes:
    """A digest of a value: 16 bytes.

    Raises:
        Undigestible: something in it can be neither walked nor named.
    """
    try:
        return _Walk().of(value)
    except Undigestible:
        raise
    except Exception as error:  # reducing runs code of the value's
        raise Undigestible(f"{type(error).__name__}: {error}") from error


class _Walk:
    def __init__(self) -> None:
        self._done: dict[int, bytes] = {}
        self._held: list[object] = []  # so that no id is used twice
        self._path: dict[int, int] = {}

    def of(self, value: object) -> bytes:
        kind = type(value)
        if kind in _SCALARS:
            return _hash(kind.__name__, repr(value).encode())
        if kind is str:
            return _hash("str", value.encode("utf-8", "surrogatepass"))  # type: ignore[attr-defined]
        if kind in (bytes, bytearray):
            return _hash(kind.__name__, value)  # type: ignore[arg-type]
        name = id(value)
        if name in self._done:
            return self._done[name]
        if name in self._path:  # it holds itself
            return _hash("above", str(len(self._path) - self._path[name]).encode())
        self._path[name] = len(self._path)
        self._held.append(value)
        try:
            found = self._done[name] = _hash(kind.__qualname__, *self._parts(value))
        finally:
            del self._path[name]
        return found

    def _each(self, values: Iterable[object]) -> Iterator[bytes]:
        return (self.of(value) for value in values)

    def _parts(self, value: Any) -> Iterator[bytes]:
        kind = type(value)
        if kind in (list, tuple):
            yield from self._each(value)
        elif kind is dict:
            for key, item in value.items():
                yield self.of(key)
                yield self.of(item)
        elif kind in (set, frozenset):
            yield from sorted(self._each(value))
        elif isinstance(value, FunctionType):
            yield from self._function(value)
        elif isinstance(value, CodeType):
            yield from self._code(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, ModuleType):
            yield from self._module(value)
        elif isinstance(value, staticmethod | classmethod):
            yield self.of(value.__func__)
        elif isinstance(value, property):
            yield from self._each((value.fget, value.fset, value.fdel))
        elif isinstance(value, BuiltinFunctionType) and (value.__self__ is None or type(value.__self__) is ModuleType):
            yield f"{value.__module__}.{value.__qualname__}".encode()
        elif (numpy := sys.modules.get("numpy")) is not None and kind is numpy.ndarray:
            yield from (repr(value.dtype).encode(), repr(value.shape).encode())
            if value.dtype.hasobject:
                yield self.of(value.ravel().tolist())
            else:
                yield numpy.ascontiguousarray(value).reshape(-1).view("u1").data
        else:
            yield from self._reduced(value)

    def _reduced(self, value: Any) -> Iterator[bytes]:
        reduce = copyreg.dispatch_table.get(type(value))
        # Protocol 4: the next one has memory outside the pickle.
        reduced = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            yield f"{type(value).__module__}.{reduced}".encode()
            return
        make, args, *rest = reduced
        yield self.of(make)
        yield self.of(args)
        for part in rest:
            yield self.of(list(part) if isinstance(part, Iterator) else part)

    def _function(self, function: FunctionType) -> Iterator[bytes]:
        home = sys.modules.get(function.__module__ or "")
        if not _by_value(home) and "<locals>" not in function.__qualname__ and "<lambda>" not in function.__qualname__:
            yield f"{function.__module__}.{function.__qualname__}".encode()
            return
        if home is not None and home.__name__ != "__main__":
            yield self.of(home)
        yield self.of(function.__code__)
        yield from self._each((function.__defaults__, function.__kwdefaults__, vars(function)))
        for cell in function.__closure__ or ():
            try:
                yield self.of(cell.cell_contents)
            except ValueError:  # not filled yet
                yield b"empty"

    def _code(self, code: CodeType) -> Iterator[bytes]:
        yield code.co_code
        yield from self._each((code.co_consts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        yield from self._each((code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount))

    def _class(self, kind: type) -> Iterator[bytes]:
        yield f"{kind.__module__}.{kind.__qualname__}".encode()
        home = sys.modules.get(kind.__module__)
        if not _by_value(home):
            return
        if home is not None and home.__name__ != "__main__":
            yield self.of(home)
        yield from self._each(kind.__bases__)
        for name, value in vars(kind).items():
            if name not in _NOT_CONTENT and type(value).__name__ not in ("member_descriptor", "getset_descriptor"):
                yield name.encode()
                yield self.of(value)

    def _module(self, module: ModuleType) -> Iterator[bytes]:
        yield module.__name__.encode()
        if module.__name__ == "__main__" or not _by_value(module):
            return
        file = getattr(module, "__file__", None)
        yield Path(file).read_bytes() if file else b""
        used = {getattr(value, "__module__", None) or getattr(value, "__name__", "") for value in vars(module).values()}
        for name in sorted(str(one) for one in used):
            other = sys.modules.get(name)
            if other is not None and other is not module and name != "__main__" and _by_value(other):
                yield self.of(other)


def _by_value(module: ModuleType | None) -> bool:
    """Whether what a module defines can change without its name changing."""
    return module is None or module.__name__ == "__main__" or neighbours.travels(module)


def _hash(kind: str, *parts: bytes | memoryview) -> bytes:
    """Each part with its length in front, so that no two lists of parts look alike."""
    found = hashlib.blake2b(kind.encode() + b"\0", digest_size=16)
    for part in parts:
        size = part.nbytes if isinstance(part, memoryview) else len(part)
        found.update(size.to_bytes(8, "little"))
        found.update(part)
    return found.digest()
