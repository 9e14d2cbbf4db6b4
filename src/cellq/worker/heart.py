"""Keeps a worker's leases alive, and learns which jobs it has lost or is asked to stop.

It beats three times per lease, so that one lost beat loses no job, and at once when the store rings for a stop.
User code cannot hold it up: that runs in other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from cellq.errors import StoreUnavailable
from cellq.message import Lease, Topic, WorkerInfo
from cellq.store.contract import Store

log = logging.getLogger("cellq.worker")


class Heart:
    """The beat of one worker.

    Args:
        store: what it beats to.
        introduce: gives the worker as it stands now.
        leases: gives the leases it holds now.
        on_lost, on_cancel: told of each lease that is lost, or whose job is to be stopped; may be told repeatedly.
    """

    def __init__(
        self,
        store: Store,
        *,
        introduce: Callable[[], WorkerInfo],
        leases: Callable[[], Sequence[Lease]],
        on_lost: Callable[[Lease], None],
        on_cancel: Callable[[Lease], None],
    ) -> None:
        self._store = store
        self._introduce = introduce
        self._leases = leases
        self._on_lost = on_lost
        self._on_cancel = on_cancel

    async def beat(self) -> None:
        """Beat once.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        answer = await self._store.beat(self._introduce(), self._leases())
        for lease in answer.lost:
            self._on_lost(lease)
        for lease in answer.cancel:
            self._on_cancel(lease)

    async def run(self) -> None:
        """Beat until cancelled."""
        cursor = 0
        while True:
            every = self._introduce().lease / 3
            try:
                cursor = await self._store.wait(Topic.STOP, cursor, every)
                await self.beat()
            except StoreUnavailable as error:
                log.error("%s; the worker goes on and beats again", error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.sleep(min(every, 1.0))
