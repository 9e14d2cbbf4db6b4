"""Telling whether an object was changed in place, without keeping a copy of it."""

from __future__ import annotations

import sys
import zlib
from types import FunctionType, ModuleType
from typing import Any

from cellq.errors import NotPicklable
from cellq.wire.classes import registered_with
from cellq.wire.pickling import dumps
from cellq.wire.standins import DICT_VIEWS

_NEVER: tuple[type, ...] = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    range,
    type(Ellipsis),
    ModuleType,
    *DICT_VIEWS,
)


def fingerprint(value: Any) -> int | None:
    """A number that differs (as good as surely) when the object has changed; None when it cannot change or be told.

    It is a hash of the pickle, with a checksum for each out-of-band buffer: arrays are read, never copied.
    """
    if isinstance(value, _NEVER):
        return None
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject and value.flags.c_contiguous:
        return hash((value.dtype.str, value.shape, zlib.crc32(value.reshape(-1).view("u1"))))
    try:
        if isinstance(value, FunctionType):
            return _of_parts(function_parts(value))
        if isinstance(value, type):
            if value.__module__ != "__main__":
                return None
            others = [f"{other.__module__}.{other.__qualname__}" for other in registered_with(value)]
            return _of_parts([class_parts(value), others] if others else class_parts(value))
        return _of_pickle(value)
    except (NotPicklable, RecursionError, ValueError):
        return None


def function_parts(function: FunctionType) -> list[object]:
    """What of a function can change: its closure, defaults and attributes."""
    cells: list[object] = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not filled yet
            cells.append(None)
    return [cells, function.__defaults__, function.__kwdefaults__, vars(function)]


def class_parts(kind: type) -> dict[str, object]:
    """What of a class can change that is data: its attributes that are neither code nor Python's own."""
    return {
        name: value
        for name, value in vars(kind).items()
        if not (name.startswith("__") and name.endswith("__"))
        and name != "_abc_impl"
        and not callable(value)
        and not hasattr(value, "__get__")
    }


def _of_parts(parts: object) -> int:
    return 0 if parts in ([[], None, None, {}], {}) else _of_pickle(parts)


def _of_pickle(value: object) -> int:
    pickled = dumps(value, anew=True)
    return hash((pickled.body, *(zlib.crc32(memoryview(buffer)) for buffer in pickled.buffers)))
