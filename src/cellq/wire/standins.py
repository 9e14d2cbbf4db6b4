"""What only one process can have, made anew in another where the new one is just as good.

In the names of a notebook cell there are things that no pickle carries though nothing of them would be lost: a lock
that nobody holds, a queue with three numbers in it, a file on disk (see `files`), a connection to a database file. A
cell must find them as another left them. So for the names of cells (never for the arguments of a function call, where
a copied lock would hide a mistake) they are taken apart here and put together there.

What is in use is refused as ever: a held lock, an open pipe, a running thread, a generator that has been started, an
open transaction.
"""

from __future__ import annotations

import contextlib
import copyreg
import gc
import re
import sys
import threading
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cellq import here
from cellq.wire import files, generators, mending, mocks

_MOST_SHARED = 64 << 20
"""Bytes of an array up to which it travels along with its views, where only these are wanted."""

Reduction = Any  # what __reduce_ex__ returns, or NotImplemented


def reduce(thing: Any) -> Reduction:
    """How to make a thing anew; NotImplemented for all that is not of these kinds.

    Raises:
        InUse: it is of such a kind, but in use.
    """
    kind = type(thing)
    reducer = _BY_TYPE.get(kind) or _of_type(kind)
    numpy = sys.modules.get("numpy")
    if reducer is None and numpy is not None and issubclass(kind, numpy.ndarray) and getattr(thing, "__dict__", None):
        reducer = mending.subarray
    return NotImplemented if reducer is None else reducer(thing)


def _of_type(kind: type) -> Callable[[Any], Reduction] | None:
    """What knows instances of a type by its name, or by the library that it is of."""
    home = str(kind.__module__)
    reducer = _BY_NAME.get(f"{home}.{kind.__qualname__}")
    if reducer is None and home.startswith(_LIBRARIES):
        return next(reducer for start, reducer in _BY_LIBRARY.items() if home.startswith(start))
    return reducer


class InUse(TypeError):
    """It could be made anew, but is in use; the message says what it is."""


def _refuse(what: str) -> None:
    raise InUse(what)


def _weak(reference: Any) -> Reduction:
    if reference.__callback__ is not None:
        _refuse("a weak reference that calls back")
    target = reference()
    return (dead, ()) if target is None else (weakref.ref, (target,))


def dead() -> Any:
    """A weak reference to what is gone."""
    return weakref.ref(type("Gone", (), {})())


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
    if getattr(executor, "_shutdown", getattr(executor, "_shutdown_thread", False)):
        return ended_executor, (type(executor), executor._max_workers)
    idle = getattr(executor, "_idle_semaphore", None)
    if type(executor).__name__ != "ThreadPoolExecutor" or not executor._work_queue.empty():
        _refuse("an executor that is not shut down")
    if idle is None or idle._value < len(executor._threads):
        _refuse("an executor that is at work")
    options = (executor._max_workers, executor._thread_name_prefix, executor._initializer, executor._initargs)
    return type(executor), options


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


def _task(task: Any) -> Reduction:
    if not task.done() or task.cancelled():
        _refuse("a task that has not ended" if not task.done() else "a task that was cancelled")
    error = task.exception()
    result = None if error is not None else task.result()
    return ended_task, (result, error, task.get_name(), getattr(task.get_coro(), "__qualname__", ""))


def ended_task(result: Any, error: BaseException | None, name: str, coroutine: str) -> Any:
    """An asyncio task that has ended with a result or an error; whoever awaits it gets that at once."""
    import asyncio

    async def end() -> Any:
        if error is not None:
            raise error
        return result

    async def run() -> None:
        task = asyncio.get_running_loop().create_task(end(), name=name)
        await asyncio.wait([task])
        task.exception()  # now nobody is told that it was never asked for
        made.append(task)

    end.__name__, end.__qualname__ = coroutine.rpartition(".")[2], coroutine
    made: list[Any] = []
    thread = threading.Thread(target=lambda: asyncio.run(run()))  # here a loop may be running
    thread.start()
    thread.join()
    return made[0]


def _loop(loop: Any) -> Reduction:
    if not hasattr(loop, "run_until_complete"):
        return NotImplemented
    if loop.is_closed():
        return closed_loop, ()
    if loop is not here.loop():
        _refuse("an event loop")
    return here.loop, ()


def closed_loop() -> Any:
    """An event loop that is closed."""
    import asyncio

    new = asyncio.new_event_loop()
    new.close()
    return new


# ---------------------------------------------------------------------------- generators, matches, files


def _generator(generator: types.GeneratorType[Any, Any, Any]) -> Reduction:
    made = generators.reduce(generator)
    if made is None:
        _refuse("a generator that has been started")
    return made


def _match(match: re.Match[Any]) -> Reduction:
    return match_of, (match.re, match.string, match.pos, match.endpos, match.span())


def match_of(pattern: re.Pattern[Any], text: Any, pos: int, endpos: int, span: tuple[int, int]) -> re.Match[Any] | None:
    """The match of a pattern at a place in a text."""
    for found in (pattern.match(text, pos, endpos), pattern.fullmatch(text, pos, endpos)):
        if found is not None and found.span() == span:
            return found
    return next((found for found in pattern.finditer(text, pos, endpos) if found.span() == span), None)


def _file(file: Any) -> Reduction:
    try:
        return files.reduce(file)
    except OSError as error:
        raise InUse(str(error)) from error


# ------------------------------------------------------------------------------------------------- views


def _dict_view(view: Any) -> Reduction:
    mapping = viewed(view)
    if "__builtins__" in mapping:  # the namespace of a module
        return NotImplemented
    return view_of_dict, (mapping, type(view).__name__)


def viewed(view: Any) -> dict[Any, Any]:
    """The dict that a view or a proxy shows; a view's `mapping` is only such a proxy."""
    found: dict[Any, Any] = gc.get_referents(view)[0]
    return found


def _proxy(proxy: Any) -> Reduction:
    if proxy is getattr(sys.modules.get("dataclasses"), "_EMPTY_METADATA", None):
        return getattr, (sys.modules["dataclasses"], "_EMPTY_METADATA")
    mapping = viewed(proxy)  # `dict(proxy)` would be another one, which does not change with the first
    return (types.MappingProxyType, (mapping,)) if isinstance(mapping, dict) else NotImplemented


def view_of_dict(mapping: Any, kind: str) -> Any:
    """`mapping.keys()`, `.values()` or `.items()`, by the name of the type."""
    return getattr(mapping, kind.removeprefix("dict_"))()


DICT_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


def memory_of(array: Any) -> Any:
    """The array that owns the memory of this one: its base, or itself."""
    return array.base if type(array.base) is type(array) else array


def view(array: Any, whole: Any) -> Reduction:
    """How to make a NumPy array that shows part of `whole`: with that, so that they share memory again."""
    if not _is_solid(whole) or whole.dtype.hasobject or whole.nbytes > _MOST_SHARED:
        return NotImplemented
    return view_of, (whole, array.dtype, array.shape, array.strides, offset(array, whole))


def base_of(thing: Any) -> Any:
    """The array whose memory another one shows; None for all that is not an array."""
    numpy = sys.modules.get("numpy")
    return thing.base if numpy is not None and issubclass(type(thing), numpy.ndarray) else None


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
    path = rows[0][2] if Path(rows[0][2]).is_absolute() else ""  # SQLite calls what was deserialized "x"
    content = None if path else _serialized(connection)
    return database, (path, content, connection.isolation_level, connection.row_factory, connection.text_factory)


def _serialized(connection: Any) -> bytes:
    empty = connection.execute("PRAGMA page_count").fetchall()[0][0] == 0
    return b"" if empty else connection.serialize()  # which fails for one without a table


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


def same_database(own: Any, other: Any) -> bool:
    """Whether two connections lead to one database; one in memory takes the content of the other."""
    path, theirs = (each.execute("PRAGMA database_list").fetchall()[0][2] for each in (own, other))
    if any(Path(each).is_absolute() for each in (path, theirs)):
        return bool(path == theirs)
    content = _serialized(other)
    if content != _serialized(own):
        own.deserialize(content)
    return True


def _row(row: Any) -> Reduction:
    return row_of, (tuple(row.keys()), tuple(row))


def row_of(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """A row of a query: its names are those that a cursor tells."""
    import sqlite3

    columns = ", ".join('NULL AS "{}"'.format(name.replace('"', '""')) for name in names)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return sqlite3.Row(connection.execute(f"SELECT {columns}"), values)


def _engine(engine: Any) -> Reduction:
    if engine.pool.checkedout() or str(engine.url.database) in ("None", "", ":memory:"):
        _refuse("an engine that is connected, or whose database is in memory")
    return engine_of, (engine.url, engine.echo)


def engine_of(url: Any, echo: Any) -> Any:
    """An engine of SQLAlchemy for a database: it connects when it is used."""
    import sqlalchemy  # type: ignore[import-not-found, unused-ignore]

    return sqlalchemy.create_engine(url, echo=echo)


def _cursor(cursor: Any) -> Reduction:
    # It lets go of its statement when it has given the last row.
    asked = any(type(part).__name__ == "Statement" for part in gc.get_referents(cursor))
    if asked and cursor.description is not None:
        _refuse("a cursor that has rows to fetch")
    return cursor_of, (cursor.connection, cursor.arraysize, cursor.row_factory)


def cursor_of(connection: Any, size: int, rows: Any) -> Any:
    """A cursor that has nothing to fetch."""
    import sqlite3

    new = sqlite3.Cursor(connection)
    new.arraysize, new.row_factory = size, rows
    return new


# ------------------------------------------------------------------------------------------ the shell


def _shell(thing: Any) -> Reduction:
    shell = here.shell()
    if shell is None:
        return NotImplemented
    if thing is shell:
        return here.shell, ()
    return (getattr, (shell, "displayhook")) if thing is shell.displayhook else NotImplemented


def _nditer(walk: Any) -> Reduction:
    if not walk.finished:
        _refuse("an nditer that has not ended")
    return ended_nditer, (walk.operands, ["multi_index"] if walk.has_multi_index else [])


def ended_nditer(operands: Any, flags: list[str]) -> Any:
    """An iteration over arrays that has come to its end."""
    new = sys.modules["numpy"].nditer(operands, flags)
    while new.iternext():
        pass
    return new


_BY_TYPE: dict[type, Callable[[Any], Reduction]] = {
    type(threading.Lock()): _lock,
    type(threading.RLock()): _lock,
    threading.Condition: _condition,
    threading.local: _local,
    threading.Thread: _thread,
    weakref.ReferenceType: _weak,
    types.GeneratorType: _generator,
    types.MappingProxyType: _proxy,
    re.Match: _match,
    **dict.fromkeys(files.KINDS, _file),
    **dict.fromkeys(DICT_VIEWS, _dict_view),
}
_BY_NAME: dict[str, Callable[[Any], Reduction]] = {
    "concurrent.futures._base.Future": _done,
    "subprocess.Popen": _done,
    "concurrent.futures.thread.ThreadPoolExecutor": _executor,
    "concurrent.futures.process.ProcessPoolExecutor": _executor,
    "sqlite3.Connection": _connection,
    "sqlite3.Cursor": _cursor,
    "sqlite3.Row": _row,
    "sqlalchemy.engine.base.Engine": _engine,
    "_asyncio.Task": _task,
    "numpy.nditer": _nditer,
    **dict.fromkeys(files.NAMES, _file),
    **mending.BY_NAME,
}
_BY_LIBRARY: dict[str, Callable[[Any], Reduction]] = {
    "asyncio.locks": _asyncio,
    "asyncio.queues": _asyncio,
    "asyncio.": _loop,
    "ipykernel.": _shell,
    "cellq.runner.": _shell,
    "IPython.core.formatters": mending.formatter,
    "ipywidgets.": mending.widget,
    "patsy.": mending.patsy,
    "plotly.": mending.plotly,
    "unittest.mock": mocks.reduce,
}
"""By how the names of their modules start; the first that fits."""
_LIBRARIES = tuple(_BY_LIBRARY)
