"""celery with two processes and results on the same server."""

from __future__ import annotations

import gc
import os
from typing import Any

import work
from celery import Celery

from rivals.served.shape import PATIENCE, SERVER, Blocking, script

NAME = "celery"


def commands(url: str) -> list[list[str]]:
    """One command that starts two."""
    quiet = ["--loglevel", "ERROR", "--without-gossip", "--without-mingle"]
    return [[script("celery"), "-A", "rivals.served.celery:app", "worker", "--concurrency", "2", *quiet]]


def _app(url: str) -> Celery:
    made = Celery("benchmark", broker=url, backend=url)
    for name in ("nothing", "now"):
        made.task(name=name)(getattr(work, name))
    return made


app = _app(os.environ.get(SERVER, "redis://127.0.0.1"))


class Client(Blocking):
    """celery's app.

    Its results take leave of the server when they are deleted. They wait for each other for ever when garbage is
    collected in the middle of such a call, and for seconds each once the server is gone. So none is, until the end.
    """

    def __init__(self, url: str) -> None:
        gc.collect()
        gc.disable()
        self._app = _app(url)

    def enqueue(self, task: str, n: int) -> Any:
        return self._app.tasks[task].delay(n)

    def result(self, handle: Any) -> Any:
        return handle.get(timeout=PATIENCE)

    def close(self) -> None:
        self._app.close()
        gc.enable()
