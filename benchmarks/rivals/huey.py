"""huey on SQLite: the one queue beside ours that needs no server and keeps results.

It polls. Its consumer is told to look every 0.1 s at least (its default lets the pause of an idle one grow to 10 s),
and results are looked for every 5 ms. It writes with `synchronous=OFF`, its default: less safe than ours, and faster.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import stand
import work
from huey import SqliteHuey

NAME = "huey"
DATABASE = "CELLQ_BENCHMARK_HUEY"  # the environment variable that tells the consumer where the database is

_POLL = {"blocking": True, "max_delay": 0.005, "backoff": 1.0}


class Huey(NamedTuple):
    """A queue and its tasks: calling one enqueues it."""

    queue: SqliteHuey
    nothing: Callable[[object], Any]
    now: Callable[[object], Any]


def on(database: str) -> Huey:
    """The queue in this database file, with its tasks."""
    queue = SqliteHuey("benchmark", filename=database, store_none=True)
    return Huey(queue, queue.task()(work.nothing), queue.task()(work.now))


def result(handle: Any) -> Any:
    """Wait for what a task returned."""
    return handle.get(**_POLL)


@contextlib.contextmanager
def consumer(database: str) -> Iterator[int]:
    """A consumer with two worker processes; its process id."""
    command = [sys.executable, "-m", "huey.bin.huey_consumer", "rivals.huey_consumed.queue"]
    command += ["-k", "process", "-w", "2", "-n", "-q", "-d", "0.1", "-m", "0.1"]
    paths = str(Path(__file__).parents[1])
    with stand.running(command, PYTHONPATH=paths, **{DATABASE: database}) as pid:
        yield pid


@contextlib.contextmanager
def huey(room: Path) -> Iterator[Huey]:
    """A queue with a warm consumer."""
    database = str(room / "huey.db")
    found = on(database)
    with consumer(database):
        for handle in [found.nothing(n) for n in range(20)]:
            result(handle)
        yield found
    found.queue.storage.close()
