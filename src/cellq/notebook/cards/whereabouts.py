"""Which machine and process a worker is: what a card says of it."""

from __future__ import annotations

from cellq.client.queue import AsyncQueue
from cellq.ids import short_id


class Whereabouts:
    """Where workers are, by their ids. A store is asked when one comes up that is not known yet."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    async def of(self, worker: bytes, queue: AsyncQueue) -> str:
        """What people call a worker: its machine and its process.

        Args:
            queue: any of its store.

        Raises:
            StoreUnavailable: the store is out of reach.
        """
        if worker not in self._known:
            for one in await queue.workers():
                self._known[one.id] = f"{one.host} · process {one.pid}"
            self._known.setdefault(worker, f"worker {short_id(worker)}")  # it is gone already
        return self._known[worker]
