"""The gate before a write transaction: one writer of one database at a time, without starving anyone.

SQLite's own busy handler sleeps longer and longer while whoever just committed comes back at once: one of two busy
workers got 3 % of the jobs and waited up to 1.3 s. An advisory lock on a file beside the database, asked for without
blocking and with short random pauses, shares fairly and bounds the worst wait to some tens of milliseconds:

    flock <db>.lock  ── busy? sleep 0.05 … 0.2 ms, rising to 5 ms ─┐
        │     ▲────────────────────────────────────────────────────┘
        ▼
    BEGIN IMMEDIATE      (busy_timeout is for strangers: the sqlite3 shell, a backup)

The lock belongs to the open file, so several connections of one process keep out of each other's way, too. Where there
is no flock (Windows), the same random pauses around BEGIN IMMEDIATE do nearly as well.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_SPIN = 0.0002
_jitter = random.Random()  # not the process's own generator: in a notebook that one is the user's
_SHORTEST = 0.00005
_FIRST = 0.0002
_LONGEST = 0.005
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Gate:
    """The write lock of one connection. Used on that connection's thread only.

    Args:
        path: the lock file, made when missing.
        patience: seconds to wait for other writers before giving up.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self._patience = patience
        self._file = -1
        if sys.platform != "win32":
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def begin(self, sql: sqlite3.Connection) -> None:
        """Open a write transaction on `sql`.

        Raises:
            sqlite3.OperationalError: with SQLITE_BUSY, when no turn came in time.
        """
        self.enter()
        try:
            self._begin(sql)
        except BaseException:
            self.leave()
            raise

    def begin_at_once(self, sql: sqlite3.Connection) -> bool:
        """The same if nobody is in the way; False, and nothing done, when somebody is.

        Raises:
            sqlite3.OperationalError: a stranger (no cellq) keeps the database locked.
        """
        if sys.platform == "win32":
            return False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            sql.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.leave()
            raise
        return True

    def enter(self) -> None:
        """Wait for the lock on the file (where there are such locks)."""
        if sys.platform != "win32":
            began = time.monotonic()
            pause = _FIRST
            while True:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    waited = time.monotonic() - began
                    if waited > self._patience:
                        raise TimeoutError(f"other cellq processes kept it locked for {self._patience:g} s") from None
                if waited < _SPIN:
                    time.sleep(0)  # a small transaction is over sooner than a sleep
                else:
                    pause = _sleep(pause)

    def leave(self) -> None:
        """Let the next one in."""
        if sys.platform != "win32":
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def count(self) -> int:
        """How often `bump` was called, by anyone; -1 where that is not known. Costs one system call."""
        return os.fstat(self._file).st_size if self._file >= 0 else -1

    def bump(self) -> None:
        """Count one more; only while the gate is held. (The lock file holds nothing: its size is the counter.)"""
        if self._file >= 0:
            os.ftruncate(self._file, os.fstat(self._file).st_size + 1)

    def close(self) -> None:
        """Let go of the lock file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin(self, sql: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._patience
        pause = _FIRST
        while True:
            try:
                sql.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                    raise
            pause = _sleep(pause)


def _sleep(pause: float) -> float:
    time.sleep(_jitter.uniform(_SHORTEST, pause))
    return min(pause * 1.3, _LONGEST)
