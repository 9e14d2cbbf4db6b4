"""arq: coroutines; it polls, here every 5 ms on both sides."""

from __future__ import annotations

import os
from typing import Any

import work
from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job

from rivals.served.shape import PATIENCE, SERVER, Looping, script

NAME = "arq"


def commands(url: str) -> list[list[str]]:
    """Two workers."""
    return [[script("arq"), "rivals.served.arq.Worker", "--custom-log-dict", "rivals.served.arq.SILENCE"]] * 2


SILENCE = {"version": 1, "disable_existing_loggers": True}
"""The logging that we want."""


async def nothing(_: object, x: Any) -> Any:
    """The job."""
    return work.nothing(x)


async def now(_: object, x: Any) -> float:
    """The job that tells the time."""
    return work.now(x)


class Worker:
    """arq's settings."""

    functions = (nothing, now)
    poll_delay = 0.005
    max_jobs = 100
    queue_read_limit = 500
    redis_settings = RedisSettings.from_dsn(os.environ.get(SERVER, "redis://"))


class Client(Looping):
    """arq's pool."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._pool = self.run(create_pool(RedisSettings.from_dsn(url)))

    async def enqueue(self, task: str, n: int) -> Job:
        job = await self._pool.enqueue_job(task, n)
        assert job is not None
        return job

    async def result(self, handle: Job) -> Any:
        return await handle.result(timeout=PATIENCE, poll_delay=0.005)

    def close(self) -> None:
        self.run(self._pool.aclose())
        super().close()
