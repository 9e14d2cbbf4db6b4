"""Cards of jobs that have ended, asleep: until their job is run again, from wherever that was asked for.

     ended ──▶ lay ──▶ the bed of its store, a feed of that store's pump ── news ──▶ one read of all who sleep there
                                                      run again, perhaps ended again ──▶ wake(row)

Nothing is looked at while nothing happens in the store, and then all are looked at together, at most twice a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from cellq.client.connection import Connection
from cellq.ids import JobId
from cellq.message import Row
from cellq.notebook.boards.pump import Pump, Pumps

log = logging.getLogger("cellq.notebook")

MOST = 200
"""Cards that sleep at a time, by store; beyond that the one that fell asleep first sleeps for ever."""

Wake = Callable[[Row], None]
"""Called once with the job as it is now, on the portal's loop."""


class Sleepers:
    """The cards of one notebook that may come alive again.

    Args:
        pumps: of the notebook.
        connect: gives a connection that lives as long as the notebook, to the store behind a full URL.
    """

    def __init__(self, pumps: Pumps, connect: Callable[[str], Connection]) -> None:
        self._pumps = pumps
        self._connect = connect
        self._beds: dict[str, _Bed] = {}

    def lay(self, url: str, row: Row, wake: Wake) -> None:
        """Have a card woken when its job is run again. On the portal's loop.

        Args:
            url: full, of the store.
            row: the job, ended.
        """
        if url not in self._beds:
            try:
                connection = self._connect(url)
            except ValueError:  # a store that the user has made by hand, and only its maker can reach
                return
            self._beds[url] = _Bed(connection, self._pumps.of(connection))
        self._beds[url].lay(row, wake)

    def close(self) -> None:
        """Let all of them sleep."""
        for bed in self._beds.values():
            bed.clear()
        self._beds.clear()


class _Bed:
    """Those whose jobs are in one store."""

    tick = float("inf")

    def __init__(self, connection: Connection, pump: Pump) -> None:
        self._connection = connection
        self._pump = pump
        self._asleep: dict[JobId, tuple[int | None, list[Wake]]] = {}  # which ending they have seen

    def lay(self, row: Row, wake: Wake) -> None:
        ended, wakes = self._asleep.pop(row.id, (row.ended, []))
        self._asleep[row.id] = (row.ended, [*wakes, wake] if ended == row.ended else [wake])
        while len(self._asleep) > MOST:
            del self._asleep[next(iter(self._asleep))]
        self._pump.add(self)

    def clear(self) -> None:
        self._asleep.clear()
        self._pump.remove(self)

    async def look(self) -> bool:
        ids = list(self._asleep)
        for job_id, row in zip(ids, await self._connection.get(ids), strict=True):
            seen, wakes = self._asleep.get(job_id, (None, []))
            if row is None:  # deleted
                self._asleep.pop(job_id, None)
            elif row.ended != seen:
                self._asleep.pop(job_id, None)
                for wake in wakes:
                    wake(row)
        return bool(self._asleep)

    def lose(self, error: Exception) -> None:
        log.info("cards of ended jobs are not looked after: %s", error)  # until another one falls asleep
