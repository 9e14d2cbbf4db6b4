"""Schedules at work (what one is, and why its calls are there once: see `timetable`).

    claim ─▶ the instant, by the schedule's rules ─▶ push its call ─▶ report how far it is ─▶ finish: again at the next

Every step may be repeated by somebody else. No slot is involved, and nothing is unpickled.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Sequence

import psutil

from cellq import cron
from cellq.errors import StoreUnavailable
from cellq.ids import JobId, new_id
from cellq.message import Blob, Claim, Ending, Event, Kind, Lane, Lease, Message, Outcome, Spill, WorkerInfo
from cellq.settings import RUNTIME
from cellq.store.contract import Store
from cellq.timetable import QUEUE, Progress, Timetable
from cellq.worker.backlog import Backlog
from cellq.worker.claiming import Claimer
from cellq.worker.heart import Heart

log = logging.getLogger("cellq.worker")

Reseal = Callable[[Blob, JobId, JobId, bytes], Blob]
"""Signs a schedule's sealed arguments for a call. Takes them, the root, the id of the call, the digest of the code."""

_TROUBLE = 60.0
"""Seconds after which a schedule that cannot be ticked is looked at again: another worker may be able to."""

_PAUSE_FIRST, _PAUSE_MOST = 0.05, 5.0
_jitter = random.Random()


class Ticker:
    """Sees claimed schedules through.

    Args:
        reseal: signs the arguments of each call.
        clock: gives the time in epoch seconds.
    """

    def __init__(self, store: Store, reseal: Reseal, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._reseal = reseal
        self._clock = clock
        self._running: dict[asyncio.Task[None], list[Claim]] = {}

    def take(self, claims: list[Claim]) -> list[Claim]:
        """Begin to tick the schedules among these; gives the others."""
        mine = [claim for claim in claims if claim.kind is Kind.SCHEDULE]
        if not mine:
            return claims
        task = asyncio.create_task(self._keep_trying(mine), name="tick")
        self._running[task] = mine
        task.add_done_callback(self._running.pop)
        return [claim for claim in claims if claim.kind is not Kind.SCHEDULE]

    def leases(self) -> list[Lease]:
        """What is being ticked."""
        return [claim.lease for claims in self._running.values() for claim in claims]

    async def close(self, patience: float) -> None:
        """Wait for what is being ticked, at most so many seconds; what is left, another worker does again."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=patience)
            for task in late:
                task.cancel()

    async def _keep_trying(self, claims: list[Claim]) -> None:
        pause = _PAUSE_FIRST
        while True:
            try:
                await self.tick(claims)
                return
            except StoreUnavailable as error:
                log.error("%s; %d schedules are ticked later", error, len(claims))
                await asyncio.sleep(pause * _jitter.uniform(0.5, 1.0))
                pause = min(pause * 2, _PAUSE_MOST)

    async def tick(self, claims: Sequence[Claim]) -> None:
        """Enqueue what is due of these schedules, and let them wait for their next instants.

        Raises:
            StoreUnavailable: part of it may be done; to do all of it again is harmless.
        """
        ticks = [await self._prepare(claim) for claim in claims]
        calls = [tick.call for tick in ticks if tick.call is not None]
        if calls:
            await self._store.push(calls, {})  # their code is there: the schedules refer to it
        await self._store.report([Event(tick.lease, "progress", tick.progress.text()) for tick in ticks])
        now = self._clock()
        await self._store.finish(
            [
                Outcome(
                    lease=tick.lease,
                    ending=Ending.RELEASED,
                    delay=max(0.0, tick.again - now),
                    ctx=tick.progress.text(),
                )
                for tick in ticks
            ]
        )

    async def _prepare(self, claim: Claim) -> _Tick:
        now = self._clock()
        progress = Progress.read(claim.ctx)
        try:
            timetable = Timetable.read(claim.origin)
            progress = progress or timetable.start
            instant, until = timetable.due(progress.since, now)
            again = cron.next_after(timetable.expression, timetable.zone, until)
            if instant is None:
                return _Tick(claim.lease, None, Progress(since=until, last=progress.last), again)
            job_id = timetable.call_id(instant)
            payload = await self._resealed(claim, timetable.root, job_id)
        except Exception as error:  # whatever it is: the others are ticked, and people are told
            log.warning("schedule %s cannot be ticked: %s", _name_of(claim), error)
            progress = dataclasses.replace(progress or Progress(since=now), trouble=str(error) or repr(error))
            return _Tick(claim.lease, None, progress, now + _TROUBLE)
        call = timetable.call(instant, claim.code, payload)
        return _Tick(claim.lease, call, Progress(since=until, last=instant), again)

    async def _resealed(self, claim: Claim, root: JobId, job_id: JobId) -> Blob:
        if isinstance(claim.payload, Spill):  # a file to be copied: the loop must not stand still
            return await asyncio.to_thread(self._reseal, claim.payload, root, job_id, claim.code)
        return self._reseal(claim.payload, root, job_id, claim.code)


@dataclasses.dataclass(frozen=True, slots=True)
class _Tick:
    """What is to be done about one schedule: the call to push, how far it is then, and when to look again."""

    lease: Lease
    call: Message | None
    progress: Progress
    again: float


def _name_of(claim: Claim) -> str:
    try:
        return repr(json.loads(claim.origin)["name"])
    except (ValueError, TypeError, KeyError):
        return claim.task


async def tick_forever(store: Store, reseal: Reseal, *, lease: float, started: Callable[[], None]) -> None:
    """Tick the schedules of a store until cancelled, as a worker that does nothing else.

    Args:
        store: an open store.
        lease: seconds that it may be silent before others do what it has begun.
        started: called once it is at work.

    Raises:
        StoreUnavailable: it could not start.
    """
    me, born = new_id(), psutil.Process().create_time()
    ticker = Ticker(store, reseal)

    def introduce() -> WorkerInfo:
        return WorkerInfo(
            id=me, host=socket.gethostname(), pid=os.getpid(), started=born, runtime=RUNTIME, queues=(QUEUE,),
            slots=0, lease=lease,
        )  # fmt: skip

    def ignore(_: Lease) -> None:
        """A tick takes no time worth stopping it; what it would write then is refused."""

    backlog = Backlog((), dict[Lane, int])
    claimer = Claimer(store, me, (), backlog, ticker.take)
    heart = Heart(store, introduce=introduce, leases=ticker.leases, on_lost=ignore, on_cancel=ignore)
    await heart.beat()
    started()
    loops = [asyncio.create_task(loop) for loop in (claimer.run(), claimer.listen(), heart.run())]
    try:
        await asyncio.gather(*loops)
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await ticker.close(lease)
        with contextlib.suppress(StoreUnavailable):
            await store.beat(dataclasses.replace(introduce(), lease=0.0), [])
