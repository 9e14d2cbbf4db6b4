"""When a worker claims: whenever there may be something to claim, and somewhere to put it.

    the store rings ──────────────┐
    a delayed job is due ─────────┼─▶ there may be more ──┐
    the last claim was filled ────┘                       ├─▶ claim ─▶ backlog ─▶ slots
    a slot has done a job ──────────▶ there is room ──────┘

A lane whose claim gave less than was asked for has no more, until somebody says otherwise. When a claim gave several
jobs, jobs stream in, and the next one waits a little: each transaction of ours stands in the way of those who push.
Single jobs, one after the other, are claimed at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from cellq.errors import StoreUnavailable
from cellq.message import Claim, Lane, Topic, lane_of
from cellq.settings import RUNTIME
from cellq.store.contract import Store
from cellq.timetable import QUEUE
from cellq.worker.backlog import Backlog
from cellq.worker.funnel import STREAM_PACE

log = logging.getLogger("cellq.worker")

_LOOK_AGAIN = 1.0
"""Seconds after which an idle worker looks for jobs of workers that died: nobody rings for those."""

_jitter = random.Random()  # a worker may run in a notebook's process (`testing`, `with Worker`)

_MOST_PER_CLAIM = 512


class Claimer:
    """Claims for one worker. Two tasks: `listen` claims when the store rings, `run` in all other cases.

    Args:
        worker: its id.
        queues: it serves these, and the schedules of the store.
        backlog: where claims go.
        admit: takes what was claimed, and gives what is to be placed.
    """

    def __init__(
        self,
        store: Store,
        worker: bytes,
        queues: Sequence[str],
        backlog: Backlog,
        admit: Callable[[list[Claim]], list[Claim]],
    ) -> None:
        self._store = store
        self._worker = worker
        self._queues = (*queues, QUEUE)
        self._backlog = backlog
        self._admit = admit
        self._more = set(backlog.lanes)  # those in which there may be something to claim
        self._next_due: float | None = None
        self._schedules = True  # whether to claim for their sake alone
        self._earliest = 0.0  # when the next claim may be made, on the monotonic clock
        self._claiming = asyncio.Lock()
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()

    def freed(self) -> None:
        """There may be room again."""
        if self._more or self._backlog:
            self._wake.set()  # else nobody waits for room

    async def run(self) -> None:
        """Claim when there is room again, when a delayed job is due, and to see what dead workers held."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            async with self._claiming:
                await self._claim()
            due = _LOOK_AGAIN if self._next_due is None else max(0.0, self._next_due - time.time())
            timer = loop.call_later(min(due, _LOOK_AGAIN), self._look_again)
            await self._wake.wait()
            timer.cancel()

    async def listen(self) -> None:
        """Claim when the store rings."""
        cursor = 0
        while True:
            cursor = await self._store.wait(Topic.WORK, cursor, None)
            self._more.update(self._backlog.lanes)
            self._looked.clear()
            if self._claiming.locked():
                self._wake.set()
            else:
                async with self._claiming:  # here and now: to wake the other task takes another turn of the loop
                    await self._claim()
                if self._next_due is not None:
                    self._wake.set()  # its timer may be too late
            # Until somebody looks, further rings tell nothing new; a busy worker must not be woken by each.
            await self._looked.wait()

    def _look_again(self) -> None:
        self._more.update(self._backlog.lanes)
        self._schedules = True
        self._wake.set()

    async def _claim(self) -> None:
        """Claim until no lane has both room and, as far as is known, more."""
        while True:
            if self._backlog:
                self._backlog.place()
            if not self._more:
                return
            room = {lane: min(free, _MOST_PER_CLAIM) for lane, free in self._backlog.room().items()}
            # All that have room, also those that had no more: in a stream nobody else says what has come due there.
            asked = {lane: free for lane, free in room.items() if free > 0}
            if self._more.isdisjoint(asked) or (not self._schedules and asked.keys() == {Lane.SCHEDULES}):
                return  # a full worker does not look for schedules each time that somebody pushes a job
            self._schedules = False
            if (early := self._earliest - time.monotonic()) > 0:
                await asyncio.sleep(early)
            # Whoever rings from here on is heard. A lane that is not asked for may have more all the same.
            self._more.difference_update(asked)
            self._looked.set()
            try:
                claims, self._next_due = await self._store.claim(self._worker, self._queues, asked, RUNTIME)
            except StoreUnavailable as error:
                log.error("%s; trying again", error)
                self._more.update(self._backlog.lanes)
                await asyncio.sleep(_LOOK_AGAIN * _jitter.uniform(0.5, 1.0))
                continue
            if not claims:
                return
            self._backlog.add(self._admit(claims))
            given = Counter(lane_of(claim.kind) for claim in claims)
            filled = {lane for lane, most in asked.items() if given[lane] == most}
            self._more |= filled
            self._earliest = time.monotonic() + STREAM_PACE if len(claims) > 1 and not filled else 0.0
