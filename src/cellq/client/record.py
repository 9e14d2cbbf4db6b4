"""What this process knows of a job, and the reads that find out more. Handles come and go over the same record.

All coroutines here run on the portal's loop.

Results are read ahead: whoever fetches the results of many jobs one by one mostly does so in the order in which they
were enqueued. So each record knows (weakly) the one made after it, and a read takes along the next few. The window
doubles while all that is read has ended, and falls back to one job when something has not, or when results are large.
"""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cellq.client import verdict
from cellq.client.connection import Connection
from cellq.client.portal import vanish_at_exit
from cellq.client.reader import BLOBS
from cellq.client.watcher import until_ended
from cellq.errors import Expired, NotReady, StoreUnavailable
from cellq.ids import JobId, id_text, short_id
from cellq.message import Action, Changed, Heard, Kind, Row, State, Topic
from cellq.store.contract import Here

NOTHING: Final[Any] = object()  # None is a result

_AHEAD = 256  # jobs read ahead at most
_HEAVY = 2**20  # bytes of results in one read beyond which nothing is read ahead
_KEPT = 2**16  # a sealed result larger than this is dropped once it has been opened
_JUST_NOW = 0.002  # seconds
_SOON = 0.01  # seconds
_LISTEN = 10.0  # seconds after which a silent log is looked at again


class Record:
    """One job: where it is, and what was last seen of it.

    Attributes:
        label: what people call the job.
        row: as last read; None before.
        value: the opened result, `NOTHING` before. Kept, so that asking again gives the same object.
    """

    __slots__ = ("__weakref__", "_born", "_next", "connection", "id", "label", "row", "value")

    def __init__(self, connection: Connection, job_id: JobId, label: str, row: Row | None = None) -> None:
        self.connection = connection
        self.id = job_id
        self.label = label
        self.row = row
        self.value: Any = NOTHING
        self._next: weakref.ref[Record] | None = None
        self._born = 0.0  # when it was enqueued, if that was done by us

    @property
    def title(self) -> str:
        """How messages call the job."""
        return f"job {short_id(self.id)} ({self.label})"

    @property
    def ended(self) -> bool:
        """True when it is known to have ended."""
        return self.row is not None and self.row.state.ended

    @property
    def failed(self) -> bool:
        """True when it is known to have ended otherwise than completed."""
        return self.row is not None and self.row.state.ended and self.row.state is not State.COMPLETED

    @property
    def concluded(self) -> bool:
        """True when all that `value` or its exception need is here."""
        return self.value is not NOTHING or (
            self.row is not None and self.row.state.ended and verdict.complete(self.row)
        )

    def gone(self) -> Expired:
        """The error for a job that the store does not hold."""
        return Expired(
            f"job {id_text(self.id)} ({self.label}) is not in {self.connection.url}: it was pruned or deleted"
        )

    def forget(self) -> None:
        """Drop what was seen: the job starts anew."""
        self.row, self.value = None, NOTHING

    def see(self, row: Row) -> None:
        """Take note of a newly read row."""
        if self.row is not None and self.row.ended is not None:
            if self.row.ended == row.ended:
                return  # what we hold may have blobs, the new one may not
            self.value = NOTHING  # retried since: what we hold is the outcome of an earlier life
        self.row = row

    def open(self, row: Row, namespace: dict[str, Any] | None = None) -> Any:
        """The value behind an ended row, kept from now on. Runs in the caller's thread: it unpickles.

        Raises:
            CellqError: what tells why there is none.
        """
        failed = verdict.error(row, self.connection.seal)
        if failed is not None:
            raise failed
        self.value = verdict.value(row, self.connection.seal, namespace)
        if row.kind is not Kind.CELL and isinstance(row.result, bytes) and len(row.result) > _KEPT:
            self.row = dataclasses.replace(row, result=None)
        return self.value

    def outcome(self) -> Any:
        """What `result()` gives, of a job that has concluded: the value, or of a cell its last value.

        Raises:
            CellqError: what tells why there is none.
        """
        row = self.row
        assert row is not None
        whole = self.open(row) if self.value is NOTHING else self.value
        return whole.last_value() if row.kind is Kind.CELL else whole

    def salvage(self, row: Row) -> Any:
        """What a cell that failed had done before it failed; None when nothing of it was kept."""
        return None if row.result is None else verdict.value(row, self.connection.seal)

    # --------------------------------------------------------------------------------- on the portal's loop

    async def look(self) -> Row:
        """Read the row, without blobs.

        Raises:
            Expired: it was pruned or deleted.
        """
        row = (await self.connection.get([self.id]))[0]
        if row is None:
            raise self.gone()
        self.see(row)
        return row

    async def whole(self) -> Row:
        """Read the row with its blobs.

        Raises:
            Expired: it was pruned or deleted.
        """
        row = (await self.connection.get([self.id], BLOBS))[0]
        if row is None:
            raise self.gone()
        return row

    async def conclusion(self, timeout: float | None) -> Row:
        """Wait for the end and give the row with its blobs; note those of the jobs after it if they are there already.

        Raises:
            NotReady: it has not ended within `timeout` seconds.
            Expired: it was pruned or deleted.
        """
        connection = self.connection
        reader = await connection.reader()
        ahead = [self] if reader.busy else self._and_after(connection.window)
        mine: Row | None = self._note(ahead, await reader.rows([record.id for record in ahead]))
        if mine is None:
            raise self.gone()
        if not mine.state.ended:
            mine = None
            if timeout is None or timeout > 0:
                mine = await until_ended(await connection.watcher(), self.id, timeout)
            if mine is None:
                raise NotReady(f"{self.title} has not ended" + (f" within {timeout} s" if timeout else " yet"))
            if not verdict.complete(mine):
                mine = (await connection.get([self.id], BLOBS))[0]
                if mine is None or not mine.state.ended:
                    raise self.gone()
            self.row = mine
        return mine

    def conclusion_here(self, timeout: float | None) -> Row | None:
        """The same, waiting in the caller's own thread, where the store allows that; else None.

        Raises:
            NotReady, Expired: as `conclusion`.
        """
        store = self.connection.here()
        if store is None:
            return None
        try:
            return self._concluded_here(store, timeout)
        except StoreUnavailable:
            vanish_at_exit()
            raise

    def _concluded_here(self, store: Here, timeout: float | None) -> Row | None:
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        cursor = 0
        if time.monotonic() - self._born < _JUST_NOW:
            # It cannot have ended yet, and a look would only keep a worker from it.
            cursor = store.wait_here(
                Topic.ENDED, store.wait_here(Topic.ENDED, 0, 0), _SOON if timeout is None else min(_SOON, timeout)
            )
        row = self._look_here(store)
        while row is not None and not row.state.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotReady(f"{self.title} has not ended" + (f" within {timeout} s" if timeout else " yet"))
            # The first wait only gives a cursor; rows are looked at behind it.
            cursor = store.wait_here(Topic.ENDED, cursor, left)
            row = self._look_here(store)
        return row

    def _look_here(self, store: Here) -> Row | None:
        ahead = self._and_after(self.connection.window)
        rows = store.get_here([record.id for record in ahead], BLOBS)
        if rows is None:
            return None
        mine = self._note(ahead, rows)
        if mine is None:
            raise self.gone()
        return mine

    def _note(self, ahead: Sequence[Record], rows: Sequence[Row | None]) -> Row | None:
        """Take note of what was read; gives the first row. Decides how far ahead the next read looks."""
        weight, waiting = 0, 0
        for record, row in zip(ahead, rows, strict=True):
            if row is None or not row.state.ended:
                waiting += 1
            else:
                record.row = row
                weight += len(row.result) if isinstance(row.result, bytes) else 0
        window = self.connection.window
        self.connection.window = 1 if waiting or weight > _HEAVY else min(2 * window, _AHEAD)
        return rows[0]

    def _and_after(self, count: int) -> list[Record]:
        found, record = [self], self
        for _ in range(count - 1):
            after = record._next() if record._next is not None else None
            if after is None:
                break
            record = after
            if not record.concluded:
                found.append(record)
        return found

    async def listen(self, after: int, cursor: int, follow: bool) -> tuple[list[Heard], int, int]:
        """Events after a place in the log: the events, the next place, and the cursor for the next call (first 0).

        No events mean the end of the log; with `follow`, the end of a job that has ended.
        """
        store = await self.connection.ready()
        while True:
            row = await self.look()  # before the log: a job that has ended says nothing more
            tail = await store.tail(self.id, after)
            if tail.events or not follow or row.state.ended:
                return tail.events, tail.next, cursor
            # The first wait gives a cursor at once; the log is read again behind it.
            cursor = await store.wait(Topic.NEWS, cursor, _LISTEN if cursor else 0)

    async def dropped(self) -> int:
        """How many bytes the job said beyond the log's cap."""
        return (await (await self.connection.ready()).tail(self.id, 2**62, 1)).dropped

    async def glance(self, after: int, cursor: int, tick: float) -> tuple[Row, list[Heard], int, int]:
        """Wait until something may have changed, at most `tick` seconds: the row, new events, next place, cursor."""
        store = await self.connection.ready()
        cursor = await store.wait(Topic.NEWS, cursor, tick)
        row = await self.look()  # before the log: a job that has ended says nothing more
        tail = await store.tail(self.id, after)
        return row, tail.events, tail.next, cursor


def enqueued(connection: Connection, job_id: JobId, label: str) -> Record:
    """The record of a job just enqueued; the one enqueued before it learns of it."""
    record = Record(connection, job_id, label)
    record._born = time.monotonic()
    latest = connection.latest() if connection.latest is not None else None
    if latest is not None:
        latest._next = weakref.ref(record)
    connection.latest = weakref.ref(record)
    return record


async def change(connection: Connection, ids: Sequence[JobId], action: Action) -> list[Changed]:
    """Cancel, retry or delete; what happened to each."""
    return await (await connection.ready()).change(ids, action)


async def fetch(records: Iterable[Record]) -> None:
    """Read the blobs of those that are known to have ended but not with what.

    Raises:
        Expired: one of them was pruned or deleted.
    """
    for connection, some in by_connection(record for record in records if not record.concluded).items():
        for record, row in zip(some, await connection.get([record.id for record in some], BLOBS), strict=True):
            if row is None:
                raise record.gone()
            record.row = row


async def survey(records: Iterable[Record]) -> None:
    """Read the rows of those that are not known to have ended. (A deleted one stays as it was last seen.)"""
    for connection, some in by_connection(record for record in records if not record.ended).items():
        for record, row in zip(some, await connection.get([record.id for record in some]), strict=True):
            if row is not None:
                record.row = row


def by_connection(records: Iterable[Record]) -> dict[Connection, list[Record]]:
    """The records sorted by the connection they were made with."""
    sorted_: dict[Connection, list[Record]] = {}
    for record in records:
        sorted_.setdefault(record.connection, []).append(record)
    return sorted_
