"""rq, with the worker that does not fork for each job: its fastest."""

from __future__ import annotations

from typing import Any

import work
from redis import Redis
from rq import Queue

from rivals.served.shape import PATIENCE, Blocking, script

NAME = "rq"


def commands(url: str) -> list[list[str]]:
    """Two workers."""
    return [[script("rq"), "worker", "--quiet", "-u", url, "-w", "rq.worker.SimpleWorker"]] * 2


class Client(Blocking):
    """rq's queue."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        self._queue = Queue(connection=self._redis)

    def enqueue(self, task: str, n: int) -> Any:
        return self._queue.enqueue(getattr(work, task), n)

    def result(self, handle: Any) -> Any:
        return handle.latest_result(timeout=PATIENCE).return_value

    def close(self) -> None:
        self._redis.close()
