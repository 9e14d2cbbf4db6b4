"""What SQLite and the system say went wrong, in words for people."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cellq.errors import StoreUnavailable

_CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full. Free some space and try again; nothing was half written",
    sqlite3.SQLITE_READONLY: "it, or its folder, is read-only. Choose another place: cellq.Queue('sqlite:///…')",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that its folder exists and that you may write there",
    sqlite3.SQLITE_PERM: "you have no permission to use it",
    sqlite3.SQLITE_NOTADB: "it is not a cellq database. Choose another path, or move that file away",
    sqlite3.SQLITE_CORRUPT: "it is damaged. Move it away to start anew; `sqlite3 FILE .recover` may save its rows",
    sqlite3.SQLITE_BUSY: "another program keeps it locked. Close whatever has it open and try again",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked. Close whatever has it open and try again",
    sqlite3.SQLITE_IOERR: "the disk reported an error",
}


def unavailable(path: Path, error: BaseException) -> StoreUnavailable:
    """The error for whoever asked, with the database and the cause."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, TimeoutError):
        cause = f"{error}. Is one of them stopped?"
    elif isinstance(error, OSError):
        cause = error.strerror or str(error)
    else:
        cause = f"{_CAUSES.get(code & 0xFF, 'SQLite cannot use it')} ({error})" if code is not None else str(error)
    return StoreUnavailable(f"{path}: {cause}")
