"""taskiq on a stream, with results on the server, which it looks for every 5 ms."""

from __future__ import annotations

import os
from typing import Any

import work
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from rivals.served.shape import PATIENCE, SERVER, Looping, script

NAME = "taskiq"


def commands(url: str) -> list[list[str]]:
    """One command that starts two."""
    return [[script("taskiq"), "worker", "rivals.served.taskiq:broker", "--workers", "2", "--log-level", "ERROR"]]


def _nothing(x: Any) -> Any:
    return work.nothing(x)


def _now(x: Any) -> float:
    return work.now(x)


def _broker(url: str) -> RedisStreamBroker:
    made = RedisStreamBroker(url).with_result_backend(RedisAsyncResultBackend(url, result_ex_time=600))
    made.task(task_name="nothing")(_nothing)
    made.task(task_name="now")(_now)
    return made


broker = _broker(os.environ.get(SERVER, "redis://127.0.0.1"))


class Client(Looping):
    """taskiq's broker."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._broker = _broker(url)
        self.run(self._broker.startup())

    async def enqueue(self, task: str, n: int) -> Any:
        found = self._broker.find_task(task)
        assert found is not None
        return await found.kiq(n)

    async def result(self, handle: Any) -> Any:
        return (await handle.wait_result(check_interval=0.005, timeout=PATIENCE)).return_value

    def close(self) -> None:
        self.run(self._broker.shutdown())
        super().close()
