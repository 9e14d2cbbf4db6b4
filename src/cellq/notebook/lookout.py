"""What a job that is shown waits for, as its card says it; and that somebody serves its queue.

     cards of jobs that wait ── look ──▶ their queue, every few seconds ──▶ Workforce: starts a worker, or says who may
                            └── waits ◀── as it was seen then

A queue is looked at once for all the cards that wait in it.
"""

from __future__ import annotations

import time

from cellq.client import waiting
from cellq.client.connection import Connection
from cellq.message import Counts, Row, State
from cellq.notebook.workforce import Address, Workforce


class Lookout:
    """Looks after the queues in which jobs wait that are shown.

    Args:
        workforce: of the notebook.
    """

    def __init__(self, workforce: Workforce) -> None:
        self._workforce = workforce
        self._seen: dict[Address, Counts] = {}

    async def look(self, connection: Connection, queue: str) -> list[str]:
        """Look at a queue in which jobs wait if it is time to, and see to it that somebody serves it.

        Returns:
            Lines about what was done.

        Raises:
            WorkerUnavailable: the worker that was started has died; with the tail of its log.
            StoreUnavailable: the store cannot be reached.
        """
        address = Address.of(connection, queue)
        if not self._workforce.due(address):
            return []
        counts = self._seen[address] = await (await connection.ready()).count()
        return self._workforce.tend(address, counts.workers)

    async def waits(self, connection: Connection, row: Row) -> str:
        """What a job waits for, as far as people can do something about it; "" when it only waits for its time."""
        address = Address.of(connection, row.queue)
        if row.state is not State.PENDING or address not in self._seen:
            return ""
        store = await connection.ready()
        around = await waiting.surroundings(store, connection.url, row, self._seen[address])
        return waiting.standstill(row, around, time.time()) or self._workforce.lacks(address)
