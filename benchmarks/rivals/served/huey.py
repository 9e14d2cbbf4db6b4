"""huey on Redis, which tells waiting clients of results."""

from __future__ import annotations

import os
import sys
from typing import Any

import work
from huey import RedisHuey

from rivals.served.shape import PATIENCE, SERVER, Blocking

NAME = "huey"


def commands(url: str) -> list[list[str]]:
    """One command that starts two."""
    consumer = [sys.executable, "-m", "huey.bin.huey_consumer", "rivals.served.huey.queue"]
    return [[*consumer, "-k", "process", "-w", "2", "-n", "-q"]]


def _queue(url: str) -> RedisHuey:
    return RedisHuey("benchmark", url=url, notify_result=True, store_none=True)


queue = _queue(os.environ.get(SERVER, "redis://127.0.0.1"))
queue.task(name="nothing")(work.nothing)
queue.task(name="now")(work.now)


class Client(Blocking):
    """huey's queue."""

    def __init__(self, url: str) -> None:
        self._queue = _queue(url)
        self._tasks = {name: self._queue.task(name=name)(getattr(work, name)) for name in ("nothing", "now")}

    def enqueue(self, task: str, n: int) -> Any:
        return self._tasks[task](n)

    def result(self, handle: Any) -> Any:
        return handle.get(blocking=True, timeout=PATIENCE)
