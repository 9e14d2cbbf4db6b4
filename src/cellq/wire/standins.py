"""What only one process can have, made anew in another where the new one is just as good.

In the names of a notebook cell there are things that no pickle carries though nothing of them would be lost: a lock
that nobody holds, a queue with three numbers in it, a file that `with` has closed, a connection to a database file. A
cell must find them as another left them. So for the names of cells (never for the arguments of a function call, where
a copied lock would hide a mistake) they are taken apart here and put together there.

What is in use is refused as ever: a held lock, an open file, a running thread, a generator that has been started, an
open transaction.
"""

from __future__ import annotations

import copyreg
import inspect
import io
import re
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

_MOST_SHARED = 64 << 20
"""Bytes of an array up to which it travels along with its views, where only these are wanted."""

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented


def reduce(thing: Any) -> Reduction:
    """How to make a thing anew; NotImplemented for all that is not of these kinds.

    Raises:
        InUse: it is of such a kind, but in use.
    """
    kind = type(thing)
    reducer = _BY_TYPE.get(kind)
    if reducer is None:
        reducer = _BY_NAME.get(f"{kind.__module__}.{kind.__qualname__}")
    if reducer is None and kind.__module__ in ("asyncio.locks", "asyncio.queues"):
        reducer = _asyncio
    if reducer is None and str(kind.__module__).startswith(("ipykernel.", "cellq.runner.")) and _is_shell(thing):
        reducer = _shell
    return NotImplemented if reducer is None else reducer(thing)


class InUse(TypeError):
    """It could be made anew, but is in use; the message says what it is."""


def _refuse(what: str) -> None:
    raise InUse(what)


# ----------------------------------------------------------------------------------------------- threading


def _lock(lock: Any) -> Reduction:
    if not lock.acquire(blocking=False):
        _refuse("a lock that is held")
    lock.release()
    return (threading.Lock if type(lock) is type(threading.Lock()) else threading.RLock), ()


def _condition(condition: Any) -> Reduction:
    return threading.Condition, (condition._lock,)


def _local(local: Any) -> Reduction:
    return local_of, (dict(vars(local)),)


def local_of(content: dict[str, Any]) -> threading.local:
    """A `threading.local` with the content that it had in the thread that sent it."""
    new = threading.local()
    vars(new).update(content)
    return new


def _thread(thread: Any) -> Reduction:
    if thread.is_alive() or sys.version_info >= (3, 13):
        _refuse("a thread")
    if not thread._started.is_set():
        return _new_thread, (thread._target, thread._args, thread._kwargs, thread.name, thread.daemon)
    return ended_thread, (thread.name, thread.daemon)


def _new_thread(target: Any, args: Any, kwargs: Any, name: str, daemon: bool) -> threading.Thread:
    return threading.Thread(target=target, args=args, kwargs=kwargs, name=name, daemon=daemon)


def ended_thread(name: str, daemon: bool) -> threading.Thread:
    """A thread that has run and ended."""
    new: Any = threading.Thread(name=name, daemon=daemon)
    new._started.set()
    new._is_stopped = True
    return new  # type: ignore[no-any-return]


def _executor(executor: Any) -> Reduction:
    if not getattr(executor, "_shutdown", getattr(executor, "_shutdown_thread", False)):
        _refuse("an executor that is not shut down")
    return ended_executor, (type(executor), executor._max_workers)


def ended_executor(kind: Any, workers: int) -> Any:
    """An executor that is shut down, as `with` leaves it."""
    new = kind(workers)
    new.shutdown()
    return new


def _done(thing: Any) -> Reduction:
    """What has ended is nothing but its attributes."""
    ended = thing.returncode is not None if hasattr(thing, "returncode") else thing.done()
    if not ended:
        _refuse("what is still running")
    return NotImplemented


def _asyncio(thing: Any) -> Reduction:
    state = dict(vars(thing))
    if any(state.get(name) for name in ("_waiters", "_getters", "_putters")):
        _refuse("what tasks are waiting for")
    return copyreg.__newobj__, (type(thing),), {**state, "_loop": None}  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------- generators


def _generator(generator: types.GeneratorType[Any, Any, Any]) -> Reduction:
    frame: Any = generator.gi_frame
    if frame is not None and inspect.getgeneratorstate(generator) != inspect.GEN_CREATED:
        _refuse("a generator that has been started")
    if frame is None:
        return iter, ((),)
    code, held = generator.gi_code, frame.f_locals
    cells = tuple(types.CellType(held[name]) if name in held else types.CellType() for name in code.co_freevars)
    function = types.FunctionType(code, frame.f_globals, generator.__name__, None, cells or None)
    function.__module__ = frame.f_globals.get("__name__", "__main__")
    names = code.co_varnames[: code.co_argcount]
    rest = code.co_varnames[code.co_argcount :]
    options = {name: held[name] for name in rest[: code.co_kwonlyargcount]}
    rest = rest[code.co_kwonlyargcount :]
    args = [held[name] for name in names]
    if code.co_flags & inspect.CO_VARARGS:
        args += held[rest[0]]
        rest = rest[1:]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        options |= held[rest[0]]
    return begun, (function, args, options, generator.__qualname__)


def begun(function: Any, args: list[Any], options: dict[str, Any], name: str) -> Any:
    """A generator that nobody has asked for a value yet."""
    new = function(*args, **options)
    new.__qualname__ = name
    return new


# ---------------------------------------------------------------------------------------- matches, files


def _match(match: re.Match[Any]) -> Reduction:
    return match_of, (match.re, match.string, match.pos, match.endpos, match.span())


def match_of(pattern: re.Pattern[Any], text: Any, pos: int, endpos: int, span: tuple[int, int]) -> re.Match[Any] | None:
    """The match of a pattern at a place in a text."""
    for found in (pattern.match(text, pos, endpos), pattern.fullmatch(text, pos, endpos)):
        if found is not None and found.span() == span:
            return found
    return next((found for found in pattern.finditer(text, pos, endpos) if found.span() == span), None)


class _Closed(io.RawIOBase):
    def __init__(self, name: Any, mode: str) -> None:
        self.name, self.mode = name, mode

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True


def _file(file: Any) -> Reduction:
    if file is sys.stdout or file is sys.stderr:
        return getattr, (sys, "stdout" if file is sys.stdout else "stderr")
    if not file.closed:
        raise TypeError(f"cannot pickle the open file {getattr(file, 'name', '')!r}")
    return closed_file, (type(file), getattr(file, "name", ""), getattr(file, "mode", "r"))


def closed_file(kind: Any, name: Any, mode: str) -> Any:
    """A file that is closed."""
    raw = _Closed(name, mode)
    new = kind(io.BufferedWriter(raw) if kind is io.TextIOWrapper else raw)
    if kind is io.TextIOWrapper:
        new.mode = mode
    new.close()
    return new


# -------------------------------------------------------------------------------------- views of arrays


def memory_of(array: Any) -> Any:
    """The array that owns the memory of this one: its base, or itself."""
    return array.base if type(array.base) is type(array) else array


def view(array: Any, whole: Any) -> Reduction:
    """How to make a NumPy array that shows part of `whole`: with that, so that they share memory again."""
    if not _is_solid(whole) or whole.dtype.hasobject or whole.nbytes > _MOST_SHARED:
        return NotImplemented
    return view_of, (whole, array.dtype, array.shape, array.strides, offset(array, whole))


def _is_solid(array: Any) -> bool:
    return bool(array.flags.c_contiguous or array.flags.f_contiguous)


def offset(array: Any, whole: Any) -> int:
    """Bytes from the start of one array to that of another in the same memory."""
    return int(array.__array_interface__["data"][0] - whole.__array_interface__["data"][0])


def view_of(whole: Any, kind: Any, shape: tuple[int, ...], strides: tuple[int, ...], start: int) -> Any:
    """An array that shows part of another one's memory."""
    memory = whole if whole.flags.c_contiguous else whole.T
    return sys.modules["numpy"].ndarray(shape, kind, buffer=memory, offset=start, strides=strides)


# ------------------------------------------------------------------------------------------------- SQLite


def _connection(connection: Any) -> Reduction:
    sqlite3 = sys.modules["sqlite3"]
    try:
        rows = connection.execute("PRAGMA database_list").fetchall()
    except sqlite3.ProgrammingError:
        return database, (None, None, None, None, None)
    if connection.in_transaction:
        _refuse("a connection with an open transaction: commit first")
    if len(rows) > 1:
        _refuse("a connection with attached databases")
    path = rows[0][2]
    content = None if path else connection.serialize()
    return database, (path, content, connection.isolation_level, connection.row_factory, connection.text_factory)


def database(path: str | None, content: bytes | None, isolation: Any, rows: Any, texts: Any) -> Any:
    """A connection to a database file, or to a copy of one in memory; without either, a closed one."""
    import sqlite3

    new = sqlite3.connect(path or ":memory:")
    if path is None:
        new.close()
        return new
    if content:
        new.deserialize(content)
    new.isolation_level, new.row_factory, new.text_factory = isolation, rows, texts
    return new


def _cursor(cursor: Any) -> Reduction:
    if cursor.description is not None:  # whether rows are left can only be learned by taking one
        _refuse("a cursor that may have rows to fetch")
    return cursor_of, (cursor.connection, cursor.arraysize, cursor.row_factory)


def cursor_of(connection: Any, size: int, rows: Any) -> Any:
    """A cursor that has nothing to fetch."""
    import sqlite3

    new = sqlite3.Cursor(connection)
    new.arraysize, new.row_factory = size, rows
    return new


# ------------------------------------------------------------------------------------------ the shell


def _is_shell(thing: Any) -> bool:
    module = sys.modules.get("IPython.core.getipython")
    return module is not None and module.get_ipython() is thing


def _shell(_: Any) -> Reduction:
    return this_shell, ()


def this_shell() -> Any:
    """The shell of this side."""
    from IPython.core.getipython import get_ipython

    return get_ipython()


_BY_TYPE: dict[type, Callable[[Any], Reduction]] = {
    type(threading.Lock()): _lock,
    type(threading.RLock()): _lock,
    threading.Condition: _condition,
    threading.local: _local,
    threading.Thread: _thread,
    types.GeneratorType: _generator,
    re.Match: _match,
    io.TextIOWrapper: _file,
    io.BufferedReader: _file,
    io.BufferedWriter: _file,
}
_BY_NAME: dict[str, Callable[[Any], Reduction]] = {
    "concurrent.futures._base.Future": _done,
    "subprocess.Popen": _done,
    "concurrent.futures.thread.ThreadPoolExecutor": _executor,
    "concurrent.futures.process.ProcessPoolExecutor": _executor,
    "sqlite3.Connection": _connection,
    "sqlite3.Cursor": _cursor,
}
