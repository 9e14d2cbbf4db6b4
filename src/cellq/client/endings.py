"""The endings of many jobs, as they happen: what `wait`, `as_completed` and `results` are made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION

from cellq.client.record import Record, by_connection, fetch
from cellq.errors import CellqError
from cellq.ids import JobId
from cellq.message import Row

_CHUNK = 500  # records given at once, when their results are read as well


def deadline_after(timeout: float | None) -> float | None:
    """The monotonic time `timeout` seconds from now."""
    return None if timeout is None else time.monotonic() + timeout


class Endings:
    """Lives on the portal's loop: `enter` it, `take` what has come until there is nothing left, `leave` it always."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._fresh: list[Record] = []
        self._open: dict[JobId, list[Record]] = {}
        for record in records:
            if record.ended:
                self._fresh.append(record)
            else:
                self._open.setdefault(record.id, []).append(record)
        self._arrived = asyncio.Event()
        self._error: CellqError | None = None

    async def enter(self) -> None:
        """Start watching, with one look at them all: a deadline of now still finds what has ended by now."""
        for connection, records in by_connection(records[0] for records in self._open.values()).items():
            await (await connection.watcher()).watch([record.id for record in records], self._tell)

    async def leave(self) -> None:
        """Stop watching, whatever has come so far."""
        for connection, records in by_connection(records[0] for records in self._open.values()).items():
            (await connection.watcher()).unwatch([record.id for record in records], self._tell)

    def _tell(self, job_id: JobId, what: Row | CellqError) -> None:
        records = self._open.pop(job_id, [])
        if isinstance(what, CellqError):
            self._error = what
        else:
            for record in records:
                record.row = what
            self._fresh += records
        self._arrived.set()

    async def take(self, deadline: float | None, *, results: bool = False) -> list[Record]:
        """Those that ended since the last call, at least one; empty when all were given, or at the deadline.

        Args:
            deadline: as `deadline_after` gives it.
            results: read their results as well; gives a limited number at once.

        Raises:
            Expired, StoreUnavailable: what became of one of them will never be known.
        """
        if not self._fresh and self._open and self._error is None:
            self._arrived.clear()
            try:
                async with asyncio.timeout(None if deadline is None else max(deadline - time.monotonic(), 0)):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        count = _CHUNK if results else len(self._fresh)
        fresh, self._fresh = self._fresh[:count], self._fresh[count:]
        if not fresh and self._error is not None:
            raise self._error
        if results:
            await fetch(fresh)
        return fresh


async def until(records: Iterable[Record], timeout: float | None, return_when: str = ALL_COMPLETED) -> None:
    """Wait until all of them, the first, or the first that did not complete has ended; at most `timeout` seconds."""
    endings, deadline = Endings(records), deadline_after(timeout)
    try:
        await endings.enter()
        while ended := await endings.take(deadline):
            if return_when == FIRST_COMPLETED:
                return
            if return_when == FIRST_EXCEPTION and any(record.failed for record in ended):
                return
    finally:
        await endings.leave()
