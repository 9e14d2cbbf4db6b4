"""saq: coroutines, woken by the server on both sides."""

from __future__ import annotations

import os
from typing import Any

import work
from saq import Job, Queue

from rivals.served.shape import PATIENCE, SERVER, Looping, script

NAME = "saq"


def commands(url: str) -> list[list[str]]:
    """Two workers."""
    return [[script("saq"), "rivals.served.saq.settings", "--quiet"]] * 2


async def nothing(_: object, *, x: Any) -> Any:
    """The job."""
    return work.nothing(x)


async def now(_: object, *, x: Any) -> float:
    """The job that tells the time."""
    return work.now(x)


settings: dict[str, Any] = {"functions": [nothing, now], "concurrency": 50}
if SERVER in os.environ:
    settings["queue"] = Queue.from_url(os.environ[SERVER])


class Client(Looping):
    """saq's queue."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._queue = Queue.from_url(url)
        self.run(self._queue.connect())

    async def enqueue(self, task: str, n: int) -> Job:
        job = await self._queue.enqueue(task, x=n, ttl=600)
        assert job is not None
        return job

    async def result(self, handle: Job) -> Any:
        await handle.refresh(until_complete=PATIENCE)
        return handle.result

    def close(self) -> None:
        self.run(self._queue.disconnect())
        super().close()
