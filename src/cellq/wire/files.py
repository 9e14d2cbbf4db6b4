"""A file that a cell leaves open, for the cell that goes on with it in another process.

A file on disk is there for both; only the hand that holds it is not. So the hand travels: how the file was opened, and
where in it the notebook is. Nothing of the content does.

    notebook                            slot                              notebook
    handle ── flush ──▶ path, mode, ──▶ opened again at 120, never cut    handle, the same object,
     at 120             position 120    short; the cell reads to 300 ──▶  is moved on to 300; the slot's
                                        flush, then closed                is closed

At home the object stays what it is, since a `with`, a list, or another name may hold it. What the one side has written
the other sees, because each flushes before it hands over. Pipes, sockets and terminals, files that are deleted, and a
file that a `for` loop is reading (Python cannot tell where it is) do not travel.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cellq.wire import rebuilding

Reduction = Any  # what __reduce_ex__ returns

KINDS: tuple[type, ...] = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)
"""What `open` gives."""

_NEWLINES = ("", "\n", "\r", "\r\n")


def reduce(file: Any) -> Reduction:
    """How to hold a file again, open at its place or closed; and what is built upon files (`NAMES`).

    Raises:
        OSError: it is open and cannot travel; the message says what it is.
    """
    if type(file) not in KINDS:
        return NAMES[f"{type(file).__module__}.{type(file).__qualname__}"](file)
    if any(file is stream for stream in (sys.stdout, sys.stderr)):
        return getattr, (sys, "stdout" if file is sys.stdout else "stderr")
    if file.closed:
        return closed, (type(file), getattr(file, "name", ""), _mode(file), _text(file))
    path, position = _place(file)
    return reopened, (path, position, type(file), file.name, _mode(file), _text(file))


def is_open(thing: object) -> bool:
    """Whether it is a file that a cell may leave open for another: not the streams of the process."""
    if type(thing) not in KINDS:
        return False
    try:
        raw = _raw(thing)
        return type(raw) is io.FileIO and not raw.closed and raw.closefd and isinstance(raw.name, str | bytes)
    except (AttributeError, ValueError):  # detached, or a wrapper around something else
        return False


def flush(things: Iterable[object]) -> None:
    """Write out what open files hold back: a slot ends without doing so."""
    for file in filter(is_open, things):
        with contextlib.suppress(OSError, ValueError):
            if file.writable():  # type: ignore[attr-defined]
                file.flush()  # type: ignore[attr-defined]


def close(things: Iterable[object]) -> None:
    """Close the files among these things that are open, once another process goes on with them."""
    for file in filter(is_open, things):
        with contextlib.suppress(OSError):
            file.close()  # type: ignore[attr-defined]


def move(own: Any, copy: Any) -> bool:
    """Bring a file to where its copy is, or close it if that is closed; the copy is of no more use, and closed.

    Returns:
        True.

    Raises:
        OSError, ValueError: it cannot go there; nothing has changed.
    """
    if copy.closed:
        own.close()
    elif not own.closed:  # if it is, somebody closed it meanwhile
        _go(own, copy.tell())
    copy.close()
    return True


# ------------------------------------------------------------------------------------------ taking apart


def _raw(file: Any) -> Any:
    """The `FileIO` below a file; whatever else is there when it is not one that `open` gives."""
    below = file.buffer if isinstance(file, io.TextIOWrapper) else file
    return getattr(below, "raw", below)


def _place(file: Any) -> tuple[str, Any]:
    """The absolute path of an open file and the position in it, with all written out."""
    called = f"an open file ({getattr(file, 'name', '')!r})"
    if not is_open(file):
        raise OSError(called)
    descriptor = os.fstat(file.fileno())
    if not stat.S_ISREG(descriptor.st_mode):
        raise OSError(f"{called} that is not on a disk")
    try:
        position = file.tell()  # before the flush, which makes a loop's file tell a wrong one
        file.flush()
        if "+" in _raw(file).mode:  # what it has read ahead may be written anew over there
            _go(file, position)
    except (OSError, ValueError) as error:
        raise OSError(f"{called} that a loop is reading or that cannot tell its position: {error}") from error
    for path in _paths(file):
        with contextlib.suppress(OSError, ValueError):
            if os.path.samestat(path.stat(), descriptor):
                return str(path), position
    raise OSError(f"{called} that is no longer found under its name")


def _paths(file: Any) -> Iterable[Path]:
    """Where it may be: its name can be relative to a directory that is no longer the current one."""
    yield Path(os.fsdecode(file.name)).absolute()
    with contextlib.suppress(OSError):
        yield Path(f"/proc/self/fd/{file.fileno()}").readlink()


def _mode(file: Any) -> tuple[str, str | None]:
    """The mode of the file below, and what a text file calls its own."""
    below = file if type(file) is not io.TextIOWrapper else None
    with contextlib.suppress(AttributeError, ValueError):
        below = _raw(file)
    mode = getattr(below, "mode", "rb")
    own = getattr(file, "mode", None) if isinstance(file, io.TextIOWrapper) else None
    return mode if isinstance(mode, str) else "rb", own


def _text(file: Any) -> dict[str, Any] | None:
    if not isinstance(file, io.TextIOWrapper):
        return None
    return {
        "encoding": file.encoding,
        "errors": file.errors,
        "newline": _newline(file),
        "line_buffering": file.line_buffering,
        "write_through": file.write_through,
    }


def _newline(file: io.TextIOWrapper) -> str | None:
    """The `newline` it was opened with, which only its referents tell: encoding, newline, text read ahead, errors."""
    for _ in range(2):
        texts = [part for part in gc.get_referents(file)[1:] if type(part) is str]
        if len(texts) != 3 or texts[1] not in _NEWLINES or file.closed:
            break
        if not file.readable() or not file.seekable():
            return texts[1]
        file.seek(file.tell())  # the text read ahead could be a mere line end: now there is none
    return texts[1] if len(texts) >= 3 and texts[1] in _NEWLINES else None


def _go(file: Any, position: int) -> None:
    """Go to a position and forget what was read ahead: a plain `seek` keeps it."""
    file.seek(0, os.SEEK_END)
    file.seek(position)


# ---------------------------------------------------------------------------------------- putting together


def reopened(path: str, position: Any, kind: type, name: Any, mode: tuple[str, str | None], text: Any) -> Any:
    """A file opened again as it was, at the same place in it.

    On the way home it arrives closed, with a warning, when it is not there: all else that comes is still good.

    Raises:
        OSError: it is not there.
    """
    try:
        new = _opened(path, kind, name, mode, text)
        new.seek(position)
    except OSError as error:
        loading = rebuilding.moment.loading
        if loading is None or not loading.homeward:
            raise
        warnings.warn(f"{name!r} came back closed: {error}", stacklevel=2)
        return closed(kind, name, mode, text)
    return new


def closed(kind: type, name: Any, mode: tuple[str, str | None], text: Any) -> Any:
    """A file that is closed."""
    new = _opened(os.devnull, kind, name, mode, text)
    new.close()
    return new


def _opened(path: str, kind: type, name: Any, mode: tuple[str, str | None], text: Any) -> Any:
    raw: Any = io.FileIO(path, mode[0], opener=_as_it_is)
    raw.name = name
    below = io.BufferedRandom if "+" in mode[0] else io.BufferedReader if "r" in mode[0] else io.BufferedWriter
    new: Any = raw if kind is io.FileIO else below(raw)
    if text is not None:
        new = io.TextIOWrapper(new, **text)
        if mode[1] is not None:
            new.mode = mode[1]
    return new


def _as_it_is(path: str, flags: int) -> int:
    """An opener that neither makes a file nor empties it."""
    return os.open(path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC))


# -------------------------------------------------------------------------------- what is built upon files


def _temporary(file: Any) -> Reduction:
    if not file.closed:  # whoever lets go of it first deletes it
        raise OSError(f"a temporary file ({file.name!r})")
    return closed_temporary, (file.file, file.name, getattr(file, "delete", None))


def closed_temporary(file: Any, name: str, delete: bool | None) -> Any:
    """A temporary file that is closed, and with that deleted if it was to be: what is left is its name."""
    import tempfile

    new = tempfile._TemporaryFileWrapper(file, name, delete=False)
    if delete is not None:
        new.delete = delete
    return new


def _archive(archive: Any) -> Reduction:
    if archive.fp is not None and archive.mode != "r":
        raise OSError("an archive that is being written")
    return NotImplemented


_DIALECT = ("delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace")


def _csv(thing: Any) -> Reduction:
    """A csv reader or writer, which `with open(...)` often leaves."""
    file = file_of_csv(thing)
    what = type(thing).__name__.lower()
    if file is None or not (file.closed or what == "writer"):
        raise OSError(f"a csv {what} that is in use")
    return (csv_writer, (file, _dialect(thing))) if what == "writer" else (csv_reader, (_dialect(thing),))


def file_of_csv(thing: Any) -> Any:
    """The file of a csv reader or writer, of which only its referents tell; None for another source of lines."""
    owners = (getattr(part, "__self__", part) for part in gc.get_referents(thing))
    return next((owner for owner in owners if isinstance(owner, io.IOBase)), None)


def _dialect(thing: Any) -> dict[str, Any]:
    return {part: getattr(thing.dialect, part) for part in _DIALECT}


def is_csv_writer(thing: object) -> bool:
    """Whether it is what `csv.writer` gives; there is no type to ask for."""
    kind = type(thing)
    return kind.__module__ == "_csv" and kind.__name__.lower() == "writer"


def csv_writer_to(writer: Any, file: Any) -> Any:
    """A csv writer like this one on another file."""
    return csv_writer(file, _dialect(writer))


def csv_writer(file: Any, dialect: dict[str, Any]) -> Any:
    """A csv writer on a file."""
    import csv

    return csv.writer(file, **dialect)


def csv_reader(dialect: dict[str, Any]) -> Any:
    """A csv reader that has nothing to read."""
    import csv

    return csv.reader((), **dialect)


NAMES: Mapping[str, Callable[[Any], Reduction]] = MappingProxyType(
    {
        "_csv.reader": _csv,
        "_csv.writer": _csv,
        "_csv.Reader": _csv,
        "_csv.Writer": _csv,
        "tempfile._TemporaryFileWrapper": _temporary,
        "zipfile.ZipFile": _archive,
    }
)
"""How to make a thing that is built upon files anew, by the name of its type."""
