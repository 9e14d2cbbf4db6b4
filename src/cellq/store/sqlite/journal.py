"""Single pushes are written ahead of the database, into a file that nobody else writes to.

A program that enqueues jobs one by one pays for each with a transaction: five pages, the lock that all writers share,
and a cache that the worker's own commits empty each time. An append to a file of one's own costs a twentieth of that.

    push ── append ──▶ <db>.pushed/<database>-<token> ──┐   whoever opens the next transaction, or looks,
    push ── append ──▶ <db>.pushed/<database>-<token> ──┴─▶ first moves what is new into rows, and notes how far
                                                            it came in the table `journal`, in that transaction

So nobody can tell the difference: every look and every transaction, in any process, begins by catching up, and rows and
place are committed together, hence each record becomes one row however often somebody crashes in between. A record is
there once `write` has returned, and survives the writer's death as a commit does (with durability "full" pushes take
the ordinary way). A torn record, of a writer that died within `write`, was never acknowledged and is dropped.

Records hold JSON and sealed bytes; nothing here is unpickled. A file belongs to one database: its name begins with that
one's identity, so that what is left of a database that was deleted does not turn up in the next one at its path. The
writer holds a lock on its file; whoever finds a file caught up with and its writer gone removes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import struct
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cellq.message import Kind, Message
from cellq.options import Options
from cellq.store.sqlite import conditions
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import Arrival, Turn

if sys.platform != "win32":
    import fcntl

LARGE = 64 * 2**10
"""Bytes from which on a payload, or code, takes the ordinary way."""

_HEAD = struct.Struct("<III")  # size of what follows, its CRC-32, size of the JSON it begins with
_SETTLED = 100_000_000  # nanoseconds; a folder changed more recently may change again without a new time stamp
_MOST = 8 * 2**20  # bytes; then a new file is begun
_SQL = statements("journal")


class Journal:
    """The journals of one database, as one handle reads them; and the one it writes.

    Args:
        folder: where they are; made with the first record.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, int] = {}  # how far the database has come, as far as we know
        self._reached: dict[str, int] = {}  # the same, once the transaction in progress is committed
        self._ahead: list[tuple[str, int]] = []
        # What is read stays open: each transaction looks at it, and to find a file by its path takes longer than that.
        self._reading = threading.Lock()
        self._files: dict[str, int] = {}
        self._listing = -1  # the folder
        self._stamp = -1
        self._database = ""
        self._writing = threading.Lock()
        self._file = -1
        self._size = 0

    # ------------------------------------------------------------------------------------------ writing

    def takes(self, message: Message, code: bytes) -> bool:
        """Whether this push can go ahead. One with a key cannot: it must be known at once who holds that.

        Nor can one with conditions: they are not in the records.
        """
        payload = message.payload
        return (
            message.options.key is None
            and not conditions.concern(message)
            and isinstance(payload, bytes)
            and len(payload) <= LARGE
            and len(code) <= LARGE
            and sys.platform != "win32"
        )

    def append(self, sql: sqlite3.Connection, message: Message, code: bytes, now: float) -> None:
        """Write one push ahead; it is safe when this returns.

        Raises:
            OSError: it could not be written, and was not.
        """
        options, payload = message.options, message.payload
        assert isinstance(payload, bytes)
        head = json.dumps(
            (
                now,
                message.id.hex(),
                message.kind,
                message.task,
                message.code.hex(),
                len(payload),
                message.runtime,
                message.origin,
                message.ctx,
                options.queue,
                options.name,
                options.priority,
                options.timeout,
                options.retries,
                options.backoff,
                options.delay,
                options.isolated,
            )
        ).encode()
        body = b"".join((head, payload, code))
        record = _HEAD.pack(len(body), zlib.crc32(body), len(head)) + body
        with self._writing:
            if self._file < 0 or self._size > _MOST:
                self._begin(sql)
            try:
                written = os.write(self._file, record)
            except OSError:
                written = 0
                raise
            finally:
                if written != len(record):  # a full disk: leave nothing half written for others to stumble over
                    os.ftruncate(self._file, self._size)
            if written != len(record):
                raise OSError("the disk is full")
            self._size += written

    def _begin(self, sql: sqlite3.Connection) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{self._identity(sql)}-{os.getpid()}-{secrets.token_hex(6)}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file, self._size = file, 0

    def close(self) -> None:
        """Let go of all files; once ours is caught up with, anyone may remove it."""
        with self._writing:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        with self._reading:
            self._let_go()

    # ------------------------------------------------------------------------------------------ reading

    def behind(self) -> bool:
        """Whether some journal is longer than what the database is known to hold of it."""
        self._ahead = [
            (name, size)
            for name, size in self._sizes()
            if size > self._places.get(name, 0) and name.startswith(self._database)
        ]
        return bool(self._ahead)

    def look_up(self, sql: sqlite3.Connection) -> None:
        """Learn from the database how far it has come; others may have caught up."""
        self._identity(sql)
        self._places.update(sql.execute(_SQL.places).fetchall())

    def catch_up(self, turn: Turn) -> list[Arrival]:
        """What the rows do not have, in the order of pushing; noted as what they have after this transaction."""
        if not self.behind():
            return []
        self._identity(turn.sql)
        arrivals: list[Arrival] = []
        for name, size in self._ahead:
            if not name.startswith(self._database):
                continue
            place = self._places.get(name, 0)
            found, reached = self._read(name, place, size)
            if reached > place and not self._moved(turn.sql, name, place, reached):
                self.look_up(turn.sql)  # somebody else has been here since we last looked
                place = self._places.get(name, 0)
                found, reached = self._read(name, place, size) if size > place else ([], place)
                if reached > place:
                    self._moved(turn.sql, name, place, reached)
            if size > place:
                arrivals += found
                # A torn end is passed over in our memory only; its writer, if alive, takes it back.
                self._reached[name] = reached if found else size
        arrivals.sort(key=_age)
        return arrivals

    @staticmethod
    def _moved(sql: sqlite3.Connection, name: str, place: int, reached: int) -> bool:
        """Note how far the database comes with this transaction; False, and nothing done, if it was not at `place`."""
        if place:
            return sql.execute(_SQL.move, (reached, name, place)).rowcount == 1
        return sql.execute(_SQL.begin, (name, reached)).rowcount == 1

    def committed(self) -> None:
        """What `catch_up` gave is in the database now."""
        self._places.update(self._reached)
        self._reached = {}

    def rolled_back(self) -> None:
        """What `catch_up` gave is not, and what `look_up` has found meanwhile may not be either."""
        self._reached = {}
        self._places = {}

    def remove_finished(self) -> None:
        """Remove the files whose writers are gone and of which the database holds everything."""
        for path in self._folder.iterdir() if self._folder.exists() else ():
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    foreign = not path.name.startswith(self._database)
                    if foreign or self._places.get(path.name, 0) >= os.fstat(file).st_size:
                        path.unlink()
                finally:
                    os.close(file)

    def forget_removed(self, turn: Turn) -> None:
        """Drop the places of files that are no more. (After the files, so that none is ever read twice.)"""
        there = {name for name, _ in self._sizes()}
        for name, _ in turn.sql.execute(_SQL.places).fetchall():
            if name not in there:
                turn.sql.execute(_SQL.forget, (name,))
                self._places.pop(name, None)

    def _identity(self, sql: sqlite3.Connection) -> str:
        if not self._database:
            (number,) = sql.execute(_SQL.identity).fetchone()
            self._database = f"{number:016x}"
        return self._database

    def _sizes(self) -> list[tuple[str, int]]:
        """The journals there are, and how long they are."""
        with self._reading:
            try:
                stamp = self._stand().st_mtime_ns
            except OSError:
                return []  # there is no folder; or, on Windows, no journals
            if stamp != self._stamp:
                self._list()
                self._stamp = stamp if time.time_ns() - stamp > _SETTLED else -1
            standing = [(name, os.fstat(file)) for name, file in self._files.items()]
        return [(name, found.st_size) for name, found in standing if found.st_nlink]

    def _stand(self) -> os.stat_result:
        """How the folder stands, open; anew if it was removed meanwhile."""
        if self._listing >= 0:
            found = os.fstat(self._listing)
            if found.st_nlink:
                return found
            self._let_go()
        self._listing = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        return os.fstat(self._listing)

    def _let_go(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        if self._listing >= 0:
            os.close(self._listing)
        self._listing = self._stamp = -1

    def _list(self) -> None:
        """Open what is new in the folder, close what is no more."""
        names = set(os.listdir(self._listing))  # noqa: PTH208 - of a descriptor
        for name in self._files.keys() - names:
            os.close(self._files.pop(name))
        for name in names - self._files.keys():
            with contextlib.suppress(FileNotFoundError):
                self._files[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._listing)

    def _read(self, name: str, place: int, end: int) -> tuple[list[Arrival], int]:
        """The whole records of a journal between two places, and the place behind them."""
        with self._reading:
            data = os.pread(self._files[name], end - place, place) if name in self._files else b""
        arrivals = []
        start = 0
        while start + _HEAD.size <= len(data):
            size, checksum, split = _HEAD.unpack_from(data, start)
            body = data[start + _HEAD.size : start + _HEAD.size + size]
            if len(body) < size or zlib.crc32(body) != checksum:
                break
            arrivals.append(_arrival(json.loads(body[:split]), body[split:]))
            start += _HEAD.size + size
        return arrivals, place + start


def _arrival(head: Sequence[Any], blobs: bytes) -> Arrival:
    now, job_id, kind, task, digest, size, runtime, origin, ctx, *options = head
    payload = blobs[:size]
    message = Message(
        id=bytes.fromhex(job_id),
        kind=Kind(kind),
        task=task,
        code=bytes.fromhex(digest),
        payload=payload,
        runtime=runtime,
        options=_options(*options),
        origin=origin,
        ctx=ctx,
    )
    return Arrival(now, message, payload, blobs[size:])


@lru_cache(maxsize=256)
def _options(
    queue: str,
    name: str,
    priority: int,
    timeout: float | None,
    retries: int,
    backoff: float,
    delay: float,
    isolated: bool,
) -> Options:
    """Jobs of one loop mostly have the same options, which need not be checked each time."""
    return Options(
        queue=queue,
        name=name,
        priority=priority,
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        delay=delay,
        isolated=isolated,
    )


def _age(arrival: Arrival) -> bytes:
    return arrival.message.id
