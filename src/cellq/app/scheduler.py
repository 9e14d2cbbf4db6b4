"""Schedules as a program of its own, which ticks them and runs nothing.

```python
scheduler = cellq.Scheduler()
scheduler.cron("*/5 * * * *", emails.send_digest.message())
scheduler.cron("0 3 * * MON-FRI", reports.make.message("daily"), zone="Europe/Berlin")
scheduler.run()  # as many of these as you like: each tick is enqueued once
```

Workers tick as well. Where one runs all the time, put the schedules into the store once (`scheduler.register()`), and
no program like this is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo

from cellq import cron, settings
from cellq.call import Message
from cellq.client.portal import Ask, awaiting, blocking, settle
from cellq.client.queue import AsyncQueue
from cellq.client.schedule import AsyncSchedule, call_of, schedule
from cellq.client.sync import Schedule
from cellq.client.task import Task, sealed
from cellq.store import open_store, shown_url
from cellq.timetable import check_missed
from cellq.worker.ticking import tick_forever

log = logging.getLogger("cellq.worker")


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A schedule that is not in a store yet."""

    message: Message
    name: str
    expression: str
    zone: str
    missed: str


class Scheduler:
    """Enqueues messages of tasks at the instants of cron expressions, into the stores of their tasks.

    Several may run at the same time, with the same schedules or with others, and workers beside them: each tick is
    enqueued once.

    Args:
        url: tick what is scheduled in this store, too; without any message, the default store when None.
        lease: seconds that it may be silent before others do what it has begun.

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None, *, lease: float = 15.0) -> None:
        if not lease > 0:
            raise ValueError(f"lease must be more than 0 seconds, not {lease!r}")
        self._url = None if url is None else settings.store_url(url)
        self._lease = lease
        self._planned: dict[str, _Planned] = {}

    def __repr__(self) -> str:
        return f"<Scheduler of {', '.join(self._planned) or shown_url(settings.store_url(self._url))}>"

    def cron(
        self,
        expression: str,
        message: Message,
        *,
        name: str | None = None,
        zone: str | tzinfo | None = None,
        missed: str = "once",
    ) -> None:
        """Enqueue a message like this one at every instant of a cron expression, once `run` or `register` is called.

        Args:
            expression: minute, hour, day, month, weekday: "*/5 * * * *", "30 2 * * MON-FRI", or "@daily" and its like.
            message: made by `task.message(...)`.
            name: of the schedule, one of each is in a store; the task's when None.
            zone: the time zone of the expression ("Europe/Berlin"); this machine's when None.
            missed: what becomes of instants that pass while nothing runs: "once" makes up one for all, "skip" none.

        Raises:
            TypeError: this is no message.
            ValueError: the expression or the zone is none, or the name is taken.
        """
        if not isinstance(message, Message) or not isinstance(message.source, Task):
            raise TypeError(f"a message is needed, as task.message(...) makes them, not {message!r}")
        name = message.task if name is None else name
        if name in self._planned:
            raise ValueError(f"there is a schedule {name!r} already; give this one another name: name='…'")
        zone = cron.zone_name(zone)
        cron.next_after(expression, zone, time.time())
        check_missed(missed)
        self._planned[name] = _Planned(message=message, name=name, expression=expression, zone=zone, missed=missed)

    def register(self) -> list[Schedule]:
        """Put the schedules into their stores: from then on workers and schedulers tick them, also when this one ends.

        What is there under the same name is replaced, if it is not the same already.

        Raises:
            NotPicklable: an argument of a message cannot travel.
            StoreUnavailable: a store cannot be reached.
        """
        return [Schedule(made) for made in settle(self._register(blocking))]

    async def _register(self, ask: Ask) -> list[AsyncSchedule]:
        made = []
        for one in self._planned.values():
            queue, call, code = sealed(one.message)
            made.append(
                await schedule(
                    queue.connection,
                    call,
                    code,
                    name=one.name,
                    expression=one.expression,
                    zone=one.zone,
                    missed=one.missed,
                    ask=ask,
                )
            )
        return made

    def run(self, *, ready: Callable[[], None] | None = None) -> None:
        """Register the schedules and tick in this thread until SIGINT or SIGTERM.

        Args:
            ready: called once it ticks.

        Raises:
            NotPicklable, StoreUnavailable: it could not start.
        """
        asyncio.run(self._until_signalled(ready or (lambda: None)))

    async def _until_signalled(self, ready: Callable[[], None]) -> None:
        serving = asyncio.create_task(self.serve(ready=ready))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    async def serve(self, *, ready: Callable[[], None] | None = None) -> None:
        """The same for a program that has an event loop: ticks until cancelled."""
        await self._register(awaiting)
        queues = {task.queue.connection.full_url: task.queue for task in self._tasks()}
        if self._url is not None or not queues:
            queue = AsyncQueue(self._url)
            queues.setdefault(queue.connection.full_url, queue)
        waiting = set(queues)

        def started(url: str) -> None:
            waiting.discard(url)
            if not waiting:
                log.info("scheduler is ready: %s", ", ".join(map(shown_url, queues)))
                if ready is not None:
                    ready()

        try:
            async with asyncio.TaskGroup() as group:
                for url, queue in queues.items():
                    group.create_task(self._tick(queue, functools.partial(started, url)))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _tasks(self) -> list[Task[..., object]]:
        return [one.message.source for one in self._planned.values()]

    async def _tick(self, queue: AsyncQueue, started: Callable[[], None]) -> None:
        store = open_store(queue.connection.full_url)
        await store.open()
        try:
            reseal = functools.partial(call_of, queue.connection)
            await tick_forever(store, reseal, lease=self._lease, started=started)
        finally:
            await store.close()
