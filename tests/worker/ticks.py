"""Schedules with a clock that the test moves, and schedulers that look at them when told to."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from cellq.client.portal import portal
from cellq.client.schedule import AsyncSchedule, Entry, Register, call_of
from cellq.client.sync import Job, Queue, Schedule
from cellq.ids import new_id
from cellq.message import Claim, Lane, WorkerInfo
from cellq.store.contract import Store
from cellq.timetable import QUEUE, Timetable
from cellq.worker.ticking import Ticker

T = TypeVar("T")


class Clock:
    """Time that moves only when told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Scheduler:
    """A worker that does nothing but tick, one look at a time."""

    def __init__(self, world: World, store: Store, lease: float = 1e6) -> None:
        self.store, self._world, self._lease = store, world, lease
        self.id = new_id()
        self.ticker = Ticker(store, functools.partial(call_of, world.connection), clock=world.clock)
        portal().call(self._begin())

    async def _begin(self) -> None:
        await self.store.open()
        await self.beat()

    async def beat(self) -> None:
        await self.store.beat(
            WorkerInfo(id=self.id, host="", pid=0, started=0.0, runtime="3.11", queues=(), slots=0, lease=self._lease),
            [],
        )

    async def claim(self) -> list[Claim]:
        return (await self.store.claim(self.id, (QUEUE,), {Lane.SCHEDULES: 64}, "3.11")).claims

    async def look(self) -> int:
        """Tick what is due; how many schedules that were."""
        claims = await self.claim()
        if claims:
            await self.ticker.tick(claims)
        return len(claims)


class World:
    """A store of some kind, a clock, and as many schedulers as are wanted, each with a connection of its own."""

    def __init__(self, make: Callable[[Clock], Store], now: float) -> None:
        self.clock = Clock(now)
        self._make = functools.partial(make, self.clock)
        self.queue = Queue(store=self._make())
        self.connection = self.queue.asynchronous().connection
        self.register = Register(self.connection, self.clock)
        self._schedulers: list[Scheduler] = []

    def scheduler(self, lease: float = 1e6) -> Scheduler:
        made = Scheduler(self, self._make(), lease)
        self._schedulers.append(made)
        return made

    def cron(
        self, name: str, expression: str, fn: Callable[..., Any], *args: Any, zone: str = "UTC", missed: str = "once",
        queue: Queue | None = None,
    ) -> Schedule:  # fmt: skip
        """As `Queue.cron`, by the clock of this world."""
        twin = (queue or self.queue)._twin
        call, code = twin._call(fn, args, {})
        timetable = Timetable.of(call, name=name, expression=expression, zone=zone, missed=missed, now=self.clock())
        return self._schedule(self.register.put(timetable, call.code, call.payload, code))

    def pause(self, name: str) -> Schedule:
        return self._schedule(self.register.pause(name))

    def resume(self, name: str) -> Schedule:
        return self._schedule(self.register.resume(name))

    def _schedule(self, doing: Coroutine[Any, Any, Entry]) -> Schedule:
        return Schedule(AsyncSchedule(self.connection, self.call(doing), ask=self.queue._twin._ask))

    def call(self, doing: Coroutine[Any, Any, T]) -> T:
        return portal().call(doing)

    def look(self, *schedulers: Scheduler) -> int:
        """All of them look at once; how many schedules they ticked."""

        async def look() -> int:
            return sum(await asyncio.gather(*(one.look() for one in schedulers)))

        return self.call(look())

    def ticks(self, name: str) -> list[float]:
        """The instants whose calls were enqueued, oldest first."""
        return [job.created_for for job in reversed([Tick(job) for job in self.queue.jobs(name=name, limit=None)])]

    def close(self) -> None:
        async def close() -> None:
            for one in self._schedulers:
                await one.store.close()

        self.call(close())
        self.queue.close()


class Tick:
    """A call of a schedule: its id begins with the milliseconds of its instant."""

    def __init__(self, job: Job[Any]) -> None:
        self.created_for = int.from_bytes(bytes.fromhex(job.id.replace("-", ""))[:6], "big") / 1000
