"""dramatiq with its results backend, which is woken by the server."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
import work
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from rivals.served.shape import PATIENCE, SERVER, Blocking, script

NAME = "dramatiq"


def commands(url: str) -> list[list[str]]:
    """One command that starts two."""
    return [
        [script("dramatiq"), "rivals.served.dramatiq", "--processes", "2", "--threads", "4", "--log-file", os.devnull]
    ]


def _actors(url: str) -> dict[str, Any]:
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url), store_results=True))
    dramatiq.set_broker(broker)
    return {name: dramatiq.actor(getattr(work, name), actor_name=name) for name in ("nothing", "now")}


if SERVER in os.environ:
    _actors(os.environ[SERVER])


class Client(Blocking):
    """dramatiq's actors."""

    def __init__(self, url: str) -> None:
        self._actors = _actors(url)

    def enqueue(self, task: str, n: int) -> Any:
        return self._actors[task].send(n)

    def result(self, handle: Any) -> Any:
        return handle.get_result(block=True, timeout=PATIENCE * 1000)
