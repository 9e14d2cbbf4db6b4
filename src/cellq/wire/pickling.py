"""Objects ⇄ bytes: what a notebook defined travels by value, large arrays outside the pickle.

    value ──dumps──▶ body (pickle, protocol 5) + buffers (the memory of arrays, not copied) ──loads──▶ value

What goes by value and what by name is decided in `reducing`, where things land in `rebuilding`; why something cannot
travel is found out by `culprits`.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from cellq.errors import NotPicklable
from cellq.wire import culprits, rebuilding
from cellq.wire.inputs import Arrival, Handle
from cellq.wire.reducing import Pickler

Buffer = memoryview | bytes | bytearray | pickle.PickleBuffer

Label = str | Callable[..., object]
"""What a value is called in an error: its name in words; or the function whose `(args, kwargs)` it is."""


class Pickled(NamedTuple):
    """A pickle and the memory it refers to, in the order in which it refers to it."""

    body: bytes
    buffers: tuple[Buffer, ...] = ()


_SCALARS = frozenset({int, float, str, bytes, bool, type(None)})
_SMALL = 16
_DEEP_STACK = 512 << 20  # bytes; only what is used becomes memory
_DEEP_LIMIT = 100_000
_deep = threading.Lock()


def dumps(
    value: object,
    *,
    label: Label = "",
    at_home: Container[str] = (),
    anew: bool = False,
    shared: Mapping[int, Any] = MappingProxyType({}),
    noted: Callable[[dict[int, tuple[int, object]]], object] | None = None,
    met: list[Handle] | None = None,
    main: Mapping[str, Any] | None = None,
) -> Pickled:
    """Pickles a value.

    Args:
        value: anything; a dict with text keys is taken for variables by name.
        label: what to call it in an error: words ("argument `x`"), or the function whose `(args, kwargs)` it is.
        anew: what only one process can have is made anew where that is just as good (`standins`).
        at_home: names of the notebook that the receiver has: its functions do not bring them along.
        shared: by id of the array that owns the memory: an array that others are to be views of on the other side.
        noted: takes the objects met, each by its id with its place in the pickle.
        met: takes the jobs met, which then travel as the results they are to be (see `inputs`); None: they travel as
            handles.
        main: the notebook's names; None: every namespace that calls itself `__main__` is taken for them.

    Raises:
        NotPicklable: something in it cannot travel; the message names the variable and the path to it.
    """
    if noted is None and _plain(value, 2):
        return Pickled(pickle.dumps(value, 5))
    buffers: list[pickle.PickleBuffer] = []
    body = _dump(value, buffers.append, label, at_home, anew, shared, noted, met, main)
    return Pickled(body, tuple(buffers))


def pack(value: object) -> bytes:
    """Pickles a value into one piece.

    Raises:
        NotPicklable: something in it cannot travel.
    """
    return _dump(value, None, "")


def loads(
    body: bytes | bytearray | memoryview,
    buffers: Sequence[Buffer] = (),
    *,
    namespace: dict[str, Any] | None = None,
    homeward: bool = False,
    noted: Callable[[dict[int, object]], object] | None = None,
    arrival: Arrival | None = None,
    unpickler: Callable[..., Any] = pickle.Unpickler,
) -> Any:
    """The value again.

    Args:
        namespace: the globals of functions and classes that came from a notebook. Names they use are added where they
            are missing, never replaced. None: a dict of their own, shared by those of this pickle. Pickles sealed at
            different moments must not share one, or the later sees what the earlier brought.
        homeward: a result that comes back, where the receiver's own modules and classes are preferred.
        noted: takes the objects made, each by its place in the pickle, which is the one that `dumps` noted.
        arrival: gives what arrives in place of jobs.
        unpickler: what reads it: see `salvaging`.
    """
    before = rebuilding.moment.loading
    rebuilding.moment.loading = loading = rebuilding.Loading(namespace, homeward, arrival)
    try:
        if noted is None and unpickler is pickle.Unpickler:
            value = pickle.loads(body, buffers=buffers)
        else:
            reading = unpickler(io.BytesIO(body), buffers=buffers)
            value = reading.load()
            if noted is not None:
                noted(reading.memo.copy())
        for call in loading.afterwards:
            call()
        return value
    finally:
        rebuilding.moment.loading = before


def _plain(value: object, depth: int) -> bool:
    """Whether plain pickle carries a value just as well: exact builtin scalars, a few, hardly nested."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    items: Iterable[object]
    if not depth:
        return False
    if isinstance(value, tuple | list) and (kind is tuple or kind is list):
        items = value
    elif isinstance(value, dict) and kind is dict:
        items = value.values()
        if any(type(key) is not str for key in value):
            return False
    else:
        return False
    if len(value) > _SMALL:
        return False
    for item in items:  # noqa: SIM110 - a generator costs twice as much, and this is on the way of every call
        if type(item) not in _SCALARS and not _plain(item, depth - 1):
            return False
    return True


def _dump(
    value: object,
    buffer_callback: Callable[[pickle.PickleBuffer], None] | None,
    label: Label,
    at_home: Container[str] = (),
    anew: bool = False,
    shared: Mapping[int, Any] = MappingProxyType({}),
    noted: Callable[[dict[int, tuple[int, object]]], object] | None = None,
    met: list[Handle] | None = None,
    main: Mapping[str, Any] | None = None,
) -> bytes:
    file = io.BytesIO()
    pickler = Pickler(file, buffer_callback, at_home, anew, shared, met, main)
    try:
        pickler.dump(value)
    except Exception as error:
        if _too_deep(error):
            return _dump_deep(value, label, met)
        raise NotPicklable(culprits.explain(value, pickler.last, error, label)) from error
    if noted is not None:
        noted(pickler.memo.copy())
    return file.getvalue()


def _too_deep(error: BaseException) -> bool:
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def _dump_deep(value: object, label: Label, met: list[Handle] | None) -> bytes:
    """Pickles deeply nested data in a thread with a large stack, in one piece.

    From Python 3.12 on the limit for C code is fixed: there it fails again, and the error says why.
    """
    outcome: list[bytes | BaseException] = []

    def run() -> None:
        file = io.BytesIO()
        try:
            Pickler(file, met=met).dump(value)
            outcome.append(file.getvalue())
        except BaseException as error:
            outcome.append(error)

    with _deep:  # stack size and recursion limit are the process's
        limit, size = sys.getrecursionlimit(), threading.stack_size()
        try:
            threading.stack_size(_DEEP_STACK)
            sys.setrecursionlimit(_DEEP_LIMIT)
            thread = threading.Thread(target=run, name="cellq-deep-pickle")
            thread.start()
            thread.join()
        finally:
            sys.setrecursionlimit(limit)
            threading.stack_size(size)
    result = outcome[0]
    if isinstance(result, bytes):
        return result
    if _too_deep(result):
        reason = "is nested too deeply (or refers to itself through __reduce__)"
        raise NotPicklable(f"Cannot send {culprits.title(value, label)} to another process: it {reason}.") from result
    raise NotPicklable(culprits.explain(value, None, result, label)) from result
